"""One line of text -> how wide it is and its letters as a mask, in matplotlib's DejaVu Sans, or what else is installed.

Where letters stand one after the other Pillow draws them, without matplotlib, whose import alone takes longer than a whole sheet.
matplotlib draws what has to be joined, runs from the right or needs another font. Both read the same files by FreeType.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from math import ceil
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from xai.base.process import import_matplotlib

DPI = 150
INK, GREY = "#1a1a1a", "#5f6368"

_RANGES = (
    *((0x20, 0x7E), (0xA1, 0xAC), (0xAE, 0x17F), (0x391, 0x3A1), (0x3A3, 0x3C9), (0x400, 0x45F)),  # Latin, Greek, Cyrillic
    *((0x2013, 0x2014), (0x2018, 0x201E), (0x2022, 0x2022), (0x2026, 0x2026), (0x20AC, 0x20AC), (0x27E8, 0x27E9)),  # dashes to brackets
)
PLAIN = frozenset(chr(c) for first, last in _RANGES for c in range(first, last + 1))
"""Letters of which both weights of DejaVu Sans draw each by itself."""


_ANCHORS = {"left": "ls", "center": "ms", "right": "rs"}
_NAMED = 4
"""A note names at most as many characters."""
_PAD = 4
"""Pixels around what matplotlib draws: letters may reach beyond their widths."""


class Style(NamedTuple):
    """How text looks; `size` in points."""

    size: float
    colour: str = INK
    bold: bool = False

    @property
    def height(self) -> float:
        """A line's, in inches."""
        return 1.4 * self.size / 72


def is_plain(text: str) -> bool:
    """Say whether Pillow can draw it as matplotlib would."""
    return PLAIN.issuperset(text)


def lacking(text: str) -> frozenset[str]:
    """Find the visible characters of `text` that no font of this machine has."""
    return frozenset() if is_plain(text) else _fonts().lacking(text)


def lacking_note(characters: frozenset[str]) -> str:
    """Say what stands for characters that no font has."""
    named = [f"U+{ord(c):04X}" for c in sorted(characters)]
    more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    return (
        f"⟨n⟩ stands for n characters that no font of this machine has ({', '.join(named[:_NAMED])}{more}): "
        "install a font for their script, or save .html"
    )


def drawable(text: str) -> str:
    """Make one line of what can be drawn: nothing for the invisible, ⟨n⟩ for n characters that no font has."""
    return " ".join(text.split()) if is_plain(text) else _fonts().drawable(text)


def measure(text: str, style: Style) -> float:
    """Give the width of one line of drawable text, in inches."""
    if is_plain(text):
        return _own_font(style.size, style.bold).getlength(text) / DPI
    return _extent(text, style)[0] / DPI


def write(image: Image.Image, x: float, y: float, text: str, style: Style, align: str) -> None:
    """Write one line of drawable text on an RGB picture; the left end, middle or right end of its baseline at (x, y), in pixels."""
    if is_plain(text):
        font = _own_font(style.size, style.bold)
        ImageDraw.Draw(image).text((round(x), round(y)), text, style.colour, font, anchor=_ANCHORS[align])
        return
    mask, beneath = _mask(text, style)
    share = {"left": 0.0, "center": 0.5, "right": 1.0}[align]
    image.paste(style.colour, (round(x - share * (mask.width - 2 * _PAD)) - _PAD, round(y) - (mask.height - beneath)), mask)


def _extent(text: str, style: Style) -> tuple[float, float, float]:
    """Width, height and how far it hangs below its baseline, by matplotlib, in pixels."""
    font = _fonts().font_for(text, style.size, style.bold)
    from matplotlib.backends.backend_agg import RendererAgg

    width, height, below = RendererAgg(1, 1, DPI).get_text_width_height_descent(text, font, ismath=False)
    return float(width), float(height), float(below)


def _mask(text: str, style: Style) -> tuple[Image.Image, int]:
    """Where there is ink (8 bits a pixel), by matplotlib, with room around it, and how many of its rows lie below the baseline."""
    width, height, below = _extent(text, style)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    across, down = ceil(width) + 2 * _PAD, ceil(height) + 2 * _PAD
    beneath = ceil(below) + _PAD
    figure = Figure((across / DPI, down / DPI), dpi=DPI, facecolor="none")
    font = _fonts().font_for(text, style.size, style.bold)
    figure.text(_PAD / across, beneath / down, text, fontproperties=font, va="baseline", parse_math=False, usetex=False)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., 3].copy()), beneath


@cache
def _own_font(size: float, bold: bool) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(_own_file(bold)), size * DPI / 72, layout_engine=ImageFont.Layout.BASIC)


def _own_file(bold: bool) -> Path:
    found = find_spec("matplotlib")
    assert found is not None and found.origin is not None  # a dependency
    return Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" / ("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf")


def _fonts() -> ModuleType:
    import_matplotlib()
    from xai.runtime.show.drawing import fonts

    return fonts
