"""Degrees, and what follows from them: D^-1/2 and the known eigenvector D^1/2 1."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xai.spectral.arrays import Array, namespace


class Scaling(NamedTuple):
    """For a batch of graphs, all (b, n) float64 and zero on nodes without edges: degrees, D^-1/2, and D^1/2 1 at length 1."""

    degrees: Array
    inverse_root: Array
    trivial: Array

    def select(self, index: Array) -> Scaling:
        """The scaling of a part of the batch."""
        return Scaling(*(part[index] for part in self))


def scaling(degrees: Array) -> Scaling:
    """Scaling for degrees (b, n)."""
    xp = namespace(degrees)
    root = xp.sqrt(degrees)
    whole = xp.sqrt(degrees.sum(1, keepdims=True))
    joined = root > 0
    inverse = xp.where(joined, 1 / xp.where(joined, root, 1), 0)
    return Scaling(degrees, inverse, root / xp.where(whole > 0, whole, 1))


def row_sums(weights: Array) -> Array:
    """Degrees (b, n) in float64 of weights (b, n, n), by one product in the weights' precision."""
    n = weights.shape[-1]
    return (weights @ namespace(weights).full(n, power_of_two(n), weights.dtype)).astype(np.float64) / power_of_two(n)


def power_of_two(n: int) -> float:
    """One part in n, or a little less: a factor that is exact, and by which n summands do not overflow."""
    return 2.0 ** -math.ceil(math.log2(n))


def start_vectors(nodes: Array, seed: int | tuple[int, ...], dtype: np.dtype) -> Array:
    """Random starts (b, n) on the `nodes` (b, n) of each graph, drawn on the host.

    Each graph's start depends on the seed and on its own number and order of nodes, not on the batch or on padding.
    """
    xp = namespace(nodes)
    noise = xp.asarray(_noise(nodes.shape[1], seed), dtype)
    return noise[xp.cumsum(nodes, axis=1) - 1] * nodes


@lru_cache(maxsize=64)
def _noise(n: int, seed: int | tuple[int, ...]) -> NDArray[np.float64]:
    return np.random.default_rng(seed).standard_normal(n)
