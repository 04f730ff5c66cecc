"""Small dense graphs in batches: A is squared until its Fiedler vector alone is left.

A few products of small matrices cost a tenth of what LAPACK takes for all their eigenpairs, and prove as much as they find: the
Frobenius norm of A^N is sum |lambda|^2N, and what the Fiedler vector takes of it no other eigenvalue can have. With N = 1 this
is the energy bound of `bounds.frobenius_bound`; with a large N it is sharp, rounding being watched.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xai.spectral.arrays import BLOCK, Array, namespace, to_numpy
from xai.spectral.bounds import angle_bound, power_bound
from xai.spectral.graphs import Graphs, Items, chunks
from xai.spectral.krylov import Checked
from xai.spectral.result import DEGENERATE_GAP, Algorithm, Certificate
from xai.spectral.scaling import scaling
from xai.spectral.solutions import NEAR_ONE, Solutions
from xai.spectral.solvers.eigh import LARGEST
from xai.spectral.solvers.lanczos import simple

CHECKS = (5, 10)
"""Squarings after which to look which graphs are finished: N = 32 separates eigenvalues 10 % apart, N = 1024 those 1 % apart."""

PADDING = 8
"""Sizes are rounded up to a multiple of this, so that few batches hold graphs of many sizes."""


def solve_squaring(graphs: Graphs, items: Items, solutions: Solutions, seed: int) -> Items:
    """Record the items whose answer could be proven; return the others. Nothing is random, `seed` is not read."""
    del seed
    padded = -(-graphs.size[items] // PADDING) * PADDING
    left = [items[padded > LARGEST]]
    for size in sorted(set(padded[padded <= LARGEST].tolist())):  # NumPy's unique loads its masked arrays
        for chunk in chunks(items[padded == size], 8 * size**2, graphs.xp, BLOCK):
            left.append(_solve_chunk(graphs, chunk, solutions))
    return np.sort(np.concatenate(left))


def _solve_chunk(graphs: Graphs, items: Items, solutions: Solutions) -> Items:
    dtype = np.dtype(graphs.dtype)
    weights = graphs.dense(items, dtype.type).astype(np.float64, copy=False)  # (k, n, n)
    degrees = weights.sum(2)
    todo = np.flatnonzero(solutions.settle(items, degrees))
    if len(todo) < len(items):
        items, weights, degrees = items[todo], weights[todo], degrees[todo]
    if not len(items):
        return items
    scale = scaling(degrees)
    matrix = weights * scale.inverse_root[:, :, None]
    matrix *= scale.inverse_root[:, None, :]
    matrix -= scale.trivial[:, :, None] * scale.trivial[:, None, :]
    power = Power(matrix)
    for squarings in CHECKS:
        power.square_until(squarings)
        solutions.products[items] += 1
        checked, bound = _candidate(matrix, scale.trivial, power)
        keep = np.ones(len(items), bool)
        for i in np.flatnonzero(checked.value > NEAR_ONE):
            keep[i] = not solutions.split(int(items[i]), weights[i], scale.degrees[i])
        gap = checked.value - bound
        claim = keep & (angle_bound(checked.residual, gap, dtype) <= solutions.tolerance) & (gap > DEGENERATE_GAP)
        index = np.flatnonzero(claim)
        if len(index):
            found = simple(Checked(*(part[index] for part in checked)), scale.inverse_root[index], bound[index], dtype)
            solutions.record(items[index], found, Algorithm.SQUARING, Certificate.ENERGY, 8 * dtype.itemsize)
        index = np.flatnonzero(keep & ~claim)
        if not len(index):
            return items[:0]
        if len(index) < len(items):
            items, weights, matrix, scale = items[index], weights[index], matrix[index], scale.select(index)
            power.select(index)
    return items


class Power:
    """exp(`log`) `matrix` = M^(2^`squarings`) for a batch of symmetric M (k, n, n), `matrix` of Frobenius norm 1.

    `error` (k,) bounds the Frobenius norm of what rounding has added to `matrix`. With S the matrix before a squaring and
    f = ||S^2||, it becomes (2 ||S||_2 error + n eps ||S||^2) / f at most, and ||S||_2^2 <= f.
    """

    def __init__(self, matrix: Array):
        self._xp = namespace(matrix)
        self.squarings = 0
        norm = self._norm(matrix)
        self.log = self._xp.log(norm)
        self.matrix = matrix / norm[:, None, None]
        self.error = self._xp.full(len(matrix), np.finfo(np.float64).eps)

    def _norm(self, matrix: Array) -> Array:
        return self._xp.sqrt(self._xp.einsum("kij,kij->k", matrix, matrix))

    def square_until(self, squarings: int) -> None:
        """Square until there have been so many. Never waits for the device."""
        xp, rounding = self._xp, self.matrix.shape[1] * np.finfo(np.float64).eps
        for _ in range(squarings - self.squarings):
            self.matrix = self.matrix @ self.matrix
            norm = self._norm(self.matrix)
            self.matrix /= norm[:, None, None]
            self.error = (2 * xp.sqrt(norm) * self.error + rounding) / norm
            self.log = 2 * self.log + xp.log(norm)
        self.squarings = squarings

    def select(self, index: NDArray[np.int64]) -> None:
        """Go on with a part of the batch."""
        self.matrix, self.log, self.error = self.matrix[index], self.log[index], self.error[index]


def _candidate(matrix: Array, trivial: Array, power: Power) -> tuple[Checked, NDArray[np.float64]]:
    """The dominant eigenvector of M = `matrix` (k, n, n), checked, and a bound on all other eigenvalues (k,)."""
    xp = namespace(matrix)
    x = xp.take_along_axis(power.matrix, xp.einsum("kii->ki", power.matrix).argmax(1)[:, None, None], 1)  # (k, 1, n)
    for _ in range(3):  # M^4N: the vector is to be better than what M^N proves of it
        x = x @ power.matrix
    x = x[:, 0]
    x -= trivial * (trivial * x).sum(1, keepdims=True)
    x /= xp.sqrt((x * x).sum(1, keepdims=True))
    product = (x[:, None] @ matrix)[:, 0]
    value = (x * product).sum(1)
    product -= value[:, None] * x
    residual = xp.sqrt((product * product).sum(1))
    share = (x * (x[:, None] @ power.matrix)[:, 0]).sum(1)
    value, residual, share, error, log = (to_numpy(part) for part in (value, residual, share, power.error, power.log))
    return Checked(x, value, residual), power_bound(share, error, log, 2**power.squarings)
