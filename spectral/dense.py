"""One dense problem by LAPACK: every eigenvalue of D^-1/2 W D^-1/2 in float64."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.sparse.csgraph import connected_components

from xai.spectral.arrays import Array, namespace, to_numpy
from xai.spectral.result import Status

DEGENERATE_GAP = 1e-5
"""Eigenvalues closer than this count as one: float32 affinities cannot tell them apart."""


class Solution(NamedTuple):
    """One item of a `FiedlerResult`."""

    eigenvalue: float
    vector: Array
    map: Array
    residual: float
    gap: float
    multiplicity: int
    n_components: int
    status: Status


def solve_dense(weights: Array) -> Solution:
    """Solve one graph; `weights` (n, n) symmetric, not negative."""
    xp = namespace(weights)
    weights = weights.astype(xp.float64)
    n = len(weights)
    if not bool(xp.isfinite(weights).all()):
        nothing = xp.full(n, xp.nan)
        return Solution(np.nan, nothing, nothing, np.nan, np.nan, 0, 0, Status.NONFINITE)
    nodes = xp.flatnonzero(weights.sum(1) > 0)  # the rest is isolated: value 0
    if len(nodes) < 2:
        value = xp.zeros(n)
        value[nodes] = 1
        return Solution(np.nan, value, value.copy(), np.nan, np.nan, 0, len(nodes), Status.TRIVIAL)

    graph = weights[nodes][:, nodes]
    degrees = graph.sum(1)
    root = xp.sqrt(degrees)
    eigenvalues, basis = xp.linalg.eigh(xp.eye(len(nodes)) - graph / root[:, None] / root)
    pieces, _ = connected_components(to_numpy(graph) > 0, directed=False)

    second = float(eigenvalues[1]) if pieces == 1 else 0.0
    cluster = xp.flatnonzero(xp.abs(eigenvalues - second) < DEGENERATE_GAP)
    span = basis[:, cluster]
    trivial = root / xp.linalg.norm(root)  # D^1/2 1, the eigenvector of eigenvalue 0
    if pieces > 1:
        span = _without(span, trivial)
    shape = xp.sqrt((span**2).sum(1) / degrees)

    # Of a multiple eigenvalue's vectors, take the one nearest to the node where the map is largest.
    y = span @ span[int(xp.argmax(shape * root))] if span.shape[1] > 1 else span[:, 0]
    y = y / xp.linalg.norm(y)
    y = y * xp.sign(y[xp.argmax(xp.abs(y / root))])
    residual = float(xp.linalg.norm(y - graph @ (y / root) / root - second * y))

    others = eigenvalues[xp.abs(eigenvalues - second) >= DEGENERATE_GAP]
    others = others[others > second]
    gap = float(others.min()) - second if len(others) else np.inf
    status = Status.DISCONNECTED if pieces > 1 else Status.DEGENERATE if span.shape[1] > 1 else Status.CONVERGED
    vector, map_ = xp.zeros(n), xp.zeros(n)
    vector[nodes] = y / root
    map_[nodes] = shape
    return Solution(second, vector, map_, residual, gap, span.shape[1], pieces, status)


def _without(span: Array, direction: Array) -> Array:
    """An orthonormal basis of what is left of `span` (n, m), which holds the unit vector `direction`, without it."""
    xp = namespace(span)
    coordinates = span.T @ direction
    complement = xp.linalg.svd(coordinates[:, None])[0][:, 1:]
    return span @ complement
