"""Explanations -> one HTML page that needs nothing else: no network, no other file."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from html import escape
from importlib.resources import files
from string import Template

import numpy as np
from PIL import Image

from xai.base.uri import data_uri
from xai.base.wording import one_line, right_to_left
from xai.runtime.explanation import Answer, Explanation
from xai.runtime.show.agreement import agreements
from xai.runtime.show.scale import bar_labels, is_flat, legend, notes, score_label, word_range
from xai.runtime.show.theme import (
    FADED,
    FLAT,
    RAMP,
    answer_lines,
    cut_away,
    heat,
    hexadecimal,
    ink,
    layers_label,
    outside,
    paint,
    window,
)

_LONGEST = 900
"""Pixels of the picture's longer side."""
_HEAT = 384
"""Pixels of an overlay's side."""
CUT_AWAY = "background:repeating-linear-gradient(135deg,#5555 0 2px,#fffa 2px 9px);backdrop-filter:grayscale(1);"
"""CSS of what the model did not see."""
SEEN = f"backdrop-filter:grayscale({FADED});"
"""CSS of an overlay."""


def html(explanations: Sequence[Explanation]) -> str:
    """Write the page for explanations of the same answer, by one or several methods; the first is shown until a reader chooses."""
    first = explanations[0]
    left, top, right, bottom = window(first.picture.size, first.crop.box)
    size = width, height = right - left, bottom - top
    crop = first.crop.box[0] - left, first.crop.box[1] - top, first.crop.box[2] - left, first.crop.box[3] - top
    alone = "" if len(explanations) == 1 else f"<noscript><p>Without scripts, this page shows {text(first.method)} only.</p></noscript>"
    return Template(_file("page.html")).substitute(
        title=text(f"{first.question.text} {first.answer.text}"),
        ramp=", ".join(map(hexadecimal, RAMP)),
        flat=hexadecimal(FLAT),
        aspect=f"{width / height:.6g}",
        question=text(first.question.text),
        answers=answers(first),
        cut_away=CUT_AWAY,
        seen=SEEN,
        picture=picture_uri(first.picture.crop((left, top, right, bottom)), _LONGEST),
        alt=text(f"The picture {first.image_name}"),
        cuts="\n".join(f'<div class="cut" style="{place(box, size)}"></div>' for box in outside(size, crop)),
        crop=place(crop, size),
        overlays=_methods(explanations, _overlay),
        caption=escape(cut_away(first)),
        choices="\n".join(_choice(i, e) for i, e in enumerate(explanations)),
        bars=_methods(explanations, _bar),
        top=_top(first.top),
        noscript=alone,
        sections=_methods(explanations, _section),
        legend=f'<p class="small">{escape(legend("dark", "bright", "grey"))}</p>',
        agreements=_agreements(explanations),
        computed=_computed(first),
        script=_file("page.js"),
    )


def text(content: str) -> str:
    """Escape one line of text."""
    return escape(one_line(content))


def picture_uri(picture: Image.Image, longest: int) -> str:
    """Give the address of a picture within the page, its longer side at most `longest` pixels."""
    small = picture.copy()
    small.thumbnail((longest, longest))
    return _image_uri(small, "jpeg", quality=92, subsampling=0)


def overlay_uri(explanation: Explanation, side: int) -> str:
    """Give the address of an explanation's overlay within the page, `side` pixels square."""
    return _image_uri(heat(explanation.image_relevance, side), "png")


def place(box: tuple[int, int, int, int], size: tuple[int, int]) -> str:
    """Write the CSS that lays an element over `box` of the picture."""
    (left, top, right, bottom), (width, height) = box, size
    sides = {"left": left / width, "top": top / height, "width": (right - left) / width, "height": (bottom - top) / height}
    return ";".join(f"{side}:{100 * share:.4f}%" for side, share in sides.items())


def peak(explanation: Explanation) -> str:
    """Put the map into words."""
    if is_flat(explanation.image_relevance):
        return f"Relevance by {explanation.method}: nearly the same everywhere"
    grid = explanation.image_relevance.shape
    row, column = np.unravel_index(explanation.image_relevance.argmax(), grid)
    return f"Relevance by {explanation.method}: highest in row {row + 1} of {grid[0]}, column {column + 1} of {grid[1]}"


def answers(explanation: Explanation) -> str:
    """Write a paragraph for each answer that an explanation is about."""
    return "\n".join(
        f'<p class="answer"><span class="label">{label}</span> <strong dir="auto">{text(answer.text)}</strong> {escape(answer.shown)}</p>'
        for label, answer in answer_lines(explanation)
    )


def words(explanation: Explanation, style: str = "") -> str:
    """Write a list's element for each word, on its colour, its raw score beneath; `style` is CSS for each."""
    return "".join(
        f'<li style="background:{hexadecimal(rgb)};color:{ink(rgb)};{style}" title="{score:.6g}">{text(word.text)} '
        f"<small>{score_label(score)}</small></li>"
        for word, score, rgb in zip(explanation.question.words, explanation.word_relevance, paint(explanation.word_relevance), strict=True)
    )


