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
from xai.runtime.show.boxes import box_lines, marks, ranked
from xai.runtime.show.scale import bar_labels, is_flat, legends, notes, place_name, score_label, word_range
from xai.runtime.show.theme import (
    CONTRAST,
    FADED,
    FLAT,
    RAMP,
    answer_lines,
    cut_away,
    hexadecimal,
    ink,
    labels,
    map_image,
    outside,
    paint,
    sides,
    window,
)

_LONGEST = 900
"""Pixels of the picture's longer side."""
_HEAT = 384
"""Pixels of an overlay's side."""
CUT_AWAY = "background:repeating-linear-gradient(135deg,#5555 0 2px,#fffa 2px 9px);backdrop-filter:grayscale(1);"
"""CSS of what the model did not see."""
_SWATCH = "display:inline-block;width:1.6em;height:1em;vertical-align:-.1em;border-radius:3px;"
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
        contrast=", ".join(map(hexadecimal, CONTRAST)),
        flat=hexadecimal(FLAT),
        aspect=f"{width / height:.6g}",
        question=text(first.question.text),
        answers=answers(first) + key(explanations),
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
        legend="".join(f'<p class="small">{text(line)}</p>' for line in [*rules(explanations), *box_lines(first, several=True)]),
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
    """Give the address of an explanation's overlay within the page, `side` pixels long or square."""
    return _image_uri(map_image(explanation, side), "png")


def box_marks(explanation: Explanation, attributes: str, style: str = "", number_style: str = "") -> str:
    """Write an element for each box that is outlined, with these attributes, over the overlay that it stands behind."""
    found = marks(explanation)[::-1]  # the highest lies on top
    corners = [tuple(map(round, mark.corners)) for mark in found]
    return "".join(
        f'<div {attributes} style="{place((left, top, right, bottom), explanation.picture.size)};{style}">'
        f'<span style="{number_style}">{mark.number}</span></div>'
        for mark, (left, top, right, bottom) in zip(found, corners, strict=True)
    )


def place(box: tuple[int, int, int, int], size: tuple[int, int]) -> str:
    """Write the CSS that lays an element over `box` of the picture."""
    (left, top, right, bottom), (width, height) = box, size
    sides = {"left": left / width, "top": top / height, "width": (right - left) / width, "height": (bottom - top) / height}
    return ";".join(f"{side}:{100 * share:.4f}%" for side, share in sides.items())


def peak(explanation: Explanation) -> str:
    """Put the map into words."""
    if is_flat(explanation.image_relevance, explanation.signed):
        return f"Relevance by {explanation.method}: nearly the same everywhere"
    if explanation.boxes is not None:
        best = int(explanation.image_relevance.argmax())
        shares = ", ".join(f"{corner:.2f}" for corner in explanation.boxes[best])
        return f"Relevance by {explanation.method}: highest in box {best} ({shares}) of {len(explanation.boxes)}"
    grid = explanation.image_relevance.shape

    def where(index: np.intp) -> str:
        row, column = np.unravel_index(index, grid)
        return f"in row {row + 1} of {grid[0]}, column {column + 1} of {grid[1]}"

    highest = f"Relevance by {explanation.method}: highest {where(explanation.image_relevance.argmax())}"
    if explanation.signed and explanation.versus:
        lowest = where(explanation.image_relevance.argmin())
        return f"{highest}, for {explanation.target.text}; lowest {lowest}, for {explanation.versus.text}"
    return highest


def answers(explanation: Explanation) -> str:
    """Write a paragraph for each answer that an explanation is about."""
    return "\n".join(
        f'<p class="answer"><span class="label">{label}</span> <strong dir="auto">{text(answer.text)}</strong> {escape(answer.shown)}</p>'
        for label, answer in answer_lines(explanation)
    )


def key(explanations: Sequence[Explanation]) -> str:
    """Write which colour of a contrast speaks for which answer; nothing where there is none."""
    return "".join(
        f'<p><span style="{_SWATCH}background:{hexadecimal(rgb)}"></span> speaks for <span dir="auto">{text(answer)}</span></p>'
        for rgb, answer in sides(explanations)
    )


def rules(explanations: Sequence[Explanation]) -> list[str]:
    """Say by which rules the explanations are painted."""
    return legends(explanations, ("dark", "bright", "grey"), ("the strongest colour", "the palest"))


def words(explanation: Explanation, style: str = "") -> str:
    """Write a list's element for each word, on its colour, its raw score beneath; `style` is CSS for each."""
    return "".join(
        f'<li style="background:{hexadecimal(rgb)};color:{ink(rgb)};{style}" title="{score:.6g}">{text(word.text)} '
        f"<small>{score_label(score)}</small></li>"
        for word, score, rgb in zip(
            explanation.question.words, explanation.word_relevance, paint(explanation.word_relevance, explanation.signed), strict=True
        )
    )


def direction(explanation: Explanation) -> str:
    """Say from which side the words of the question run, as the attribute `dir` does."""
    return "rtl" if right_to_left(explanation.question.text) else "ltr"


def method_title(explanation: Explanation) -> str:
    """Write the method's name, its layers and what it explains."""
    said = labels(explanation)
    return f'{text(explanation.method)} <span class="label">· {text(said)}</span>' if said else text(explanation.method)


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
    if explanation.boxes is None:
        scores = json.dumps([[f"{value:.4g}" for value in row] for row in explanation.image_relevance])
        data = f'data-scores="{escape(scores)}"'
    else:
        rows = zip(explanation.boxes, explanation.image_relevance, strict=True)
        boxes = json.dumps([[*(round(float(corner), 5) for corner in box), f"{value:.4g}"] for box, value in rows])
        data = f'data-boxes="{escape(boxes)}"'
    image = f'<img {mark} src="{overlay_uri(explanation, _HEAT)}" {data} alt="{text(peak(explanation))}">'
    return image + box_marks(explanation, f'class="mark" {mark}')


def _choice(i: int, explanation: Explanation) -> str:
    checked = "" if i else " checked"
    return f'<label><input type="radio" name="method" value="{i}"{checked}>{text(explanation.full_name)}</label>'


def _bar(explanation: Explanation, mark: str) -> str:
    kind = "control flat" if is_flat(explanation.image_relevance, explanation.signed) else "control"
    kind += " contrast" if explanation.signed else ""
    ticks = "".join(f"<span>{label}</span>" for _, label in bar_labels(explanation))
    title = f"<h2>Raw score of a {place_name(explanation)}</h2>"
    return f'<div class="{kind}" {mark}>{title}<div class="bar"></div><div class="ticks small">{ticks}</div></div>'


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
    boxes = ""
    if explanation.boxes is not None:
        listed = [(i, *(f"{x:.4f}" for x in explanation.boxes[i]), f"{explanation.image_relevance[i]:.6g}") for i in ranked(explanation)]
        heads = ("Box", "Left", "Top", "Right", "Bottom", "Raw score")
        boxes = f"<details><summary>Boxes and their scores, the highest first</summary>{_table(heads, listed)}</details>"
    return (
        f"<section {mark}><h2>Words, by {method_title(explanation)}</h2>"
        f'<ul class="words" dir="{direction(explanation)}">{words(explanation)}</ul>'
        f'<p class="small">{escape(word_range(explanation))}</p>{note_paragraphs(explanation)}'
        f"<details><summary>Tokens and their scores</summary>{tokens}</details>{boxes}{solver}</section>"
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
