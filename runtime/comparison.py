"""How far two methods agree on one input: rank correlation and overlap of the highest scores, of patches and of words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

TOP_PATCHES = 0.1
"""Share of the patches that count as the top regions."""
TOP_WORDS = 3


def compare(names: Sequence[str], images: Sequence[NDArray[np.floating]], words: Sequence[NDArray[np.floating]]) -> dict[str, Any]:
    """Compare every two methods by raw scores, of each method (P,) for patches and (n,) for words.

    Gives `patches` and `words`, the numbers of highest scores whose overlap is taken, and `pairs`, in the order of the methods.
    """
    patches = math.ceil(TOP_PATCHES * images[0].size)
    top = min(TOP_WORDS, words[0].size)
    return {
        "patches": patches,
        "words": top,
        "pairs": [
            {
                "methods": [names[i], names[k]],
                "image": _agreement(images[i], images[k], patches),
                "words": _agreement(words[i], words[k], top),
            }
            for i, k in combinations(range(len(names)), 2)
        ],
    }


def _agreement(one: NDArray[np.floating], other: NDArray[np.floating], top: int) -> dict[str, float | None]:
    return {"spearman": spearman(one, other), "overlap": overlap(one, other, top)}


def spearman(one: NDArray[np.floating], other: NDArray[np.floating]) -> float | None:
    """Compute Spearman's rank correlation of two (n,), equal scores sharing their mean rank; None where all of one are equal."""
    if not len(one):
        return None
    a, b = ranks(one), ranks(other)
    a, b = a - a.mean(), b - b.mean()
    size = math.sqrt(float(a @ a) * float(b @ b))
    return round(float(a @ b) / size, 6) if size else None


def overlap(one: NDArray[np.floating], other: NDArray[np.floating], top: int) -> float | None:
    """Compute the share of the `top` highest of two (n,) that is common to both: 1 for equal scores, about top / n for unrelated ones;
    None where there is nothing to compare.

    Where scores tie for the last places, they share them: each counts as the part of a place that it gets.
    """
    if not top:
        return None
    return round(float(np.minimum(_membership(one, top), _membership(other, top)).sum()) / top, 6)


def ranks(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Compute the ranks (n,) of values (n,), from 1; equal values share the mean of those that they take up."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[which]


def _membership(values: NDArray[np.floating], top: int) -> NDArray[np.float64]:
    """(n,): 1 for what is among the `top` highest, 0 for the rest, the same part of 1 for all that tie at the edge."""
    edge = np.sort(values)[-top]
    above, tied = values > edge, values == edge
    return above + tied * (top - above.sum()) / tied.sum()
