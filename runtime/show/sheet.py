"""Explanations -> one picture: the original, the overlay on the crop that the model saw, the words.

Lengths on the sheet are in inches, y runs downwards from its top.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_left
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, get_font
from matplotlib.patches import FancyBboxPatch, Rectangle
from matplotlib.transforms import Affine2D
from PIL import Image

from xai.base.text import one_line, percent
from xai.runtime.explanation import Explanation
from xai.runtime.show.theme import FADED, bar_labels, colours, cut_away, heat, ink, outside, scale_notes, scaled, window, word_range

DPI = 150
MARGIN = 0.45
GAP = 0.35
INK, GREY = "#1a1a1a", "#5f6368"


def draw(explanations: Sequence[Explanation]) -> Figure:
    """One explanation: the picture beside its overlay. Several, of the same answer: the picture once and a panel for each.

    The figure's width depends on the number of explanations only, its height on the picture's shape and the text.
    """
    cells = len(explanations) + 1
    columns = 2 if cells == 2 else min((3, 4, 5), key=lambda n: (-cells % n, abs(n - 4)))
    width = 11.2 if cells == 2 else 2 * MARGIN + columns * 3.2 + (columns - 1) * GAP
    sheet = _Sheet(width, _views(explanations[0]))
    y = _header(sheet, MARGIN, explanations[0])
    y = _single(sheet, y, explanations[0]) if cells == 2 else _comparison(sheet, y, explanations, columns)
    return sheet.finish(y + MARGIN)


class _Style(NamedTuple):
    size: float
    colour: str = INK
    bold: bool = False

    @property
    def height(self) -> float:
        """Of a line, in inches."""
        return 1.4 * self.size / 72


QUESTION = _Style(16, bold=True)
ANSWER = _Style(12.5)
TITLE = _Style(11, bold=True)
SMALL = _Style(8.5, GREY)


@cache
def _font(bold: bool) -> FontProperties:
    """Matplotlib's own font, so that a sheet looks the same everywhere."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return FontProperties(fname=Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name)


def _drawable(text: str, bold: bool) -> str:
    """A box for every character that the font lacks (matplotlib would warn on stderr), nothing for the invisible ones."""
    font = get_font(str(_font(bold).get_file()))
    visible = [c for c in one_line(text) if unicodedata.category(c) != "Cf" and c != "\ufe0f"]
    return "".join(c if font.get_char_index(ord(c)) else "□" for c in visible)


class _Views(NamedTuple):
    """The picture as panels show it: greyed, where the model did not see it; what it saw; that, under an overlay."""

    whole: Image.Image | None  # None where the model saw everything
    seen: Image.Image
    faded: Image.Image


def _views(explanation: Explanation) -> _Views:
    picture, box = explanation.picture, explanation.crop.box
    seen = _reduced(picture, box)
    whole = None
    if outside(picture.size, box):
        reduced = _reduced(picture, (0, 0, *picture.size))
        whole = Image.blend(_grey(reduced), Image.new("RGB", reduced.size, "white"), 0.6)
    return _Views(whole, seen, Image.blend(seen, _grey(seen), FADED))


