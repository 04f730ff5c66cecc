"""A sheet -> a PNG, by Pillow alone: the way that everybody takes, so that it needs none of matplotlib's start."""

from __future__ import annotations

import io
from functools import cache, lru_cache

import numpy as np
from PIL import Image, ImageDraw

from xai.runtime.show.drawing.lettering import DPI, write
from xai.runtime.show.drawing.paper import Area, Fill, Frame, Hatch, Picture, Sheet, Text

_LEVEL = 3
"""Of zlib."""
_FINER = 4
"""Round corners are drawn that many times as large, and shrunk."""
_STEP, _THICK, _OPACITY = 25 / 2, 25 / 12, 1 / 3
"""Of hatching: pixels from line to line, across and down, and its lines' thickness."""
_TILE = 25


def png(sheet: Sheet) -> bytes:
    """Draw a sheet, 150 pixels an inch, and give the file."""
    buffer = io.BytesIO()
    picture(sheet).save(buffer, "PNG", compress_level=_LEVEL, dpi=(DPI, DPI))
    return buffer.getvalue()


def picture(sheet: Sheet) -> Image.Image:
    """Draw a sheet in RGB, 150 pixels an inch."""
    image = Image.new("RGB", (round(sheet.width * DPI), round(sheet.height * DPI)), "white")
    for mark in sheet.marks:
        match mark:
            case Text(x, y, text, style, align):
                write(image, x * DPI, y * DPI, text, style, align)
            case Fill(area, colour, radius):
                left, top, right, bottom = corners(area)
                image.paste(colour, (left, top), _rounded(right - left, bottom - top, round(_FINER * radius * DPI)))
            case Picture(area, source):
                left, top, right, bottom = corners(area)
                image.paste(source((right - left, bottom - top)), (left, top))
            case Hatch(area):
                left, top, right, bottom = corners(area)
                image.paste("black", (left, top), _hatching(right - left, bottom - top))
            case Frame(area, colour, thickness):
                _frame(image, area, colour, thickness)
    return image


def corners(area: Area) -> tuple[int, int, int, int]:
    """Left, top, right and bottom in pixels; a pixel at least."""
    left, top = round(area.x * DPI), round(area.y * DPI)
    return left, top, max(left + 1, round((area.x + area.width) * DPI)), max(top + 1, round((area.y + area.height) * DPI))


def _frame(image: Image.Image, area: Area, colour: str, thickness: float) -> None:
    left, top, right, bottom = corners(area)
    across = max(1, round(thickness * DPI / 72))
    out = across // 2
    outer = left - out, top - out, right - 1 + out, bottom - 1 + out
    ImageDraw.Draw(image).rectangle(outer, outline=colour, width=across)


@lru_cache(256)
def _rounded(width: int, height: int, radius: int) -> Image.Image:
    """Where a box with round corners is (8 bits a pixel); the radius is in finer pixels."""
    if not radius:
        return Image.new("L", (width, height), 255)
    fine = Image.new("L", (_FINER * width, _FINER * height))
    ImageDraw.Draw(fine).rounded_rectangle((0, 0, fine.width - 1, fine.height - 1), radius, 255)
    return fine.reduce(_FINER)


def _hatching(width: int, height: int) -> Image.Image:
    tile = _tile()
    return Image.fromarray(np.tile(tile, (height // _TILE + 1, width // _TILE + 1))[:height, :width].copy())


@cache
def _tile() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Two lines of the pattern, which repeats after a whole number of pixels; each pixel is the mean of points within it."""
    points = (np.arange(_TILE * 8) + 0.5) / 8
    away = (points + points[:, None]) % _STEP
    ink = np.minimum(away, _STEP - away) < _THICK / 2**0.5  # along a row a slanted line is that much thicker
    share = ink.reshape(_TILE, 8, _TILE, 8).mean(axis=(1, 3))
    return np.round(255 * _OPACITY * share).astype(np.uint8)
