"""Explanations -> one sheet: the picture, the overlay on the crop that the model saw, the words, what two methods have in common."""

from __future__ import annotations

from collections.abc import Sequence

from xai.base.wording import right_to_left
from xai.runtime.explanation import Explanation
from xai.runtime.show.agreement import agreements
from xai.runtime.show.boxes import box_lines
from xai.runtime.show.drawing.lettering import GREY, Style, lacking_note
from xai.runtime.show.drawing.panels import Box, Panels, number_boxes, shown_part
from xai.runtime.show.drawing.paper import Area, Paper, Sheet
from xai.runtime.show.scale import bar_labels, is_flat, legends, notes, score_label, word_range
from xai.runtime.show.theme import FLAT, answer_lines, cut_away, ink, labels, paint, sides
from xai.runtime.show.word_maps import draw_word_maps

MARGIN = 0.45
GAP = 0.35
_BAR = 0.9
"""Width of an upright colour bar with its labels."""
_SHORTEST_BAR = 0.5
"""Height of it beside a picture that is long and thin."""
_TITLED = 1.1
"""Width of "The picture" above one: a column is at least as wide."""
_TALLEST, _LOWEST = 4.6, 2.2
"""Height of the pictures of a single explanation: above it the words go beside them, below it they go one beneath the other."""
_BESIDE = 2.6
"""Width of the words beside pictures, at least."""
_PANEL = 3.2
_NARROWEST, _WIDEST = 2.3, 3.6
"""Width of a panel for a square picture, and its limits for others."""
_WIDE = 14.2
"""What panels beside each other should come to."""
_PRINT = 40.0
"""Length of a paragraph in small print, all its lines together, if they are more than four."""
_STRIP = 4.0
"""A picture that is so many times as wide as high has a row of its own."""

QUESTION = Style(16, bold=True)
ANSWER = Style(12.5)
TITLE = Style(11, bold=True)
KEY = Style(10.5)
SMALL = Style(8.5, GREY)


def draw(explanations: Sequence[Explanation]) -> Sheet:
    """Draw one explanation, the picture beside its overlay, or several of the same answer, the picture once and a panel for each.

    The sheet's size depends on the picture's shape, the text and the number of explanations, not on the picture's pixels.
    """
    first = explanations[0]
    panels = Panels(first)
    if len(explanations) == 1:
        paper = Paper(11.2)
        y = _single(paper, _header(paper, MARGIN, explanations), first, panels)
    else:
        side, columns = _columns(first, len(explanations))
        paper = Paper(2 * MARGIN + columns * side + (columns - 1) * GAP)
        y = _comparison(paper, _header(paper, MARGIN, explanations), explanations, panels, side, columns)
    y = draw_word_maps(paper, MARGIN, y, paper.width - 2 * MARGIN, explanations, panels)
    if paper.lacking:
        y = _small_print(paper, MARGIN, y, paper.width - 2 * MARGIN, [f"Note: {lacking_note(paper.lacking)}."])
    return paper.finish(y + MARGIN)


def _header(paper: Paper, y: float, explanations: Sequence[Explanation]) -> float:
    explanation, width = explanations[0], paper.width - 2 * MARGIN
    y = paper.paragraph(MARGIN, y, width, explanation.question.text, QUESTION, most=4) + 0.06
    for label, answer in answer_lines(explanation):
        paper.line(MARGIN, y, label, ANSWER._replace(colour=GREY))
        x = MARGIN + paper.measure(label, ANSWER) + 0.12
        share = answer.shown
        bold = ANSWER._replace(bold=True)
        text = paper.shorten(answer.text, paper.width - MARGIN - x - paper.measure(share, ANSWER) - 0.12, bold)
        paper.line(x, y, text, bold)
        paper.line(x + paper.measure(text, bold) + 0.12, y, share, ANSWER)
        y += ANSWER.height
    return _key(paper, MARGIN, y + 0.08, width, explanations) + 0.2


