"""Explanations -> one HTML page that needs nothing else: no network, no other file."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from html import escape
from importlib.resources import files
from string import Template

import numpy as np
from PIL import Image

from xai.base.text import one_line, percent
from xai.runtime.explanation import Answer, Explanation
from xai.runtime.show.theme import FADED, bar_labels, colours, cut_away, heat, ink, outside, scale_notes, scaled, window, word_range

_LONGEST = 900
"""Pixels of the picture's longer side."""
_HEAT = 384
"""Pixels of an overlay's side."""


def html(explanations: Sequence[Explanation]) -> str:
    """The page for explanations of the same answer, by one or several methods; the first is shown until a reader chooses."""
    first = explanations[0]
    left, top, right, bottom = window(first.picture.size, first.crop.box)
    size = width, height = right - left, bottom - top
    crop = first.crop.box[0] - left, first.crop.box[1] - top, first.crop.box[2] - left, first.crop.box[3] - top
    cuts = outside(size, crop)
    alone = "" if len(explanations) == 1 else f"<noscript><p>Without scripts, this page shows {_text(first.method)} only.</p></noscript>"
    return Template((files("xai.runtime.show") / "page.html").read_text(encoding="utf-8")).substitute(
        title=_text(f"{first.question.text} {first.answer.text}"),
        ramp=", ".join(_hex(rgb) for rgb in colours(np.linspace(0, 1, 17))),
        aspect=f"{width / height:.6g}",
        question=_text(first.question.text),
        answers=_answers(first),
        faded=FADED,
        picture=_picture(first.picture.crop((left, top, right, bottom))),
        alt=_text(f"The picture {first.image_name}"),
        cuts="\n".join(f'<div class="cut" style="{_place(box, size)}"></div>' for box in cuts),
        crop=_place(crop, size),
        overlays=_methods(explanations, _overlay),
        caption=escape(cut_away(first)),
        choices="\n".join(_choice(i, e) for i, e in enumerate(explanations)),
        bars=_methods(explanations, _bar),
        top=_top(first.top),
        noscript=alone,
        sections=_methods(explanations, _section),
        computed=_computed(first),
    )


def _text(text: str) -> str:
    return escape(one_line(text))


def _hex(rgb: Iterable[int]) -> str:
    return "#" + "".join(f"{channel:02x}" for channel in rgb)


def _uri(image: Image.Image, kind: str, **options: int) -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _picture(picture: Image.Image) -> str:
    picture.thumbnail((_LONGEST, _LONGEST))
    return _uri(picture, "jpeg", quality=92, subsampling=0)


def _place(box: tuple[int, int, int, int], size: tuple[int, int]) -> str:
    """CSS that lays an element over `box` of the picture."""
    (left, top, right, bottom), (width, height) = box, size
    sides = {"left": left / width, "top": top / height, "width": (right - left) / width, "height": (bottom - top) / height}
    return ";".join(f"{side}:{100 * share:.4f}%" for side, share in sides.items())


def _methods(explanations: Sequence[Explanation], part: Callable[[Explanation, str], str]) -> str:
    """`part` of every method, marked for the script that shows one of them."""
    return "\n".join(part(e, f'data-method="{i}"' + " hidden" * (i > 0)) for i, e in enumerate(explanations))


def _overlay(explanation: Explanation, mark: str) -> str:
    scores = [[f"{value:.4g}" for value in row] for row in explanation.image_relevance]
    return (
        f'<img {mark} src="{_uri(heat(explanation.image_relevance, _HEAT), "png")}" data-scores="{escape(json.dumps(scores))}" '
        f'alt="{_text(_peak(explanation))}">'
    )


def _peak(explanation: Explanation) -> str:
    """The map in words."""
    if not scaled(explanation.image_relevance).any():
        return f"Relevance by {explanation.method}: the same everywhere"
    grid = explanation.image_relevance.shape
    row, column = np.unravel_index(explanation.image_relevance.argmax(), grid)
    return f"Relevance by {explanation.method}: highest in row {row + 1} of {grid[0]}, column {column + 1} of {grid[1]}"


def _choice(i: int, explanation: Explanation) -> str:
    checked = "" if i else " checked"
    return f'<label><input type="radio" name="method" value="{i}"{checked}>{_text(explanation.method)}</label>'


def _bar(explanation: Explanation, mark: str) -> str:
    ticks = "".join(f"<span>{label}</span>" for _, label in bar_labels(explanation))
    return f'<div class="control" {mark}><h2>Raw score of a patch</h2><div class="bar"></div><div class="ticks small">{ticks}</div></div>'


def _answers(explanation: Explanation) -> str:
    lines = [("Answer", explanation.answer)]
    if explanation.target.id != explanation.answer.id:
        lines.append(("Explained instead", explanation.target))
    return "\n".join(
        f'<p class="answer"><span class="label">{label}</span> <strong>{_text(answer.text)}</strong> '
        f"{escape(percent(answer.probability))}</p>"
        for label, answer in lines
    )


def _top(answers: Sequence[Answer]) -> str:
    rows = (
        f'<tr><td>{_text(answer.text)}</td><td class="number">{escape(percent(answer.probability))}</td>'
        f'<td class="share"><div style="width:{100 * answer.probability:.1f}%"></div></td></tr>'
        for answer in answers
    )
    return f"<table>{''.join(rows)}</table>"


def _section(explanation: Explanation, mark: str) -> str:
    layers = f' <span class="label">· layers: {_text(explanation.layers)}</span>' if explanation.layers else ""
    shades = colours(scaled(explanation.word_relevance))
    words = "".join(
        f'<li style="background:{_hex(rgb)};color:{ink(rgb)}" title="{score:.4g}">{_text(word.text)}</li>'
        for word, score, rgb in zip(explanation.question.words, explanation.word_relevance, shades, strict=True)
    )
    notes = "".join(f'<p class="note">{_text(note)}.</p>' for note in (*explanation.notes, *scale_notes(explanation)))
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
        f'<section {mark}><h2>Words, by {_text(explanation.method)}{layers}</h2><ul class="words">{words}</ul>'
        f'<p class="small">{escape(word_range(explanation))}</p>{notes}'
        f"<details><summary>Tokens and their scores</summary>{tokens}</details>{solver}</section>"
    )


def _computed(explanation: Explanation) -> str:
    model = {"Session": explanation.session, "Precision": explanation.precision, "Image": explanation.image_name}
    model["Crop (left, top, right, bottom)"] = ", ".join(map(str, explanation.crop.box))
    times = {f"Time: {stage.replace('_', ' ')}": f"{ms:.1f} ms" for stage, ms in explanation.timings_ms.items()}
    scale = "Colours run from the lowest raw score to the highest, for each method by itself: they do not compare methods with each other."
    return f'<p class="small">{scale}</p>{_table(("What", "Value"), [*model.items(), *times.items()])}'


def _table(heads: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    head = "".join(f'<th scope="col">{_text(name.capitalize())}</th>' for name in heads)
    body = "".join("<tr>" + "".join(f"<td>{_text(str(value))}</td>" for value in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
