"""Where things lie in a picture, and how much of what a map scores (patches or boxes) they cover."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Cells = NDArray[np.float64]
"""(rows, columns, 4) of patches, or (N, 4) of boxes: x0, y0, x1, y1 of each as shares of the whole picture's width and height."""

Region = NDArray[np.float64]
"""Share of each patch (rows, columns), or of each box (N,), that something covers."""

WHOLE: Cells = np.array([[0.0, 0.0, 1.0, 1.0]])
"""The whole picture as its only box: what covers how much of it is its size."""

_DIGITS = 6
"""Digits behind the point that count in a corner's pixel: a corner that rounding moved off a pixel's edge returns to it."""
_SHARE_DIGITS = 9
"""Digits of a share: nothing covered must be 0, not almost 0."""


def grid_cells(rows: int, columns: int, crop: tuple[int, int, int, int], size: tuple[int, int]) -> Cells:
    """The patches (rows, columns, 4) that the part `crop` (left, top, right, bottom) of a picture of `size` (width, height) is cut into."""
    left, top, right, bottom = crop
    x = (left + (right - left) * np.arange(columns + 1) / columns) / size[0]
    y = (top + (bottom - top) * np.arange(rows + 1) / rows) / size[1]
    cells = np.empty((rows, columns, 4))
    cells[..., 0], cells[..., 2] = x[:-1], x[1:]
    cells[..., 1], cells[..., 3] = y[:-1, None], y[1:, None]
    return cells


def square_cells(rows: int, columns: int) -> Cells:
    """The patches (rows, columns, 4) of a picture that is seen whole."""
    return grid_cells(rows, columns, (0, 0, 1, 1), (1, 1))


def share_covered(mask: NDArray[np.bool_], cells: Cells) -> Region:
    """Compute the share of each cell's area that a mask (h, w) of the whole picture covers, whatever the picture's size.

    Exact, parts of the mask's pixels counted; a cell without area, or beside the picture, has 0.
    """
    height, width = mask.shape
    table = np.zeros((height + 1, width + 1))
    table[1:, 1:] = mask.cumsum(0).cumsum(1)
    scaled = np.round(np.clip(cells, 0, 1) * (width, height, width, height), _DIGITS)
    x0, y0, x1, y1 = np.moveaxis(scaled, -1, 0)
    inside = _below(table, x1, y1) - _below(table, x0, y1) - _below(table, x1, y0) + _below(table, x0, y0)
    area = (x1 - x0) * (y1 - y0)
    share = np.divide(inside, area, out=np.zeros_like(area), where=area > 0)
    return np.clip(np.round(share, _SHARE_DIGITS), 0, 1)


def region_of(mask: NDArray[np.bool_], cells: Cells) -> Region | None:
    """What `share_covered` gives; None where the mask lies in no cell, so that the model did not see it."""
    region = share_covered(mask, cells)
    return region if region.any() else None


def _below(table: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Integrate the mask over [0, x] x [0, y] from its summed-area table: linear along either axis within a pixel."""
    column = np.minimum(x.astype(np.int64), table.shape[1] - 2)
    row = np.minimum(y.astype(np.int64), table.shape[0] - 2)
    right, down = x - column, y - row
    upper = table[row, column] * (1 - right) + table[row, column + 1] * right
    lower = table[row + 1, column] * (1 - right) + table[row + 1, column + 1] * right
    return upper * (1 - down) + lower * down