def _key(paper: Paper, x: float, y: float, width: float, explanations: Sequence[Explanation]) -> float:
    """Which colour of a contrast speaks for which answer: beside each other where there is room, else one beneath the other."""
    said = [(colour, f"speaks for {answer}") for colour, answer in sides(explanations)]
    room, line = 0.36, KEY.height + 0.06
    texts = [paper.shorten(text, width - room, KEY) for _, text in said]
    beside = sum(paper.measure(text, KEY) + room + GAP for text in texts) <= width
    left = x
    for (colour, _), text in zip(said, texts, strict=True):
        paper.rounded_box(left, y, 0.26, KEY.height, colour, 0.04)
        paper.line(left + room, y + 0.02, text, KEY)
        if beside:
            left += paper.measure(text, KEY) + room + GAP
        else:
            y += line
    return y + line if said and beside else y


def _single(paper: Paper, y: float, explanation: Explanation, panels: Panels) -> float:
    """Pictures beside each other; one beneath the other where they are wide; with the words at their side where they are tall."""
    width = paper.width - 2 * MARGIN
    whole, part = _aspect((0, 0, *explanation.picture.size)), _aspect(shown_part(explanation))
    height = (width - GAP - _BAR) / (whole + part)
    if height > _TALLEST:
        height = min(_TALLEST, (width - _BESIDE - 2 * GAP - _BAR) / (whole + part))
        x, lower = _pair(paper, y, height, explanation, panels)
        lower = _caption(paper, MARGIN, lower, x - MARGIN - GAP, explanation)
        return max(lower, _told(paper, x, y, paper.width - MARGIN - x, explanation))
    if height >= _LOWEST:
        _, lower = _pair(paper, y, height, explanation, panels)
    else:
        lower = _titled(paper, MARGIN, y, min(width / whole, _TALLEST), explanation, panels, overlay=False)
        lower = _titled(paper, MARGIN, lower + 0.15, min((width - _BAR) / part, _TALLEST), explanation, panels, overlay=True)
    lower = _caption(paper, MARGIN, lower, width, explanation)
    return _told(paper, MARGIN, lower + 0.15, width, explanation)


def _pair(paper: Paper, y: float, height: float, explanation: Explanation, panels: Panels) -> tuple[float, float]:
    """The picture and its overlay beside each other; returns where the next thing may begin, at their right and beneath."""
    right = MARGIN + max(height * _aspect((0, 0, *explanation.picture.size)), _TITLED) + GAP
    _titled(paper, MARGIN, y, height, explanation, panels, overlay=False)
    lower = _titled(paper, right, y, height, explanation, panels, overlay=True)
    return right + height * _aspect(shown_part(explanation)) + _BAR + GAP, lower


def _titled(paper: Paper, x: float, y: float, height: float, explanation: Explanation, panels: Panels, overlay: bool) -> float:
    """The picture, or its overlay with a colour bar, of that height under its title; returns its lower edge."""
    paper.line(x, y, "Relevance" if overlay else "The picture", TITLE)
    y += TITLE.height + 0.05
    box = shown_part(explanation) if overlay else (0, 0, *explanation.picture.size)
    area = Area(x, y, height * _aspect(box), height)
    panels.draw(paper, area, box, explanation if overlay else None)
    if overlay:
        number_boxes(paper, area, box, explanation)
        bar = max(height, _SHORTEST_BAR)
        _colour_bar(paper, x + height * _aspect(box) + 0.15, y, 0.16, bar, explanation)
        return y + bar
    return y + height


def _caption(paper: Paper, x: float, y: float, width: float, explanation: Explanation) -> float:
    return paper.paragraph(x, y + 0.1, width, cut_away(explanation), SMALL)


def _told(paper: Paper, x: float, y: float, width: float, explanation: Explanation) -> float:
    """The words and the small print; returns where the next thing may begin."""
    paper.line(x, y, "The words", TITLE)
    y = _word_boxes(paper, x, y + TITLE.height + 0.05, width, explanation, 12) + 0.12
    y = paper.paragraph(x, y, width, word_range(explanation), SMALL) + 0.12
    said = [_provenance(explanation), *_notes(explanation), *box_lines(explanation), *_legends([explanation])]
    return _small_print(paper, x, y, width, said)


