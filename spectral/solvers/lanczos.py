"""Deflated Lanczos on dense affinities: a few products where the spectrum is as it is for images.

A graph is finished when its energy bound and its residual, computed by a product of its own, prove the tolerance. Where the
energy is too large to prove anything, a Cholesky factorisation may; where float32 is too coarse, float64 follows.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xai.spectral.arrays import Array, blocks, namespace, to_host
from xai.spectral.bounds import angle_bound, cholesky_bound, frobenius_bound
from xai.spectral.graphs import FeatureGraphs, Items, WeightGraphs, chunks, take
from xai.spectral.krylov import Checked, Krylov, Operator, Ritz
from xai.spectral.result import DEGENERATE_GAP, Algorithm, Certificate
from xai.spectral.scaling import Scaling, row_sums, scaling, start_vectors
from xai.spectral.solutions import NEAR_ONE, Found, Solutions
from xai.spectral.solvers.eigh import LARGEST

CHECKS = (8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48)
"""Steps after which the CPU looks which graphs are finished: a look costs about two products of n = 576."""

DEVICE_CHECKS = (12, 24, 48)
"""The same on a GPU, where a look makes the host wait and a finished graph costs nothing but its share of the products."""


class DenseOperator:
    """D^-1/2 W D^-1/2 for weights (b, n, n) and D^-1/2 (b, n)."""

    def __init__(self, weights: Any, inverse_root: Array):
        self._xp = namespace(inverse_root)
        self._inverse_root = inverse_root
        if self._xp is np:  # a list: one gemv each, and leaving graphs out copies no matrix
            self._weights: Any = list(weights)
        else:  # scaled once, so that a product is one launch
            self._weights = weights * inverse_root[:, :, None] * inverse_root[:, None]

    def apply(self, x: Array) -> Array:
        """A x, (b, n) -> (b, n)."""
        if self._xp is not np:
            return (self._weights @ x[:, :, None])[:, :, 0]
        y = x * self._inverse_root
        out = np.empty_like(y)
        for weights, source, target in zip(self._weights, y, out, strict=True):
            np.dot(weights, source, out=target)
        out *= self._inverse_root
        return out

    def select(self, index: NDArray[np.int64]) -> DenseOperator:
        """The operators of a part of the batch."""
        part = copy(self)
        part._weights = [self._weights[i] for i in index] if self._xp is np else self._weights[index]
        part._inverse_root = self._inverse_root[index]
        return part


def survey(weights: Array, degrees: Array | None = None) -> tuple[Array, Array]:
    """Degrees (b, n), unless they are known, and ||D^-1/2 W D^-1/2||_F^2 (b,) of weights (b, n, n), where these lie."""
    xp = namespace(weights)
    if xp is not np:
        degrees = weights.sum(2, dtype=np.float64) if degrees is None else degrees
        squares = (degrees > 0) / xp.maximum(degrees, np.finfo(np.float64).tiny)
        rows = ((weights * weights) @ squares.astype(weights.dtype)[:, :, None])[:, :, 0]
        return degrees, (rows * squares).sum(1)
    given, degrees, energy = degrees, np.empty(weights.shape[:2]), np.empty(len(weights))
    for i, graph in enumerate(weights):  # the second pass finds it in the cache
        degrees[i] = row_sums(graph) if given is None else given[i]
        squares = scaling(degrees[i : i + 1]).inverse_root[0] ** 2
        narrow, rows, square = squares.astype(weights.dtype), np.empty(len(squares), weights.dtype), None
        for part in blocks(graph):
            block = graph[part]
            square = np.empty_like(block) if square is None else square[: len(block)]
            rows[part] = np.multiply(block, block, out=square) @ narrow
        energy[i] = rows @ squares
    return degrees, energy


class Problem(NamedTuple):
    """Graphs ready for `iterate`."""

    items: Items
    operator: Operator
    scaling: Scaling
    bound: Callable[[NDArray[np.int64], Ritz], NDArray[np.float64]]
    """Ritz pairs of the graphs of these indices -> U (bounds.py)."""
    weights: Callable[[int], Array]
    """The affinity (n, n) of the graph of one index, to count its pieces."""
    method: Algorithm


class Left(NamedTuple):
    """Graphs of a problem that `iterate` proved nothing of, with their best guess and their last Ritz pairs."""

    which: NDArray[np.int64]
    guess: Checked
    ritz: Ritz


def iterate(problem: Problem, solutions: Solutions, seed: int, dtype: np.dtype) -> Left | None:
    """Run Lanczos on all graphs of a problem at once; record and drop each as soon as it is proven. None where none is left."""
    items, scale = problem.items, problem.scaling
    here = namespace(scale.trivial) is np
    checks = CHECKS if here else DEVICE_CHECKS
    start = start_vectors(scale.degrees > 0, seed, dtype)
    krylov = Krylov(problem.operator, scale.trivial.astype(dtype)[:, None], start, checks[-1])
    index, counted = np.arange(len(items)), np.zeros(len(items), bool)
    for size in checks:
        solutions.products[items[index]] += size - krylov.size
        krylov.extend(size)
        ritz, every = (krylov.ritz(), None) if here else krylov.look()
        bound = problem.bound(index, ritz)
        keep = np.ones(len(index), bool)
        for i in np.flatnonzero((ritz.values[:, 0] > NEAR_ONE) & ~counted[index]):
            graph = int(index[i])
            counted[graph] = True
            keep[i] = not solutions.split(int(items[graph]), problem.weights(graph), scale.degrees[graph])
        expected = angle_bound(ritz.coupling[:, 0], ritz.values[:, 0] - bound, dtype)
        claimed = np.flatnonzero(keep & (expected <= solutions.tolerance))
        if len(claimed):
            checked = krylov.first(ritz, claimed) if every is None else Checked(*(take(part, claimed) for part in every))
            solutions.products[items[index[claimed]]] += 1
            which = index[claimed]
            found = simple(checked, take(scale.inverse_root, which), bound[claimed], dtype)
            keep[claimed] = ~solutions.record(items[which], found, problem.method, Certificate.ENERGY, 8 * dtype.itemsize)
        if not keep.any():
            return None
        if not keep.all():
            index = index[keep]
            krylov.select(np.flatnonzero(keep))
    ritz = krylov.ritz()
    solutions.products[items[index]] += 1
    return Left(index, krylov.first(ritz, np.arange(len(index))), ritz)


def simple(checked: Checked, inverse_root: Array, bound: NDArray[np.float64], dtype: np.dtype) -> Found:
    """Simple eigenpairs from unit vectors of A, with U = `bound` and D^-1/2 (k, n)."""
    xp = namespace(inverse_root)
    y = checked.vector.astype(np.float64)
    y /= xp.sqrt((y * y).sum(1, keepdims=True))
    v = y * inverse_root
    gap = checked.value - bound
    return Found(v, abs(v), checked.value, checked.residual, gap, angle_bound(checked.residual, gap, dtype))


def solve_lanczos(graphs: WeightGraphs | FeatureGraphs, items: Items, solutions: Solutions, seed: int) -> Items:
    """Record the items whose answer could be proven; return the others."""
    for dtype in dict.fromkeys((np.dtype(graphs.dtype), np.dtype(np.float64))):
        left = [items[:0]]
        for chunk in chunks(items, dtype.itemsize * graphs.n**2, graphs.xp):
            weights = graphs.dense(chunk, dtype.type)
            degrees, energy = survey(weights, graphs.known_degrees(chunk, dtype.type))
            host, energy = to_host(degrees, energy)
            todo = np.flatnonzero(solutions.settle(chunk, host))
            if len(todo) < len(chunk):
                chunk, weights, degrees, energy = chunk[todo], weights[todo], degrees[todo], energy[todo]
            if len(chunk):
                left.append(_solve_chunk(weights, scaling(degrees), energy, chunk, solutions, seed))
        items = np.concatenate(left)
    return items


def _solve_chunk(weights: Array, scale: Scaling, energy: NDArray[np.float64], items: Items, solutions: Solutions, seed: int) -> Items:
    dtype = weights.dtype
    operator = DenseOperator(weights, scale.inverse_root.astype(dtype))
    slack = 8 * np.sqrt(weights.shape[1]) * float(np.finfo(dtype).eps)

    def bound(index: NDArray[np.int64], ritz: Ritz) -> NDArray[np.float64]:
        return frobenius_bound(energy[index], ritz, slack)

    left = iterate(Problem(items, operator, scale, bound, lambda i: weights[i], Algorithm.LANCZOS), solutions, seed, dtype)
    if left is None:
        return items[:0]
    upper = bound(left.which, left.ritz)
    estimate = left.guess.value - left.ritz.values[:, 1]
    worth = (estimate > DEGENERATE_GAP) & (angle_bound(left.guess.residual, estimate / 2, dtype) <= solutions.tolerance)
    for i in np.flatnonzero(worth & (weights.shape[1] <= LARGEST)):
        which = left.which[i]
        inverse, trivial = (part[which].astype(dtype) for part in (scale.inverse_root, scale.trivial))
        scaled = weights[which] * inverse
        scaled *= inverse[:, None]
        value = left.guess.value[i]
        upper[i] = min(upper[i], cholesky_bound(scaled, trivial, left.guess.vector[i], value, value - estimate[i] / 2))
    found = simple(left.guess, scale.inverse_root[left.which], upper, dtype)
    proven = solutions.record(items[left.which], found, Algorithm.LANCZOS, Certificate.CHOLESKY, 8 * dtype.itemsize)
    return items[left.which[~proven]]
