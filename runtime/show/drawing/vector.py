"""A sheet -> a figure of matplotlib, which writes it as SVG or PDF with its texts as texts."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle
from matplotlib.transforms import Affine2D

from xai.runtime.show.drawing.fonts import font_for
from xai.runtime.show.drawing.lettering import DPI
from xai.runtime.show.drawing.paper import Fill, Frame, Hatch, Picture, Sheet, Text

_HATCH = "#00000055"
_FINER, _MOST = 2, 1400
"""Pictures have more pixels than on a screen, as one may enlarge them, and at most so many along the longer side."""


def figure(sheet: Sheet) -> Figure:
    """Put every mark of a sheet into a figure of its size."""
    made = Figure((sheet.width, sheet.height), dpi=DPI, facecolor="white")
    place = Affine2D().scale(1, -1).translate(0, sheet.height) + made.dpi_scale_trans
    for order, mark in enumerate(sheet.marks, start=1):
        match mark:
            case Text(x, y, text, style, align):
                font = font_for(text, style.size, style.bold)
                made.text(
                    x,
                    y,
                    text,
                    transform=place,
                    fontproperties=font,
                    color=style.colour,
                    ha=align,
                    va="baseline",
                    zorder=order,
                    parse_math=False,  # a dollar sign is a dollar sign
                    usetex=False,
                )
            case Fill((x, y, w, h), colour, radius):
                shape = f"round,pad=0,rounding_size={radius}"
                made.add_artist(FancyBboxPatch((x, y), w, h, shape, facecolor=colour, linewidth=0, transform=place, zorder=order))
            case Picture():
                _picture(made, sheet, mark, order)
            case Hatch((x, y, w, h)):
                hatched = Rectangle((x, y), w, h, fill=False, linewidth=0, hatch="////", edgecolor=_HATCH, transform=place, zorder=order)
                made.add_artist(hatched)
            case Frame((x, y, w, h), colour, thickness):
                line = Rectangle((x, y), w, h, fill=False, edgecolor=colour, linewidth=thickness, transform=place, zorder=order)
                made.add_artist(line)
    return made


def _picture(made: Figure, sheet: Sheet, mark: Picture, order: int) -> None:
    x, y, width, height = mark.area
    scale = min(_FINER * DPI, _MOST / max(width, height))
    image = mark.source((max(1, round(scale * width)), max(1, round(scale * height))))
    share = x / sheet.width, 1 - (y + height) / sheet.height, width / sheet.width, height / sheet.height
    axes = made.add_axes(share, label=str(order), zorder=order)
    axes.set_axis_off()
    axes.imshow(image, aspect="auto", interpolation="antialiased")