def _columns(explanation: Explanation, methods: int) -> tuple[float, int]:
    """The width of a panel and how many stand beside each other: tall pictures stand closer than wide ones."""
    side = min(max(_PANEL * _aspect(shown_part(explanation)) ** 0.5, _NARROWEST), _WIDEST)
    cells = methods if _is_strip(explanation) else methods + 1
    middle = round(_WIDE / (side + GAP))
    choices = [n for n in (middle - 1, middle, middle + 1) if n <= cells] or [cells]
    return side, min(choices, key=lambda n: (-cells % n, abs(n - middle)))


def _is_strip(explanation: Explanation) -> bool:
    return _aspect((0, 0, *explanation.picture.size)) > _STRIP


def _comparison(paper: Paper, y: float, explanations: Sequence[Explanation], panels: Panels, side: float, columns: int) -> float:
    width = paper.width - 2 * MARGIN
    cells: list[Explanation | None] = [None, *explanations]  # None: the picture itself
    if _is_strip(explanations[0]):
        y = _original(paper, MARGIN, y, width, 2.0, explanations[0], panels) + 0.3
        del cells[0]
    end = y
    for cell, explanation in enumerate(cells):
        column = cell % columns
        if column == 0 and cell:
            y = end = end + 0.3
        x = MARGIN + column * (side + GAP)
        if explanation is None:
            lower = _original(paper, x, y, side, side / _aspect(shown_part(explanations[0])), explanations[0], panels)
        else:
            lower = _panel(paper, x, y, side, explanation, panels)
        end = max(end, lower)
    end = _agreements(paper, MARGIN, end + 0.35, width, explanations)
    said = [*box_lines(explanations[0], several=True), *_legends(explanations), _source(explanations[0])]
    return _small_print(paper, MARGIN, end + 0.3, width, said)


def _original(paper: Paper, x: float, y: float, width: float, height: float, explanation: Explanation, panels: Panels) -> float:
    """The picture as large as it fits in there; returns where the next thing may begin."""
    paper.line(x, y, "The picture", TITLE)
    y += TITLE.height + 0.05
    box = 0, 0, *explanation.picture.size
    height = min(height, width / _aspect(box))
    panels.draw(paper, Area(x, y, height * _aspect(box), height), box, None)
    return _caption(paper, x, y + height, width, explanation)


def _panel(paper: Paper, x: float, y: float, side: float, explanation: Explanation, panels: Panels) -> float:
    said = labels(explanation)
    beside = paper.measure(explanation.method, TITLE) + 0.1 + paper.measure(said, SMALL) <= side
    paper.line(x, y, paper.shorten(explanation.method, side, TITLE), TITLE)
    if not beside:
        y += TITLE.height
    paper.line(x + side if beside else x, y, said, SMALL, align="right" if beside else "left")
    box = shown_part(explanation)
    y += TITLE.height + 0.05
    area = Area(x, y, side, side / _aspect(box))
    panels.draw(paper, area, box, explanation)
    number_boxes(paper, area, box, explanation)
    y += side / _aspect(box) + 0.1
    _colour_bar(paper, x, y, side, 0.09, explanation)
    y = _word_boxes(paper, x, y + 0.34, side, explanation, 8.5) + 0.1
    return _small_print(paper, x, y, side, _notes(explanation))


def _agreements(paper: Paper, x: float, y: float, width: float, explanations: Sequence[Explanation]) -> float:
    """Two tables beside each other, of maps and of words; a row and a column for each method."""
    cell, top = 0.42, y
    label = max(paper.measure(f"{i + 1}  {e.full_name}", SMALL) for i, e in enumerate(explanations)) + 0.1
    room = (width - GAP) / 2
    if label + cell * len(explanations) > room:
        label = room - cell * len(explanations)
    ends = []
    for place, table in enumerate(agreements(explanations)):
        left, y = x + place * (room + GAP), top
        paper.line(left, y, table.title, TITLE)
        y += TITLE.height + 0.05
        for i in range(len(explanations)):
            paper.line(left + label + (i + 1) * cell, y, str(i + 1), SMALL, align="right")
        for i, (name, cells) in enumerate(table.rows):
            y += SMALL.height
            paper.line(left, y, paper.shorten(f"{i + 1}  {name}", label, SMALL), SMALL)
            for k, text in enumerate(cells):
                paper.line(left + label + (k + 1) * cell, y, text, SMALL, align="right")
        ends.append(paper.paragraph(left, y + SMALL.height + 0.05, room, table.caption, SMALL))
    return max(ends)