def direction(explanation: Explanation) -> str:
    """Say from which side the words of the question run, as the attribute `dir` does."""
    return "rtl" if right_to_left(explanation.question.text) else "ltr"


def method_title(explanation: Explanation) -> str:
    """Write the method's name and its layers."""
    layers = layers_label(explanation)
    return f'{text(explanation.method)} <span class="label">· {text(layers)}</span>' if layers else text(explanation.method)


def note_paragraphs(explanation: Explanation) -> str:
    """Write a paragraph for each note."""
    return "".join(f'<p class="note">{text(note)}.</p>' for note in (*explanation.notes, *notes(explanation)))


def _file(name: str) -> str:
    return (files("xai.runtime.show") / name).read_text(encoding="utf-8")


def _image_uri(image: Image.Image, kind: str, **options: int) -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return data_uri(f"image/{kind}", buffer.getvalue())


def _methods(explanations: Sequence[Explanation], part: Callable[[Explanation, str], str]) -> str:
    """`part` of every method, marked for the script that shows one of them."""
    marks = [f'data-method="{i}"' for i in range(len(explanations))]
    marks[1:] = [f"{mark} hidden" for mark in marks[1:]]
    return "\n".join(part(explanation, mark) for explanation, mark in zip(explanations, marks, strict=True))


def _overlay(explanation: Explanation, mark: str) -> str:
    scores = json.dumps([[f"{value:.4g}" for value in row] for row in explanation.image_relevance])
    return f'<img {mark} src="{overlay_uri(explanation, _HEAT)}" data-scores="{escape(scores)}" alt="{text(peak(explanation))}">'


def _choice(i: int, explanation: Explanation) -> str:
    checked = "" if i else " checked"
    return f'<label><input type="radio" name="method" value="{i}"{checked}>{text(explanation.full_name)}</label>'


def _bar(explanation: Explanation, mark: str) -> str:
    kind = "control flat" if is_flat(explanation.image_relevance) else "control"
    ticks = "".join(f"<span>{label}</span>" for _, label in bar_labels(explanation))
    return f'<div class="{kind}" {mark}><h2>Raw score of a patch</h2><div class="bar"></div><div class="ticks small">{ticks}</div></div>'


def _top(found: Sequence[Answer]) -> str:
    rows = (
        f'<tr><td>{text(answer.text)}</td><td class="number">{escape(answer.shown)}</td>'
        f'<td class="share"><div style="width:{100 * (answer.probability or 0):.1f}%"></div></td></tr>'
        for answer in found
    )
    return f"<table>{''.join(rows)}</table>"


def _section(explanation: Explanation, mark: str) -> str:
    tokens = _table(
        ("Token", "In the vocabulary", "Id", "Raw score"),
        [(t.text, t.raw, t.id, f"{v:.6g}") for t, v in zip(explanation.tokens, explanation.text_relevance, strict=True)],
    )
    solver = ""
    if explanation.solver:
        reports = [asdict(report) for report in explanation.solver]
        rows = [[f"{v:.4g}" if isinstance(v, float) else v for v in report.values()] for report in reports]
        solver = f"<details><summary>Graphs and their solutions</summary>{_table(reports[0], rows)}</details>"
    return (
        f"<section {mark}><h2>Words, by {method_title(explanation)}</h2>"
        f'<ul class="words" dir="{direction(explanation)}">{words(explanation)}</ul>'
        f'<p class="small">{escape(word_range(explanation))}</p>{note_paragraphs(explanation)}'
        f"<details><summary>Tokens and their scores</summary>{tokens}</details>{solver}</section>"
    )


def _agreements(explanations: Sequence[Explanation]) -> str:
    """The comparison of several methods, a table each for maps and words; empty for one method."""
    if len(explanations) == 1:
        return ""
    parts = []
    for found in agreements(explanations):
        numbers = [str(i + 1) for i in range(len(found.rows))]
        rows = [(number, name, *cells) for number, (name, cells) in zip(numbers, found.rows, strict=True)]
        parts.append(f'<h2>{found.title}</h2>{_table(("", "Method", *numbers), rows)}<p class="small">{escape(found.caption)}</p>')
    return f"<details><summary>How far the methods agree</summary>{''.join(parts)}</details>"


def _computed(explanation: Explanation) -> str:
    model = {"Session": explanation.session, "Precision": explanation.precision, "Image": explanation.image_name}
    model["Crop (left, top, right, bottom)"] = ", ".join(map(str, explanation.crop.box))
    times = {f"Time: {stage.replace('_', ' ')}": f"{ms:.1f} ms" for stage, ms in explanation.timings_ms.items()}
    return _table(("What", "Value"), [*model.items(), *times.items()])


def _table(heads: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    head = "".join(f'<th scope="col">{text(name.capitalize())}</th>' for name in heads)
    body = "".join("<tr>" + "".join(f"<td>{text(str(value))}</td>" for value in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
