"""Lanczos on F (F^T x): where no cosine is negative, relu(F F^T) = F F^T, and the affinity need not be formed.

Whether that is so takes O(n d) to prove (docs/methods.md, Fiedler solver). F F^T is positive semidefinite, so its trace takes
the place of the Frobenius norm in the energy bound.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from xai.spectral.arrays import Array, namespace, to_numpy
from xai.spectral.bounds import trace_bound
from xai.spectral.graphs import FeatureGraphs, Items, chunks
from xai.spectral.krylov import Ritz
from xai.spectral.result import Algorithm
from xai.spectral.scaling import Scaling, scaling
from xai.spectral.solutions import Solutions
from xai.spectral.solvers.lanczos import Problem, iterate


class GramOperator:
    """D^-1/2 F F^T D^-1/2 for unit rows F (b, n, d) and D^-1/2 (b, n)."""

    def __init__(self, rows: Array, inverse_root: Array):
        self._rows, self._inverse_root = rows, inverse_root

    def apply(self, x: Array) -> Array:
        """A x, (b, n) -> (b, n)."""
        inner = (x * self._inverse_root)[:, None] @ self._rows  # (b, 1, d)
        return (self._rows @ inner.swapaxes(1, 2))[:, :, 0] * self._inverse_root

    def select(self, index: NDArray[np.int64]) -> GramOperator:
        """The operators of a part of the batch."""
        return GramOperator(self._rows[index], self._inverse_root[index])


def has_no_negative_cosine(rows: Array) -> Array:
    """Which of the graphs of unit or zero rows (b, n, d) have no negative cosine for certain, (b,) bool.

    Either no feature is negative, or the two largest angles to the mean direction add up to 90 degrees or less: no two
    rows are further apart than the sum of theirs.
    """
    xp = namespace(rows)
    mean = rows.sum(1)
    length = xp.sqrt((mean * mean).sum(1, keepdims=True))
    cosines = (rows @ (mean / xp.where(length > 0, length, 1))[:, :, None])[:, :, 0]  # (b, n)
    cosines = xp.where(xp.abs(rows).max(2) > 0, cosines, 1)
    angles = xp.sort(xp.arccos(xp.clip(cosines, -1, 1)), axis=1)[:, -2:].sum(1)
    return (angles <= math.pi / 2) | (rows.min((1, 2)) >= 0)


def solve_implicit(graphs: FeatureGraphs, items: Items, solutions: Solutions, seed: int) -> Items:
    """Record the items that pass the cone test and whose answer could be proven; return the others."""
    dtype = np.dtype(graphs.dtype)
    left = [items[:0]]
    for chunk in chunks(items, dtype.itemsize * graphs.n * graphs.dimension, graphs.xp):
        agree = graphs.agree_with_first(chunk)
        left.append(chunk[~agree])
        chunk = chunk[agree]
        if not len(chunk):
            continue
        rows = graphs.rows(chunk, dtype.type)
        allowed = np.flatnonzero(to_numpy(has_no_negative_cosine(rows)))
        left.append(np.delete(chunk, allowed))
        chunk, rows = chunk[allowed], rows[allowed]
        degrees = (rows @ rows.sum(1)[:, :, None])[:, :, 0].astype(np.float64)
        todo = np.flatnonzero(solutions.settle(chunk, degrees))
        if len(todo):
            left.append(_solve_chunk(graphs, rows[todo], scaling(degrees[todo]), chunk[todo], solutions, seed))
    return np.sort(np.concatenate(left))


def _solve_chunk(graphs: FeatureGraphs, rows: Array, scale: Scaling, items: Items, solutions: Solutions, seed: int) -> Items:
    dtype = rows.dtype
    trace = to_numpy((scale.inverse_root**2).sum(1))  # rows have length 1
    slack = 8 * float(np.finfo(dtype).eps)

    def bound(index: NDArray[np.int64], ritz: Ritz) -> NDArray[np.float64]:
        return trace_bound(trace[index], ritz, slack)

    def weights(index: int) -> Array:
        return graphs.dense(items[index : index + 1], dtype.type)[0]

    operator = GramOperator(rows, scale.inverse_root.astype(dtype))
    left = iterate(Problem(items, operator, scale, bound, weights, Algorithm.IMPLICIT), solutions, seed, dtype)
    return items[:0] if left is None else items[left.which]
