"""Scores of boxes -> a map of the picture, by one rule that pictures, pages and the terminal share.

Where boxes overlap, the highest of their scores shows; where there is no box, nothing does. The highest ones are outlined and
numbered by their rank. What was left out by hand is a box of the picture, too.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xai.runtime.explanation import Explanation
from xai.runtime.show.scale import is_flat, score_label

MARKED = 3
"""Boxes that are outlined and numbered: more would hide the picture."""
LISTED = 5
"""Boxes that are listed with their scores."""

RULE = "Where boxes overlap, the highest of their scores shows; where there is no box, the map shows nothing."


class Mark(NamedTuple):
    """A box that is outlined: left, top, right and bottom in pixels of the picture, and its rank from 1."""

    corners: tuple[float, float, float, float]
    number: int


def places(boxes: NDArray[np.floating], rows: int, columns: int) -> NDArray[np.int64]:
    """Corners (N, 4) as shares -> the first and behind the last column and row (N, 4) that each box covers, one at least: what its edge
    cuts belongs to it by half or more."""
    sides = np.array([columns, rows, columns, rows])
    found = np.round(np.clip(boxes, 0, 1) * sides).astype(np.int64)
    found[:, :2] = np.minimum(found[:, :2], sides[:2] - 1)
    found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
    return found


def spread_boxes(
    scores: NDArray[np.floating], boxes: NDArray[np.floating], rows: int, columns: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Scores (N,) of boxes (N, 4) -> the largest at each place (rows, columns), 0 where there is no box, and where there is one."""
    values, covered = np.zeros((rows, columns)), np.zeros((rows, columns), dtype=bool)
    corners = places(boxes, rows, columns)
    for i in np.argsort(abs(scores), kind="stable"):  # the largest comes last
        left, top, right, bottom = corners[i]
        values[top:bottom, left:right] = scores[i]
        covered[top:bottom, left:right] = True
    return values, covered


def ranked(explanation: Explanation) -> list[int]:
    """The boxes from the largest score to the smallest, whatever its sign, the first of equals first."""
    return [int(i) for i in np.argsort(-abs(explanation.image_relevance), kind="stable")]


def marks(explanation: Explanation) -> list[Mark]:
    """The boxes to outline: the highest, unless no score is higher than another; none where there is a grid."""
    if explanation.boxes is None or is_flat(explanation.image_relevance, explanation.signed):
        return []
    width, height = explanation.picture.size
    found = []
    for rank, i in enumerate(ranked(explanation)[:MARKED]):
        left, top, right, bottom = (float(x) for x in np.clip(explanation.boxes[i], 0, 1) * (width, height, width, height))
        found.append(Mark((left, top, right, bottom), rank + 1))
    return found


def box_lines(explanation: Explanation, several: bool = False) -> list[str]:
    """What is to be said of boxes: which are highest, unless there are `several` explanations, and the rule; nothing of a grid."""
    if explanation.boxes is None or not len(explanation.boxes):
        return []
    if several or is_flat(explanation.image_relevance, explanation.signed):
        return [RULE]
    best = enumerate(ranked(explanation)[:LISTED], start=1)
    highest = ", ".join(f"[{rank}] box {i} ({score_label(explanation.image_relevance[i])})" for rank, i in best)
    return [f"Highest of {len(explanation.boxes)} boxes, by rank: {highest}. {RULE}"]


def left_out_boxes(explanation: Explanation) -> list[tuple[int, int, int, int]]:
    """The parts of the picture that were left out by hand, in its pixels: boxes, or patches, of which those beside each other are one."""
    if explanation.left_out is None:
        return []
    if explanation.boxes is not None:
        width, height = explanation.picture.size
        corners = np.round(np.clip(explanation.boxes, 0, 1) * (width, height, width, height)).astype(int).tolist()
        return [(left, top, right, bottom) for left, top, right, bottom in (corners[i] for i in explanation.left_out.patches)]
    rows, columns = explanation.image_relevance.shape
    left, top, right, bottom = explanation.crop.box
    across, down = (right - left) / columns, (bottom - top) / rows
    runs: list[list[int]] = []  # row, first column, column behind the last
    for row, column in (divmod(patch, columns) for patch in explanation.left_out.patches):
        if runs and runs[-1][0] == row and runs[-1][2] == column:
            runs[-1][2] += 1
        else:
            runs.append([row, column, column + 1])
    return [
        (round(left + first * across), round(top + row * down), round(left + behind * across), round(top + (row + 1) * down))
        for row, first, behind in runs
    ]
