"""White paper to draw on: text, boxes, pictures and colour bars at places that are lengths, kept as a list of marks.

Lengths are in inches, y runs downwards from the paper's top. What draws the marks: `raster.py` and `vector.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xai.base.wording import right_to_left
from xai.runtime.show.drawing.lettering import DPI, INK, Style, drawable, lacking, measure
from xai.runtime.show.theme import colours, hexadecimal

RIGHT_TO_LEFT_MARK = "\u200f"
"""Before a line of a right-to-left text that begins with a word of another direction."""
_NUMBER = Style(7, "white", bold=True)


class Area(NamedTuple):
    """Left and top, width and height."""

    x: float
    y: float
    width: float
    height: float


class Text(NamedTuple):
    """One line of drawable text; `align` says which end of its baseline, or its middle, is at (x, y)."""

    x: float
    y: float
    text: str
    style: Style
    align: str


class Fill(NamedTuple):
    """A box of one colour whose corners have a radius."""

    area: Area
    colour: str
    radius: float


class Picture(NamedTuple):
    """A picture that fills its area: `source` gives it, in RGB, with any width and height in pixels."""

    area: Area
    source: Callable[[tuple[int, int]], Image.Image]


class Hatch(NamedTuple):
    """Slanted lines over an area."""

    area: Area


class Frame(NamedTuple):
    """A line around an area, half of its `thickness` (in points) within it."""

    area: Area
    colour: str
    thickness: float


Mark = Text | Fill | Picture | Hatch | Frame


class Sheet(NamedTuple):
    """A full paper; later marks lie on earlier ones."""

    width: float
    height: float
    marks: tuple[Mark, ...]


class Paper:
    """A sheet of a given width, filled from the top; its height is known when it is full."""

    def __init__(self, width: float) -> None:
        self.width = width
        self.lacking: frozenset[str] = frozenset()
        """Characters of its texts that no font has."""
        self._widths: dict[tuple[str, float, bool], float] = {}
        self._marks: list[Mark] = []

    def finish(self, height: float) -> Sheet:
        """Cut the sheet at `height`, or behind the pixel that it runs through."""
        return Sheet(self.width, ceil(height * DPI) / DPI, tuple(self._marks))

    def measure(self, text: str, style: Style) -> float:
        """Give the width of one line of drawable text."""
        key = text, style.size, style.bold
        if key not in self._widths:
            self._widths[key] = measure(text, style)
        return self._widths[key]

    def shorten(self, text: str, width: float, style: Style) -> str:
        """Make `text` drawable, its end replaced by an ellipsis where it is wider than `width`."""
        self.lacking |= lacking(text)
        text = drawable(text)
        if self.measure(text, style) <= width:
            return text
        fits, too_long = 0, len(text)
        while too_long - fits > 1:
            middle = (fits + too_long) // 2
            if self.measure(text[:middle] + "…", style) <= width:
                fits = middle
            else:
                too_long = middle
        return text[:fits] + "…"

    def line(self, x: float, y: float, text: str, style: Style, align: str = "left") -> None:
        """Write one line of drawable text, its top at `y`."""
        self._marks.append(Text(x, y + style.size / 72, text, style, align))

    def paragraph(self, x: float, y: float, width: float, text: str, style: Style, most: int = 99) -> float:
        """Write at most `most` lines, wrapped, from the side on which the text begins; return where the next thing may begin."""
        lines: list[str] = []
        taken, space = 0.0, self.measure("a a", style) - self.measure("aa", style)
        for word in text.split():
            across = self.measure(drawable(word), style)
            if lines and taken + space + across <= width:
                lines[-1] += f" {word}"
                taken += space + across
            else:
                lines.append(word)
                taken = across
        if len(lines) > most:
            lines = [*lines[: most - 1], " ".join(lines[most - 1 :])]
        from_right = right_to_left(text)
        for line in lines:
            shown = self.shorten(line, width, style)
            if from_right:
                self.line(x + width, y, RIGHT_TO_LEFT_MARK + shown, style, align="right")
            else:
                self.line(x, y, shown, style)
            y += style.height
        return y

    def rounded_box(self, x: float, y: float, width: float, height: float, colour: NDArray[np.uint8], radius: float) -> None:
        """Fill a box with round corners."""
        self._marks.append(Fill(Area(x, y, width, height), hexadecimal(colour), radius))

    def strike(self, x: float, y: float, width: float, colour: str) -> None:
        """Draw a level line, such as through a word."""
        self._marks.append(Fill(Area(x, y - 0.5 / 72, width, 1 / 72), colour, 0.0))

    def colour_bar(self, x: float, y: float, width: float, height: float, colour: NDArray[np.uint8] | None, signed: bool = False) -> None:
        """Draw the ramp, from below to above or from left to right along the longer side; or all of it in one `colour`."""

        def ramp(size: tuple[int, int]) -> Image.Image:
            low = -1 if signed else 0
            values = np.linspace(1, low, size[1])[:, None] if height > width else np.linspace(low, 1, size[0])[None]
            pixels = colours(values, signed) if colour is None else colour
            return Image.fromarray(np.ascontiguousarray(np.broadcast_to(pixels, (size[1], size[0], 3))))

        self.picture(Area(x, y, width, height), ramp)

    def picture(self, area: Area, source: Callable[[tuple[int, int]], Image.Image]) -> None:
        """Lay a picture there."""
        self._marks.append(Picture(area, source))

    def hatch(self, area: Area) -> None:
        """Hatch an area."""
        self._marks.append(Hatch(area))

    def outline(self, area: Area) -> None:
        """Draw a dark line around an area that is seen on any ground."""
        self._marks += [Frame(area, "#ffffff", 2.4), Frame(area, INK, 1.1)]

    def box_mark(self, area: Area, number: int) -> None:
        """Draw a box's line, and its number within its upper left corner."""
        self._marks += [Frame(area, INK, 1.8), Frame(area, "#ffffff", 0.8)]
        text, margin, rim = str(number), 0.2 * _NUMBER.size / 72, 2 / 72
        high = 0.73 * _NUMBER.size / 72  # a digit's height
        ground = Area(area.x + rim - margin, area.y + rim - margin, self.measure(text, _NUMBER) + 2 * margin, high + 2 * margin)
        self._marks.append(Fill(ground, INK, 0.0))
        self._marks.append(Text(area.x + rim, area.y + rim + high, text, _NUMBER, "left"))