class _Sheet:
    """A white page of a given width, filled from the top; its height is known when it is full."""

    def __init__(self, width: float, views: _Views) -> None:
        self.width = width
        self.views = views
        self.figure = Figure((width, 1), dpi=DPI, facecolor="white")
        self._renderer = FigureCanvasAgg(self.figure).get_renderer()
        self._top = Affine2D()
        self._axes: list[tuple[Axes, float, float, float, float]] = []

    def finish(self, height: float) -> Figure:
        self.figure.set_size_inches(self.width, height)
        self._top.scale(1, -1).translate(0, height)
        for axes, x, y, w, h in self._axes:
            axes.set_position((x / self.width, 1 - (y + h) / height, w / self.width, h / height))
        return self.figure

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        axes = self.figure.add_axes((0, 0, 1, 1), label=str(len(self._axes)))
        axes.set(xticks=[], yticks=[])
        self._axes.append((axes, x, y, width, height))
        return axes

    def measure(self, text: str, style: _Style) -> float:
        font = _font(style.bold).copy()
        font.set_size(style.size)
        return float(self._renderer.get_text_width_height_descent(text, font, ismath=False)[0]) / DPI

    def shorten(self, text: str, width: float, style: _Style) -> str:
        """`text`, its end replaced by an ellipsis where it is wider than `width`."""
        text = _drawable(text, style.bold)
        if self.measure(text, style) <= width:
            return text
        return text[: bisect_left(range(len(text)), True, key=lambda n: self.measure(text[: n + 1] + "…", style) > width)] + "…"

    def line(self, x: float, y: float, text: str, style: _Style, align: str = "left") -> None:
        """One line of drawable text, its top at `y`."""
        self.figure.text(
            x,
            y + style.size / 72,
            text,
            transform=self._top + self.figure.dpi_scale_trans,
            fontproperties=_font(style.bold),
            fontsize=style.size,
            color=style.colour,
            ha=align,
            va="baseline",
            parse_math=False,  # a dollar sign is a dollar sign
            usetex=False,
        )

    def paragraph(self, x: float, y: float, width: float, text: str, style: _Style, most: int = 99) -> float:
        """At most `most` lines, wrapped; returns where the next thing may begin."""
        lines = [""]
        for word in _drawable(text, style.bold).split():
            longer = f"{lines[-1]} {word}".lstrip()
            if self.measure(longer, style) <= width:
                lines[-1] = longer
            else:
                lines.append(word)
        lines = [line for line in lines if line]
        if len(lines) > most:
            lines = [*lines[: most - 1], " ".join(lines[most - 1 :])]
        for line in lines:
            self.line(x, y, self.shorten(line, width, style), style)
            y += style.height
        return y

    def words(self, x: float, y: float, width: float, explanation: Explanation, size: float) -> float:
        """Every word in a box of its colour; returns where the next thing may begin."""
        style = _Style(size)
        pad, gap, height = 0.5 * size / 72, 0.3 * size / 72, 1.7 * size / 72
        left, tops = x, y
        for word, rgb in zip(explanation.question.words, colours(scaled(explanation.word_relevance)), strict=True):
            text = self.shorten(word.text, width - 2 * pad, style)
            across = self.measure(text, style) + 2 * pad
            if left > x and left + across > x + width:
                left, tops = x, tops + height + gap
            box = FancyBboxPatch(
                (left, tops),
                across,
                height,
                boxstyle=f"round,pad=0,rounding_size={0.25 * size / 72}",
                facecolor=rgb / 255,
                linewidth=0,
                transform=self._top + self.figure.dpi_scale_trans,
            )
            self.figure.add_artist(box)
            self.line(left + pad, tops + 0.24 * size / 72, text, style._replace(colour=ink(rgb)))
            left += across + gap
        return tops + height


def _header(sheet: _Sheet, y: float, explanation: Explanation) -> float:
    width = sheet.width - 2 * MARGIN
    y = sheet.paragraph(MARGIN, y, width, explanation.question.text, QUESTION, most=4) + 0.06
    answers = [("Answer", explanation.answer)]
    if explanation.target.id != explanation.answer.id:
        answers.append(("Explained instead", explanation.target))
    for label, answer in answers:
        sheet.line(MARGIN, y, label, ANSWER._replace(colour=GREY))
        x = MARGIN + sheet.measure(label, ANSWER) + 0.12
        share = percent(answer.probability)
        bold = ANSWER._replace(bold=True)
        text = sheet.shorten(answer.text, sheet.width - MARGIN - x - sheet.measure(share, ANSWER) - 0.12, bold)
        sheet.line(x, y, text, bold)
        sheet.line(x + sheet.measure(text, bold) + 0.12, y, share, ANSWER)
        y += ANSWER.height
    return y + 0.2


def _single(sheet: _Sheet, y: float, explanation: Explanation) -> float:
    bar = 0.9  # with its labels
    side = (sheet.width - 2 * MARGIN - GAP - bar) / 2
    right = MARGIN + side + GAP
    width = sheet.width - 2 * MARGIN
    sheet.line(MARGIN, y, "The picture", TITLE)
    sheet.line(right, y, "Relevance", TITLE)
    y += TITLE.height + 0.05
    _, end = _picture(sheet, MARGIN, y, side, explanation)
    across, below = _picture(sheet, right, y, side, explanation, overlay=True)
    _colour_bar(sheet, right + across + 0.15, y, 0.16, below - y, explanation, upright=True)
    y = max(end, below) + 0.1
    if cut := cut_away(explanation):
        y = sheet.paragraph(MARGIN, y, width, cut, SMALL)
    y += 0.15
    sheet.line(MARGIN, y, "The words", TITLE)
    y = sheet.words(MARGIN, y + TITLE.height + 0.05, width, explanation, 12) + 0.12
    y = sheet.paragraph(MARGIN, y, width, word_range(explanation), SMALL) + 0.12
    return _small_print(sheet, MARGIN, y, width, [_provenance(explanation), *_notes(explanation)])


def _comparison(sheet: _Sheet, y: float, explanations: Sequence[Explanation], columns: int) -> float:
    side = (sheet.width - 2 * MARGIN - (columns - 1) * GAP) / columns
    end = y
    for cell in range(len(explanations) + 1):
        column = cell % columns
        if column == 0 and cell:
            y = end = end + 0.3
        x = MARGIN + column * (side + GAP)
        end = max(end, _panel(sheet, x, y, side, explanations[cell - 1]) if cell else _original(sheet, x, y, side, explanations[0]))
    notes = [
        "Each map and each row of words is scaled by itself, from its lowest score (dark) to its highest (bright): "
        "colours compare places within one method, not methods with each other.",
        _source(explanations[0]),
    ]
    return _small_print(sheet, MARGIN, end + 0.3, sheet.width - 2 * MARGIN, notes)


