"""How sure a mean over questions is. Questions about one image are not independent: images are resampled, not questions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
FLIPS = 9999
FEWEST = 5
"""Values that an interval of a median needs, at least."""
_Z_BOTH = 1.959964 + 0.841621
"""Standard normal quantiles of 0.975 and of 0.8, the power."""
_BLOCK = 2**24
"""Random numbers held at once."""


def per_image(values: NDArray[np.float64], images: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute sums and counts (images, columns) of the values (questions, columns) that are not NaN."""
    known = ~np.isnan(values)
    sums, counts = (np.zeros((int(images.max()) + 1, values.shape[1])) for _ in range(2))
    np.add.at(sums, images, np.where(known, values, 0))
    np.add.at(counts, images, known)
    return sums, counts


def bootstrap(values: NDArray[np.float64], images: NDArray[np.int64], seed: int = 0) -> NDArray[np.float64]:
    """Compute the 95 % percentile interval (2, columns) of the mean of values (questions, columns); NaN where there is no value.

    Efron & Tibshirani 1993, chapter 13, resampling whole images.
    """
    sums, counts = per_image(values, images)
    rng = np.random.default_rng(seed)
    n = len(sums)
    draws = (rng.multinomial(n, np.full(n, 1 / n), size=k) for k in _blocks(n, RESAMPLES))
    means = np.concatenate([_ratio(weights @ sums, weights @ counts) for weights in draws])
    known: NDArray[np.bool_] = counts.sum(0) > 0
    found = np.full((2, len(known)), np.nan)
    found[:, known] = np.nanquantile(means[:, known], (0.025, 0.975), axis=0)  # a draw may miss all that is known
    return found


def sign_flips(differences: NDArray[np.float64], images: NDArray[np.int64], seed: int = 0) -> NDArray[np.float64]:
    """Compute the two-sided p (columns,) of the hypothesis that paired differences (questions, columns) have no sign.

    A Monte Carlo permutation test that flips the sign of whole images (Good 2005, Permutation, Parametric and Bootstrap
    Tests); the smallest p is 1 / (`FLIPS` + 1).
    """
    sums, _ = per_image(differences, images)
    rng = np.random.default_rng(seed)
    observed = np.abs(sums.sum(0)) * (1 - 1e-9)
    beyond = np.zeros(sums.shape[1])
    for k in _blocks(len(sums), FLIPS):
        signs = rng.integers(0, 2, (k, len(sums)), dtype=np.int8) * 2.0 - 1
        beyond += (np.abs(signs @ sums) >= observed).sum(0)
    return (1 + beyond) / (1 + FLIPS)


def questions_needed(differences: NDArray[np.float64], images: NDArray[np.int64]) -> int | None:
    """Compute how many questions would show paired differences (questions,) to have a sign, with power 0.8 at 0.05 two-sided.

    n (1.960 + 0.842)^2 V / mean^2 for n questions whose mean difference has the variance V, clustered by image: a normal approximation
    with as many questions per image as here (Miller 2024, arXiv 2411.00640, sections 2.2 and 5). None where the mean is 0, or where one
    image says nothing of the variance.
    """
    sums, counts = (array[:, 0] for array in per_image(differences[:, None], images))
    sums, counts = sums[counts > 0], counts[counts > 0]
    n = counts.sum()
    if len(sums) < 2 or not sums.sum():
        return None
    mean = sums.sum() / n
    variance = ((sums - counts * mean) ** 2).sum() / n**2 * len(sums) / (len(sums) - 1)
    return max(1, math.ceil(n * _Z_BOTH**2 * variance / mean**2))


def holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Correct several p (k,) that are looked at together (Holm 1979, Scand. J. Statist. 6)."""
    order = np.argsort(p, kind="stable")
    adjusted = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    found = np.empty_like(p)
    found[order] = np.minimum(adjusted, 1)
    return found


def ratio_of_medians(a: Sequence[float], b: Sequence[float], seed: int = 0) -> tuple[float, float, float, tuple[float, float] | None]:
    """Compute the medians of two samples, median(b) / median(a), and the ratio's 95 % percentile interval by resampling each sample.

    The interval is None under `FEWEST` values, and the ratio infinite or NaN where median(a) is 0. It knows the spread within the two
    samples only, not what changes from one process to the next.
    """
    x, y = np.array(a, np.float64), np.array(b, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = float(np.median(y) / np.median(x))
        interval = None
        if min(len(x), len(y)) >= FEWEST:
            rng = np.random.default_rng(seed)
            low, high = np.nanquantile(_medians(y, rng) / _medians(x, rng), (0.025, 0.975))
            interval = float(low), float(high)
    return float(np.median(x)), float(np.median(y)), ratio, interval


def _medians(values: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Compute the medians of `RESAMPLES` draws with replacement."""
    n = len(values)
    return np.concatenate([np.median(values[rng.integers(0, n, (k, n))], axis=1) for k in _blocks(n, RESAMPLES)])


def _ratio(sums: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)


def _blocks(n: int, total: int) -> Iterator[int]:
    """Sizes that add up to `total`, so that a block of n columns stays small."""
    size = max(1, _BLOCK // n)
    while total > 0:
        yield min(size, total)
        total -= size
