"""The pieces of a graph, and the answer that follows from them alone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xai.spectral.arrays import Array, Sparse, is_sparse, to_numpy


class Pieces(NamedTuple):
    """The `number` of pieces, isolated nodes not counted, and the `label` (n,) of each node's, -1 for isolated ones."""

    number: int
    label: NDArray[np.int64]


def pieces(weights: Array | Sparse, degrees: NDArray[np.float64]) -> Pieces:
    """The connected components of one graph (n, n), found on the host."""
    host = to_numpy(weights)
    edges = host > 0  # a sparse one may store zeros
    real = degrees > 0
    if not is_sparse(edges):
        return _flood(edges, real)
    from scipy.sparse.csgraph import connected_components  # late: dense graphs need it not, and it takes longer to load than NumPy

    found = connected_components(edges, directed=False)[1]
    numbers, found = np.unique(found[real], return_inverse=True)
    label = np.full(len(degrees), -1)
    label[real] = found
    return Pieces(len(numbers), label)


def _flood(edges: NDArray[np.bool_], real: NDArray[np.bool_]) -> Pieces:
    """`pieces` of a dense graph, where all that is near is reached in a step or two."""
    label, number = np.where(real, -2, -1), 0
    while (dry := label == -2).any():
        frontier = np.flatnonzero(dry)[:1]
        while len(frontier):
            label[frontier] = number
            frontier = np.flatnonzero(edges[frontier].any(0) & (label == -2))
        number += 1
    return Pieces(number, label)


def span_map(found: Pieces, degrees: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(map, vector) of a graph in several pieces, both (n,), scaled to v^T D v = 1.

    The eigenvectors of eigenvalue 0 are constant on each piece C. Without the constant one, their span has the
    basis-invariant map sqrt(1 / vol(C) - 1 / vol(V)) (docs/methods.md, Fiedler solver). The vector is the projection on
    that span of the indicator of the piece of least volume, the first among equals.
    """
    real = found.label >= 0
    volume = np.bincount(found.label[real], weights=degrees[real])
    inverse, whole = 1 / volume, 1 / volume.sum()
    height = np.sqrt(inverse - whole)
    least = int(np.argmax(height))
    value = np.where(np.arange(found.number) == least, inverse, 0) - whole
    shape, vector = np.zeros(len(degrees)), np.zeros(len(degrees))
    shape[real] = height[found.label[real]]
    vector[real] = value[found.label[real]] / height[least]
    return shape, vector
