"""An explanation -> a part of a page, for notebooks and readers without scripts: no script, no style sheet, nothing beyond itself."""

from __future__ import annotations

from html import escape

from xai.runtime.explanation import Explanation
from xai.runtime.show.boxes import box_lines, left_out_boxes
from xai.runtime.show.page import (
    CUT_AWAY,
    SEEN,
    answers,
    box_marks,
    direction,
    key,
    method_title,
    note_paragraphs,
    overlay_uri,
    peak,
    picture_uri,
    place,
    rules,
    text,
    words,
)
from xai.runtime.show.scale import patch_range, word_range
from xai.runtime.show.theme import cut_away, outside, window

LONGEST = 480
"""Pixels of the picture's longer side: a notebook keeps what it shows."""
_HEAT = 160
"""Pixels of the overlay's side."""

BOX = "position:absolute;border:2px solid #fff;outline:1px solid #111"
NUMBER = "position:absolute;left:0;top:0;padding:0 .35em;background:#111;color:#fff;font-size:.75rem"
"""CSS of a box that is outlined, and of its number."""


def fragment(explanation: Explanation, longest: int = LONGEST, headed: bool = True) -> str:
    """Write the element, its picture at most `longest` pixels, the question and the answers above it where it is `headed`; styles stand on
    the elements themselves, so that a notebook's own are left as they are."""
    left, top, right, bottom = window(explanation.picture.size, explanation.crop.box)
    size = width, height = right - left, bottom - top
    box = explanation.crop.box
    crop = box[0] - left, box[1] - top, box[2] - left, box[3] - top
    shown = min(LONGEST, round(LONGEST * width / height))
    cuts = "".join(f'<div style="position:absolute;{place(strip, size)};{CUT_AWAY}"></div>' for strip in outside(size, crop))
    small = [cut_away(explanation), patch_range(explanation), word_range(explanation), *box_lines(explanation), *rules([explanation])]
    head = heading(explanation) if headed else ""
    gone = "".join(
        f'<div style="position:absolute;{place((away[0] - left, away[1] - top, away[2] - left, away[3] - top), size)};{CUT_AWAY}"></div>'
        for away in left_out_boxes(explanation)
    )
    return (
        f'<div style="max-width:{LONGEST}px">{head}'
        f"{key([explanation])}<p>{method_title(explanation)}</p>"
        f'<div style="position:relative;width:{shown}px;aspect-ratio:{width / height:.6g};max-width:100%">'
        f'<img src="{picture_uri(explanation.picture.crop((left, top, right, bottom)), longest)}" '
        f'alt="{text(f"The picture {explanation.image_name}")}" style="position:absolute;inset:0;width:100%;height:100%">{cuts}'
        f'<img src="{overlay_uri(explanation, _HEAT)}" alt="{text(peak(explanation))}" '
        f'style="position:absolute;{place(crop, size)};outline:2px solid #111;{SEEN}">'
        f"{gone}{box_marks(explanation, '', BOX, NUMBER)}"
        f'</div><ul dir="{direction(explanation)}" style="display:flex;flex-wrap:wrap;gap:6px;padding:0;list-style:none">'
        f"{words(explanation, 'padding:2px 8px;border-radius:6px;text-align:center')}</ul>"
        f"<p><small>{'<br>'.join(escape(line) for line in small if line)}</small></p>{note_paragraphs(explanation)}</div>"
    )


def heading(explanation: Explanation) -> str:
    """Write the question, and the answers that an explanation is about."""
    return f'<p dir="auto"><strong>{text(explanation.question.text)}</strong></p>{answers(explanation)}'