def _word_boxes(paper: Paper, x: float, y: float, width: float, explanation: Explanation, size: float) -> float:
    """Every word in a box of its colour with its raw score beneath, or struck out on grey where it was left out, in reading order;
    returns where the next thing may begin."""
    word_style, score_style = Style(size), Style(0.62 * size)
    pad, gap, height = 0.5 * size / 72, 0.3 * size / 72, 2.45 * size / 72
    from_right = right_to_left(explanation.question.text)
    away = explanation.left_out.words if explanation.left_out else ()
    taken, top = 0.0, y
    for i, (word, score, rgb) in enumerate(
        zip(explanation.question.words, explanation.word_relevance, paint(explanation.word_relevance, explanation.signed), strict=True)
    ):
        gone = i in away
        text, number = paper.shorten(word.text, width - 2 * pad, word_style), "left out" if gone else score_label(score)
        rgb = FLAT if gone else rgb
        across = max(paper.measure(text, word_style), paper.measure(number, score_style)) + 2 * pad
        if taken and taken + across > width:
            taken, top = 0.0, top + height + gap
        left = x + width - taken - across if from_right else x + taken
        paper.rounded_box(left, top, across, height, rgb, 0.25 * size / 72)
        middle, colour = left + across / 2, ink(rgb)
        paper.line(middle, top + 0.22 * size / 72, text, word_style._replace(colour=colour), align="center")
        if gone:
            across_text = paper.measure(text, word_style)
            paper.strike(middle - across_text / 2, top + 0.88 * size / 72, across_text, colour)
        paper.line(middle, top + 1.55 * size / 72, number, score_style._replace(colour=colour), align="center")
        taken += across + gap
    return top + height


def _aspect(box: Box) -> float:
    """Width by height."""
    return (box[2] - box[0]) / (box[3] - box[1])


def _colour_bar(paper: Paper, x: float, y: float, width: float, height: float, explanation: Explanation) -> None:
    """The map's colours with raw scores, at the right of an upright bar and beneath a level one."""
    flat = is_flat(explanation.image_relevance, explanation.signed)
    paper.colour_bar(x, y, width, height, FLAT if flat else None, explanation.signed)
    for place, label in bar_labels(explanation):
        if height > width:
            paper.line(x + width + 0.07, y + (1 - place) * height - SMALL.size / 144, label, SMALL)
        else:
            align = {0: "left", 0.5: "center", 1: "right"}[place]
            paper.line(x + place * width, y + height + 0.03, label, SMALL, align=align)


def _legends(explanations: Sequence[Explanation]) -> list[str]:
    return legends(explanations, ("dark", "bright", "grey"), ("the strongest colour", "the palest"))


def _source(explanation: Explanation) -> str:
    return f"Image: {explanation.image_name} · session: {explanation.session}, {explanation.precision}"


def _provenance(explanation: Explanation) -> str:
    parts = [f"Method: {explanation.method}", labels(explanation), _source(explanation)]
    return " · ".join(part for part in parts if part)


def _notes(explanation: Explanation) -> list[str]:
    return [f"Note: {note}." for note in (*explanation.notes, *notes(explanation))]


def _small_print(paper: Paper, x: float, y: float, width: float, lines: Sequence[str]) -> float:
    """A paragraph for each line, cut where it is longer than any note should be."""
    for line in lines:
        y = paper.paragraph(x, y, width, line, SMALL, most=max(4, round(_PRINT / width)))
    return y
