"""White paper to draw on: text, boxes, pictures and colour bars at places that are lengths.

Lengths are in inches, y runs downwards from the paper's top.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle
from matplotlib.transforms import Affine2D
from numpy.typing import NDArray
from PIL import Image

from xai.base.wording import right_to_left
from xai.runtime.show.fonts import RIGHT_TO_LEFT_MARK, drawable, font_for, lacking
from xai.runtime.show.theme import colours

DPI = 150
INK, GREY = "#1a1a1a", "#5f6368"
_HATCH = "#00000055"

Box = tuple[int, int, int, int]
"""Left, top, right and bottom, in pixels of the picture."""


class Style(NamedTuple):
    """How text looks; `size` in points."""

    size: float
    colour: str = INK
    bold: bool = False

    @property
    def height(self) -> float:
        """A line's, in inches."""
        return 1.4 * self.size / 72


class Paper:
    """A sheet of a given width, filled from the top; its height is known when it is full."""

    def __init__(self, width: float) -> None:
        self.width = width
        self.figure = Figure((width, 1), dpi=DPI, facecolor="white")
        self.lacking: frozenset[str] = frozenset()
        """Characters of its texts that no font has."""
        self._renderer = FigureCanvasAgg(self.figure).get_renderer()
        self._widths: dict[tuple[str, float, bool], float] = {}
        self._top = Affine2D()
        self._axes: list[tuple[Axes, float, float, float, float]] = []

    def finish(self, height: float) -> Figure:
        """Cut the sheet at `height` and put everything in its place."""
        self.figure.set_size_inches(self.width, height)
        self._top.scale(1, -1).translate(0, height)
        for axes, x, y, w, h in self._axes:
            axes.set_position((x / self.width, 1 - (y + h) / height, w / self.width, h / height))
        return self.figure

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        """Give an area of its own without a frame."""
        axes = self.figure.add_axes((0, 0, 1, 1), label=str(len(self._axes)))
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        self._axes.append((axes, x, y, width, height))
        return axes

    def measure(self, text: str, style: Style) -> float:
        """Give the width of one line of drawable text."""
        key = text, style.size, style.bold
        if key not in self._widths:
            font = font_for(text, style.size, style.bold)
            self._widths[key] = float(self._renderer.get_text_width_height_descent(text, font, ismath=False)[0]) / DPI
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
        self.figure.text(
            x,
            y + style.size / 72,
            text,
            transform=self._top + self.figure.dpi_scale_trans,
            fontproperties=font_for(text, style.size, style.bold),
            color=style.colour,
            ha=align,
            va="baseline",
            parse_math=False,  # a dollar sign is a dollar sign
            usetex=False,
        )

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
        self.figure.add_artist(
            FancyBboxPatch(
                (x, y),
                width,
                height,
                boxstyle=f"round,pad=0,rounding_size={radius}",
                facecolor=colour / 255,
                linewidth=0,
                transform=self._top + self.figure.dpi_scale_trans,
            )
        )

    def colour_bar(self, x: float, y: float, width: float, height: float, colour: NDArray[np.uint8] | None, signed: bool = False) -> None:
        """Draw the ramp, from below to above or from left to right along the longer side; or all of it in one `colour`."""
        low = -1 if signed else 0
        values = np.linspace(1, low, 256)[:, None] if height > width else np.linspace(low, 1, 256)[None]
        pixels = colours(values, signed) if colour is None else colour[None, None]
        self.axes(x, y, width, height).imshow(pixels, extent=(0, 1, 0, 1), aspect="auto")


def show_image(axes: Axes, image: Image.Image, box: Box) -> None:
    """Lay `image` over that part of the picture."""
    axes.imshow(image, extent=(box[0], box[2], box[3], box[1]), interpolation="antialiased")


def hatch(axes: Axes, box: Box) -> None:
    """Hatch a part of the picture."""
    axes.add_patch(Rectangle(box[:2], box[2] - box[0], box[3] - box[1], fill=False, linewidth=0, hatch="////", edgecolor=_HATCH))


def outline(axes: Axes, box: Box) -> None:
    """Draw a dark line around a part of the picture that is seen on any ground."""
    for colour, width in ("white", 2.4), (INK, 1.1):
        axes.add_patch(Rectangle(box[:2], box[2] - box[0], box[3] - box[1], fill=False, edgecolor=colour, linewidth=width, clip_on=False))


def box_mark(axes: Axes, corners: tuple[float, float, float, float], number: int) -> None:
    """Draw a box's line, and its number within its upper left corner, in pixels of the picture."""
    left, top, right, bottom = corners
    for colour, width in (INK, 1.8), ("white", 0.8):
        axes.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=colour, linewidth=width))
    axes.annotate(
        str(number),
        (left, top),
        xytext=(2, -2),
        textcoords="offset points",
        ha="left",
        va="top",
        color="white",
        fontproperties=font_for(str(number), 7, bold=True),
        bbox={"boxstyle": "square,pad=0.2", "facecolor": INK, "linewidth": 0},
        annotation_clip=False,
    )


def reduced(image: Image.Image, box: Box) -> Image.Image:
    """Copy a part of the picture with no more pixels than a sheet can show."""
    width, height = box[2] - box[0], box[3] - box[1]
    scale = min(1, 1400 / max(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return image.resize(size, Image.Resampling.BICUBIC, box, reducing_gap=2.0)


def grey(image: Image.Image) -> Image.Image:
    """Take the colours out of an RGB picture."""
    return image.convert("L").convert("RGB")
