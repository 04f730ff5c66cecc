"""How alike two maps of relevance are, and how complex one is. Float64 throughout."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from xai.runtime.comparison import spearman

BINS = 100
"""Of the histogram whose entropy is taken (Hedström et al. 2024, arXiv 2401.06465)."""

SIGMA = 1.5
"""Of the Gaussian window of SSIM, in patches, cut off at 11 patches (Wang et al. 2004, IEEE Trans. Image Process. 13)."""

STABLE = (0.01**2, 0.03**2)
"""SSIM's two constants, for maps in [0, 1]."""

Map = NDArray[np.floating]


def rank_correlation(a: Map, b: Map) -> float:
    """Compute Spearman's rank correlation of two maps of one shape, equal values sharing their mean rank.

    A map of one value orders nothing: it correlates with no other, 0, but with another such, 1. NaN where there are fewer than two values.
    """
    if a.size < 2:
        return float("nan")
    found = spearman(a.ravel(), b.ravel())
    return float(np.ptp(a) == 0 == np.ptp(b)) if found is None else found


def ssim(a: Map, b: Map) -> float:
    """Compute the mean structural similarity of two maps (rows, columns), each scaled to [0, 1] first (Wang et al. 2004).

    A map of one value becomes 0. Beyond its edges a map is mirrored.
    """
    x, y = unit(a), unit(b)

    def local(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return gaussian_filter(values, SIGMA, truncate=5 / SIGMA)

    mean_x, mean_y = local(x), local(y)
    variance_x, variance_y = local(x * x) - mean_x**2, local(y * y) - mean_y**2
    covariance = local(x * y) - mean_x * mean_y
    light, contrast = STABLE
    above = (2 * mean_x * mean_y + light) * (2 * covariance + contrast)
    return float((above / ((mean_x**2 + mean_y**2 + light) * (variance_x + variance_y + contrast))).mean())


def entropy(values: Map) -> float:
    """Compute the entropy, in nats, of the histogram of a map's values in `BINS` bins between its least and its largest value."""
    counts, _ = np.histogram(unit(values), BINS, (0, 1))
    shares = counts[counts > 0] / values.size
    return float(-(shares * np.log(shares)).sum()) + 0.0


def entropy_rise(original: Map, redrawn: Map) -> float:
    """Compute by what part a map became more complex: (H(redrawn) - H(original)) / H(original); NaN where the original is of one value."""
    before = entropy(original)
    return (entropy(redrawn) - before) / before if before > 0 else float("nan")


def unit(values: Map) -> NDArray[np.float64]:
    """Scale a map linearly so that it spans [0, 1]; one of a single value becomes 0."""
    shifted: NDArray[np.float64] = values.astype(np.float64) - float(values.min())
    largest = float(shifted.max())
    return shifted / largest if largest > 0 else shifted