def _original(sheet: _Sheet, x: float, y: float, side: float, explanation: Explanation) -> float:
    sheet.line(x, y, "The picture", TITLE)
    y = _picture(sheet, x, y + TITLE.height + 0.05, side, explanation)[1] + 0.1
    return sheet.paragraph(x, y, side, cut_away(explanation), SMALL)


def _panel(sheet: _Sheet, x: float, y: float, side: float, explanation: Explanation) -> float:
    title = sheet.shorten(explanation.method, side, TITLE)
    sheet.line(x, y, title, TITLE)
    if explanation.layers:
        sheet.line(x + side, y, f"{explanation.layers} layers" if explanation.layers == "all" else "first layer", SMALL, align="right")
    y = _picture(sheet, x, y + TITLE.height + 0.05, side, explanation, overlay=True)[1] + 0.1
    _colour_bar(sheet, x, y, side, 0.09, explanation, upright=False)
    y = sheet.words(x, y + 0.34, side, explanation, 8.5) + 0.1
    return _small_print(sheet, x, y, side, _notes(explanation))


def _picture(sheet: _Sheet, x: float, y: float, side: float, explanation: Explanation, overlay: bool = False) -> tuple[float, float]:
    """The picture within a square of that side, what the model did not see greyed and hatched; returns its width and lower edge."""
    picture, box = explanation.picture, explanation.crop.box
    shown = window(picture.size, box) if overlay else (0, 0, *picture.size)
    width, height = shown[2] - shown[0], shown[3] - shown[1]
    scale = side / max(width, height)
    axes = sheet.axes(x, y, width * scale, height * scale)
    views = sheet.views
    if views.whole is not None:
        _show(axes, views.whole, (0, 0, *picture.size))
    for strip in outside(picture.size, box):
        corner, size = strip[:2], (strip[2] - strip[0], strip[3] - strip[1])
        axes.add_patch(Rectangle(corner, *size, fill=False, linewidth=0, hatch="////", edgecolor="#00000055"))
    _show(axes, views.faded if overlay else views.seen, box)
    if overlay:
        _show(axes, heat(explanation.image_relevance, 720), box)
    for colour, line in ("white", 2.4), (INK, 1.1):
        axes.add_patch(Rectangle(box[:2], box[2] - box[0], box[3] - box[1], fill=False, edgecolor=colour, linewidth=line, clip_on=False))
    axes.set(xlim=(shown[0], shown[2]), ylim=(shown[3], shown[1]), aspect="auto")
    axes.spines[:].set_visible(False)
    return width * scale, y + height * scale


def _reduced(image: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
    """A part of the picture with no more pixels than a sheet can show."""
    width, height = box[2] - box[0], box[3] - box[1]
    scale = min(1, 1400 / max(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return image.resize(size, Image.Resampling.BICUBIC, box, reducing_gap=2.0)


def _grey(image: Image.Image) -> Image.Image:
    return image.convert("L").convert("RGB")


def _show(axes: Axes, image: Image.Image, box: tuple[int, int, int, int]) -> None:
    """`image` over that part of the picture."""
    axes.imshow(image, extent=(box[0], box[2], box[3], box[1]), interpolation="antialiased")


def _colour_bar(sheet: _Sheet, x: float, y: float, width: float, height: float, explanation: Explanation, upright: bool) -> None:
    ramp = np.linspace(1, 0, 256)[:, None] if upright else np.linspace(0, 1, 256)[None]
    axes = sheet.axes(x, y, width, height)
    axes.imshow(colours(ramp), extent=(0, 1, 0, 1), aspect="auto")
    axes.spines[:].set_visible(False)
    for place, label in bar_labels(explanation):
        if upright:
            sheet.line(x + width + 0.07, y + (1 - place) * height - SMALL.size / 144, label, SMALL)
        else:
            sheet.line(x + place * width, y + height + 0.03, label, SMALL, align={0: "left", 0.5: "center", 1: "right"}[place])


def _source(explanation: Explanation) -> str:
    return f"Image: {explanation.image_name} · session: {explanation.session}, {explanation.precision}"


def _provenance(explanation: Explanation) -> str:
    layers = f" · layers: {explanation.layers}" if explanation.layers else ""
    return f"Method: {explanation.method}{layers} · {_source(explanation)}"


def _notes(explanation: Explanation) -> list[str]:
    return [f"Note: {note}." for note in (*explanation.notes, *scale_notes(explanation))]


def _small_print(sheet: _Sheet, x: float, y: float, width: float, lines: Sequence[str]) -> float:
    for line in lines:
        y = sheet.paragraph(x, y, width, line, SMALL, most=4)
    return y
