"""What goes with each word of the picture, on a sheet: one small map a word, in reading order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from xai.base.wording import right_to_left
from xai.runtime.explanation import Explanation
from xai.runtime.show.drawing.lettering import GREY, INK, Style
from xai.runtime.show.drawing.panels import Panels
from xai.runtime.show.drawing.paper import Area, Paper
from xai.runtime.show.scale import score_label
from xai.runtime.show.theme import word_maps

_TITLE = Style(11, bold=True)
_WORD = Style(9.5, INK, bold=True)
_SMALL = Style(8.5, GREY)
_SCORE = Style(7.5, GREY)
_SIDE = 1.5
"""Width of a map of a square picture."""
_NARROWEST, _WIDEST, _TALLEST = 0.9, 2.5, 2.6
_GAP = 0.22


def draw_word_maps(paper: Paper, x: float, y: float, width: float, explanations: Sequence[Explanation], panels: Panels) -> float:
    """Draw every word's map over the part of the picture that the model saw; return where the next thing may begin."""
    for found in word_maps(explanations):
        paper.line(x, y + 0.3, found.title, _TITLE)
        y = paper.paragraph(x, y + 0.3 + _TITLE.height, width, found.caption, _SMALL) + 0.12
        left, top, right, bottom = box = found.explanation.crop.box
        aspect = (right - left) / (bottom - top)
        side = min(max(_SIDE * aspect**0.5, _NARROWEST), _WIDEST)
        height = min(side / aspect, _TALLEST)
        columns = max(1, int((width + _GAP) / (side + _GAP)))
        step = side + _GAP
        down = _WORD.height + height + _SCORE.height + 0.2
        away_words = found.explanation.left_out.words if found.explanation.left_out else ()
        from_right = right_to_left(found.explanation.question.text)
        for i, (word, values) in enumerate(zip(found.explanation.question.words, found.maps, strict=True)):
            row, column = divmod(i, columns)
            at = x + width - side - column * step if from_right else x + column * step
            above = y + row * down
            paper.line(at, above, paper.shorten(word.text, side, _WORD), _WORD)
            area = Area(at, above + _WORD.height + 0.02, height * aspect, height)
            panels.draw(paper, area, box, replace(found.explanation, image_relevance=values, signed=False))
            score = "left out" if i in away_words else f"highest {score_label(float(values.max()))}"
            paper.line(at, above + _WORD.height + height + 0.06, paper.shorten(score, side, _SCORE), _SCORE)
        y += (len(found.maps) + columns - 1) // columns * down
    return y
