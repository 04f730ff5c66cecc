"""What pictures, pages and the terminal share: colours, scaling, wording. Scores are scaled here only."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xai.runtime.explanation import Explanation

_MAP = matplotlib.colormaps["inferno"]
_OPACITY = 0.3, 0.72
"""Of the overlay where relevance is lowest and highest: the picture stays visible beneath."""
FADED = 0.65
"""How much of the picture's own colour goes beneath an overlay, lest red things look relevant."""
_LONGEST = 2.0
"""An overlay shows at most this many crop sides of the picture's length: a thin panorama would leave no room for the crop."""


def scaled(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Min-max to [0, 1], same shape. A map that is constant (up to float32 rounding) or not finite becomes zero."""
    values = np.asarray(values, dtype=np.float64)
    low, high = values.min(), values.max()
    span = high - low
    if not 1e-6 * max(abs(low), abs(high)) < span < np.inf:
        return np.zeros_like(values)
    return (values - low) / span


def colours(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Scaled values, an array of any shape (...) but () -> RGB (..., 3)."""
    rgb: NDArray[np.uint8] = _MAP(values, bytes=True)[..., :3]
    return rgb


def ink(rgb: NDArray[np.uint8]) -> str:
    """`#000000` or `#ffffff`, whichever is easier to read on `rgb` (WCAG contrast)."""
    linear = ((rgb / 255 + 0.055) / 1.055) ** 2.4
    return "#000000" if linear @ (0.2126, 0.7152, 0.0722) > 0.179 else "#ffffff"


def heat(relevance: NDArray[np.floating], side: int) -> Image.Image:
    """Raw scores (grid, grid) -> the RGBA overlay, `side` pixels square, to be laid on the crop."""
    smooth = Image.fromarray(scaled(relevance).astype(np.float32)).resize((side, side), Image.Resampling.BICUBIC)
    values = np.clip(np.asarray(smooth), 0, 1)  # bicubic overshoots
    low, high = _OPACITY
    alpha = np.round(255 * (low + (high - low) * values)).astype(np.uint8)
    return Image.fromarray(np.dstack([colours(values), alpha]))


def scale_notes(explanation: Explanation) -> list[str]:
    """What is to be said of maps whose colours mean nothing."""
    notes = []
    if not scaled(explanation.image_relevance).any():
        notes.append("image: constant, every patch scores the same")
    if len(explanation.question.words) == 1:
        notes.append("words: there is only one, its colour means nothing")
    elif not scaled(explanation.word_relevance).any():
        notes.append("words: constant, every word scores the same")
    return notes


def outside(size: tuple[int, int], box: tuple[int, int, int, int]) -> list[tuple[int, int, int, int]]:
    """The parts of the picture outside the crop that are not empty."""
    (width, height), (left, top, right, bottom) = size, box
    sides = [(0, 0, left, height), (right, 0, width, height), (left, 0, right, top), (left, bottom, right, height)]
    return [s for s in sides if s[2] > s[0] and s[3] > s[1]]


def window(size: tuple[int, int], box: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """The part of the picture around the crop that an overlay shows: all, unless it is very long and thin."""
    reach = round((_LONGEST - 1) / 2 * (box[2] - box[0]))
    return max(0, box[0] - reach), max(0, box[1] - reach), min(size[0], box[2] + reach), min(size[1], box[3] + reach)


def bar_labels(explanation: Explanation) -> list[tuple[float, str]]:
    """Raw scores to write along a colour bar of the image, with their places from 0 to 1; only one where all are equal."""
    low, high = float(explanation.image_relevance.min()), float(explanation.image_relevance.max())
    if not scaled(explanation.image_relevance).any():
        return [(0, f"{low:.3g}")]
    return list(zip((0, 0.5, 1), distinct([low, low + (high - low) / 2, high]), strict=True))


def word_range(explanation: Explanation) -> str:
    """The words' raw scores in a sentence."""
    low, high = float(explanation.word_relevance.min()), float(explanation.word_relevance.max())
    if not scaled(explanation.word_relevance).any():
        return f"Raw score of the words: {low:.3g}."
    return f"Raw scores of the words: {' to '.join(distinct([low, high]))}. Dark is the lowest, bright the highest."


def distinct(values: Sequence[float]) -> list[str]:
    """The fewest digits, three at least, that tell the values apart."""
    for digits in range(3, 17):
        labels = [f"{value:.{digits}g}" for value in values]
        if len(set(labels)) == len(values):
            break
    return labels


def cut_away(explanation: Explanation) -> str:
    """What the hatching means; empty where the model saw all of the picture."""
    size, box = explanation.picture.size, explanation.crop.box
    if not outside(size, box):
        return ""
    rest = "" if window(size, box) == (0, 0, *size) else " The map leaves its far ends out."
    return "Hatched: cut away, the model did not see it." + rest
