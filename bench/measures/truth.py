"""Relevance against the truth: does a map, or a word's part of it, lie where the thing lies that it should speak of?

Pure functions of arrays (docs/methods.md, Truth). The truth is a region (`xai.bench.data.regions`): the share of each patch or box that the
thing covers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xai.bench.data.regions import Region
from xai.bench.measures.pointing import energy_inside, is_hit

SIZES = {"small": 0.02, "medium": 0.1, "large": 1.0}
"""The classes of a region's size, each up to this share (included) of the picture's area and beyond the one before."""


class Truth(NamedTuple):
    """What one map has to do with one region."""

    hit: bool
    """The most relevant place touches the region."""
    mass: float
    """Share of the relevance inside the region, in [0, 1]."""
    rank: float
    """Share of the region that the most relevant places make up, in [0, 1]."""


def judge_map(relevance: NDArray[np.floating], region: Region) -> Truth | None:
    """Hold a map against a region, both (rows, columns) or (N,); None where the region is empty. Relevance below 0 counts as none."""
    if not region.any():
        return None
    positive = np.maximum(relevance, 0)
    return Truth(is_hit(relevance, region), energy_inside(positive, region), relevance_rank(relevance, region))


def judge_words(word_regions: NDArray[np.floating], words: Mapping[int, Region]) -> dict[int, Truth]:
    """Hold what goes with each word of the picture, (words, rows, columns) or (words, N), against the region of the object that it names.

    `words` holds that region by the word's index. A word without a region, or one that the model did not read, is left out.
    """
    judged = {word: judge_map(word_regions[word], region) for word, region in words.items() if word < len(word_regions)}
    return {word: truth for word, truth in judged.items() if truth is not None}


def relevance_rank(relevance: NDArray[np.floating], region: Region) -> float:
    """Compute the share of a region that is found in its own area's worth of the most relevant places, in [0, 1].

    With A = sum(region), places are taken in order of relevance until A of them are, the last one in part; of equals, which no order
    tells apart, each is taken to the same part. What of the region lies in them is divided by the most that any A places hold. Where
    every place is inside or outside as a whole this is the relevance rank accuracy of Arras et al. 2022 (CLEVR-XAI, arXiv 2003.07258).
    """
    most = _gathered(region.ravel(), region.ravel())
    return _gathered(relevance.ravel(), region.ravel()) / most if most > 0 else 0.0


def _gathered(order: NDArray[np.floating], region: Region) -> float:
    """Sum the region (P,) over its area's worth of places, those of the largest `order` (P,) first."""
    _, group, sizes = np.unique(-order, return_inverse=True, return_counts=True)
    inside = np.bincount(group, weights=region)
    before = np.cumsum(sizes) - sizes
    taken = np.clip((region.sum() - before) / sizes, 0, 1)
    return float((taken * inside).sum())


def size_class(share: float) -> str:
    """Name the class in `SIZES` of a region that covers this share of the picture."""
    return next(name for name, most in SIZES.items() if share <= most)
