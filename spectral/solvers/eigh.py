"""Every eigenpair of small dense graphs in float64, in batches of equal size."""

from __future__ import annotations

import numpy as np

from xai.spectral.arrays import Array, namespace, to_numpy
from xai.spectral.bounds import angle_bound
from xai.spectral.graphs import Graphs, Items, chunks
from xai.spectral.result import DEGENERATE_GAP, Algorithm, Certificate
from xai.spectral.solutions import NEAR_ONE, Found, Solutions

LARGEST = 4096
"""Above this many nodes, eight n^2 float64 and the time for n^3 are no fallback any more."""


def solve_eigh(graphs: Graphs, items: Items, solutions: Solutions, seed: int) -> Items:
    """Record every item of at most `LARGEST` nodes; return the others. Nothing is random, `seed` is not read."""
    del seed
    small = graphs.size[items] <= LARGEST
    for chunk in chunks(items[small], 8 * graphs.n**2, graphs.xp):
        weights = graphs.dense(chunk, np.float64)  # (k, n, n)
        degrees = weights.sum(2)
        left = solutions.settle(chunk, degrees)
        nodes = to_numpy((degrees > 0).sum(1))
        for size in np.unique(nodes[left]):
            bucket = np.flatnonzero(left & (nodes == size))
            _solve_bucket(weights[bucket], degrees[bucket], int(size), chunk[bucket], solutions)
    return items[~small]


def _solve_bucket(weights: Array, degrees: Array, size: int, items: Items, solutions: Solutions) -> None:
    """Graphs (k, n, n) that have `size` nodes with edges each."""
    xp, k = namespace(weights), len(weights)
    nodes = xp.argsort(degrees == 0, axis=1, kind="stable")[:, :size]  # (k, size), in their order
    each = xp.arange(k)[:, None]
    if bool((nodes == xp.arange(size)).all()):  # padding lies behind
        graph = weights[:, :size, :size]
    else:
        graph = weights[each[:, :, None], nodes[:, :, None], nodes[:, None, :]]
    degree = degrees[each, nodes]
    root = xp.sqrt(degree)
    scaled = graph * (1 / root)[:, :, None]
    scaled *= (1 / root)[:, None, :]
    twice = 2 * root / xp.sqrt(degree.sum(1, keepdims=True))
    # Move the known eigenvalue 1 of D^1/2 1 to -3: the largest is the Fiedler vector's, also where 1 is multiple.
    values, vectors = xp.linalg.eigh(scaled - twice[:, :, None] * twice[:, None, :])
    top = values[:, -1]
    cluster = values >= top[:, None] - DEGENERATE_GAP
    shape = xp.sqrt((vectors**2 @ cluster[:, :, None])[:, :, 0]) / root
    # Of a multiple eigenvalue's vectors, take the one nearest to the node where the map is largest.
    unit = (vectors @ (cluster * vectors[xp.arange(k), shape.argmax(1)])[:, :, None])[:, :, 0]
    unit /= xp.sqrt((unit**2).sum(1, keepdims=True))
    residual = scaled @ unit[:, :, None]
    residual = xp.sqrt(((residual[:, :, 0] - top[:, None] * unit) ** 2).sum(1))
    others = xp.where(cluster, -np.inf, values).max(1)

    v, maps = xp.zeros(degrees.shape), xp.zeros(degrees.shape)
    v[each, nodes], maps[each, nodes] = unit / root, shape
    top, others, residual, multiplicity = (to_numpy(x) for x in (top, others, residual, cluster.sum(1)))
    gap = np.where(multiplicity == size - 1, np.inf, top - others)
    # A cluster's residual is its width, which says nothing about the space that it spans.
    angle = angle_bound(np.where(multiplicity > 1, 0, residual), gap, np.dtype(np.float64))
    whole = np.ones(k, bool)
    for i in np.flatnonzero(top > NEAR_ONE):
        whole[i] = not solutions.split(int(items[i]), weights[i], degrees[i])
    found = Found(v[whole], maps[whole], top[whole], residual[whole], gap[whole], angle[whole], multiplicity[whole])
    solutions.record(items[whole], found, Algorithm.EIGH, Certificate.SPECTRUM, 64)
