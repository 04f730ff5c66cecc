"""Every eigenpair of small dense graphs in float64, in batches: of equal size on a CPU, of any on a GPU."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xai.spectral.arrays import Array, namespace, to_host, to_numpy
from xai.spectral.bounds import angle_bound
from xai.spectral.graphs import Graphs, Items, chunks, take
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
        host = to_numpy(degrees)
        left = solutions.settle(chunk, host)
        nodes = (host > 0).sum(1)
        groups = nodes if graphs.xp is np else np.full(len(nodes), nodes.max())
        for group in np.unique(groups[left]):
            bucket = np.flatnonzero(left & (groups == group))
            _solve_bucket(take(weights, bucket), take(degrees, bucket), host[bucket], chunk[bucket], solutions)
    return items[~small]


def _solve_bucket(weights: Array, degrees: Array, host: NDArray[np.float64], items: Items, solutions: Solutions) -> None:
    """Graphs (k, n, n) of degrees (k, n), on the `host` as well, all of whose nodes with edges are taken as far as the largest has some."""
    xp, k = namespace(weights), len(weights)
    sizes = (host > 0).sum(1)
    size = int(sizes.max())
    order = np.argsort(host == 0, axis=1, kind="stable")[:, :size]  # (k, size): those with edges first, in their order
    each, nodes = xp.arange(k), xp.asarray(order)
    if bool((order == np.arange(size)).all()):  # padding lies behind
        graph, degree = weights[:, :size, :size], degrees[:, :size]
    else:
        graph, degree = weights[each[:, None, None], nodes[:, :, None], nodes[:, None, :]], degrees[each[:, None], nodes]
    missing = None if bool((sizes == size).all()) else xp.asarray(np.arange(size) >= sizes[:, None])
    root = xp.sqrt(degree)
    twice = 2 * root / xp.sqrt(degree.sum(1, keepdims=True))
    if missing is not None:
        root += missing
    inverse = 1 / root
    scaled = graph * inverse[:, :, None]
    scaled *= inverse[:, None, :]
    # Move the known eigenvalue 1 of D^1/2 1 to -3: the largest is the Fiedler vector's, also where 1 is multiple.
    moved = scaled - twice[:, :, None] * twice[:, None, :]
    if missing is not None:  # nodes that a smaller graph has not come last
        moved -= (4 * missing)[:, :, None] * xp.eye(size)
    values, vectors = xp.linalg.eigh(moved)
    if missing is not None:
        vectors *= ~missing[:, :, None]
    top = values[:, -1]
    cluster = values >= top[:, None] - DEGENERATE_GAP
    shape = xp.sqrt((vectors**2 @ cluster[:, :, None])[:, :, 0]) / root
    # Of a multiple eigenvalue's vectors, take the one nearest to the node where the map is largest.
    unit = (vectors @ (cluster * vectors[each, shape.argmax(1)])[:, :, None])[:, :, 0]
    unit /= xp.sqrt((unit**2).sum(1, keepdims=True))
    residual = scaled @ unit[:, :, None]
    residual = xp.sqrt(((residual[:, :, 0] - top[:, None] * unit) ** 2).sum(1))
    others = xp.where(cluster, -np.inf, values).max(1)

    v, maps = xp.zeros(degrees.shape), xp.zeros(degrees.shape)
    v[each[:, None], nodes], maps[each[:, None], nodes] = unit / root, shape
    top, others, residual, multiplicity = to_host(top, others, residual, cluster.sum(1))
    gap = np.where(multiplicity == sizes - 1, np.inf, top - others)
    # A cluster's residual is its width, which says nothing about the space that it spans.
    angle = angle_bound(np.where(multiplicity > 1, 0, residual), gap, np.dtype(np.float64))
    whole = np.ones(k, bool)
    for i in np.flatnonzero(top > NEAR_ONE):
        whole[i] = not solutions.split(int(items[i]), weights[i], degrees[i])
    index = np.flatnonzero(whole)
    found = Found(*(take(part, index) for part in (v, maps, top, residual, gap, angle, multiplicity)))
    solutions.record(items[index], found, Algorithm.EIGH, Certificate.SPECTRUM, 64)
