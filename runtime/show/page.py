"""What pages are made of: parts of HTML, and pictures as addresses within it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from html import escape

import numpy as np
from PIL import Image

from xai.base.uri import data_uri
from xai.base.wording import one_line, right_to_left
from xai.runtime.explanation import Explanation
from xai.runtime.show.boxes import marks
from xai.runtime.show.scale import is_flat, legends, notes, score_label
from xai.runtime.show.theme import (
    FADED,
    FLAT,
    answer_lines,
    hexadecimal,
    ink,
    labels,
    map_image,
    paint,
    sides,
)

CUT_AWAY = "background:repeating-linear-gradient(135deg,#5555 0 2px,#fffa 2px 9px);backdrop-filter:grayscale(1);"
"""CSS of what the model did not see."""
_SWATCH = "display:inline-block;width:1.6em;height:1em;vertical-align:-.1em;border-radius:3px;"
LEFT_OUT = f"background:{hexadecimal(FLAT)};color:{ink(FLAT)};"
"""CSS of a word that the model did not get."""
SEEN = f"backdrop-filter:grayscale({FADED});"
"""CSS of an overlay."""


def text(content: str) -> str:
    """Escape one line of text."""
    return escape(one_line(content))


def picture_uri(picture: Image.Image, longest: int) -> str:
    """Give the address of a picture within the page, its longer side at most `longest` pixels."""
    small = picture.copy()
    small.thumbnail((longest, longest))
    return jpeg_uri(small)


def jpeg_uri(picture: Image.Image) -> str:
    """Give the address of a picture within the page."""
    return _image_uri(picture, "jpeg", quality=92, subsampling=0)


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
    """Write a list's element for each word, on its colour, its raw score beneath, or struck out where the model did not get it; `style`
    is CSS for each."""
    away = explanation.left_out.words if explanation.left_out else ()
    parts = []
    for i, (word, score, rgb) in enumerate(
        zip(explanation.question.words, explanation.word_relevance, paint(explanation.word_relevance, explanation.signed), strict=True)
    ):
        if i in away:
            parts.append(f'<li style="{LEFT_OUT}{style}"><del>{text(word.text)}</del> <small>left out</small></li>')
            continue
        parts.append(
            f'<li style="background:{hexadecimal(rgb)};color:{ink(rgb)};{style}" title="{score:.6g}">{text(word.text)} '
            f"<small>{score_label(score)}</small></li>"
        )
    return "".join(parts)


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


def _image_uri(image: Image.Image, kind: str, **options: int) -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return data_uri(f"image/{kind}", buffer.getvalue())
