"""Deflated Lanczos with thick restarts on sparse affinities, for library users: no method of this package makes sparse graphs.

Sparse graphs have no small energy and no cheap factorisation: what is left beside the Fiedler vector is bounded by
`bounds.filter_bound`, with probability. Where the filter finds another eigenvector instead, the eigenvalue is taken for multiple
and its vectors are collected one by one.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xai.spectral.arrays import Array, Sparse, namespace, sparse_namespace
from xai.spectral.bounds import angle_bound, filter_bound, filter_degree, joined
from xai.spectral.graphs import Items, SparseGraphs, chunks
from xai.spectral.krylov import Checked, Krylov, Ritz, check
from xai.spectral.result import DEGENERATE_GAP, Algorithm, Certificate
from xai.spectral.scaling import Scaling, scaling, start_vectors
from xai.spectral.solutions import NEAR_ONE, Solutions
from xai.spectral.solvers.lanczos import simple

STEPS, KEEP = 32, 8
"""Vectors in a basis, and how many of them a restart keeps."""

CHECKS = (16, 24, STEPS)
"""Sizes of the basis at which to look whether the first Ritz pairs are good enough."""

CYCLES = 60
"""Restarts before giving up."""

MARGIN = 0.25
"""Share of the distance to the next Ritz value that the residual may use up; the filter needs the rest to keep its degree low."""

LOWEST_EDGE = 0.0
"""Of the filter, where all Ritz values beside the answer are lower: most of a sparse graph's eigenvalues lie around 0."""

CAUTION = 8
"""Times its residual, this far above a Ritz value that has not converged is the filter's edge: there may be more up there."""

MAX_DEGREE = 8000
"""Of the filter: more products than `CYCLES` take are not worth an answer."""

MAX_MULTIPLICITY = 8
"""Eigenvectors that are collected one by one before giving up."""


class SparseOperator:
    """D^-1/2 W D^-1/2 for CSR blocks W (each at most n x n), as one block-diagonal matrix, and D^-1/2 (b, n)."""

    def __init__(self, blocks: Sequence[Sparse], inverse_root: Array):
        self.blocks, self._inverse_root = blocks, inverse_root
        n = inverse_root.shape[1]
        self._matrix = blocks[0] if len(blocks) == 1 and blocks[0].shape[0] == n else _block_diagonal(blocks, n)

    def apply(self, x: Array) -> Array:
        """A x, (b, n) -> (b, n)."""
        return (self._matrix @ (x * self._inverse_root).reshape(-1)).reshape(x.shape) * self._inverse_root

    def select(self, index: NDArray[np.int64]) -> SparseOperator:
        """The operators of a part of the batch."""
        if len(index) == len(self.blocks):
            return self
        return SparseOperator([self.blocks[i] for i in index], self._inverse_root[index])


def _block_diagonal(blocks: Sequence[Sparse], n: int) -> Sparse:
    """CSR (b n, b n) of blocks that are filled up to n x n with empty rows."""
    xp = namespace(blocks[0])
    ends = np.cumsum([0, *(block.nnz for block in blocks)])
    pointers = [block.indptr[1:] + int(end) for block, end in zip(blocks, ends, strict=False)]
    filled = [xp.concatenate([p, xp.full(n - len(p), int(end), p.dtype)]) for p, end in zip(pointers, ends[1:], strict=True)]
    data = xp.concatenate([block.data for block in blocks])
    indices = xp.concatenate([block.indices + i * n for i, block in enumerate(blocks)])
    size = n * len(blocks)
    return sparse_namespace(data).csr_matrix((data, indices, xp.concatenate([xp.zeros(1, filled[0].dtype), *filled])), shape=(size, size))


def _cast(matrix: Sparse, dtype: np.dtype) -> Sparse:
    """The CSR matrix in a precision, sharing its indices; `astype` would sort them first."""
    if matrix.dtype == dtype:
        return matrix
    return sparse_namespace(matrix).csr_matrix((matrix.data.astype(dtype), matrix.indices, matrix.indptr), shape=matrix.shape)


def solve_thick_restart(graphs: SparseGraphs, items: Items, solutions: Solutions, seed: int) -> Items:
    """Record the items whose answer could be proven; return the others."""
    for dtype in dict.fromkeys((np.dtype(graphs.dtype), np.dtype(np.float64))):
        # A CPU gains nothing from a batch (docs/methods.md, Fiedler solver): one graph at a time stays in the cache.
        vectors = 0 if graphs.xp is np else 2 * STEPS * graphs.n * dtype.itemsize
        groups = chunks(items, vectors, graphs.xp) if vectors else (items[i : i + 1] for i in range(len(items)))
        items = np.concatenate([items[:0], *(_solve_chunk(graphs, group, solutions, seed, dtype) for group in groups)])
    return items


def _solve_chunk(graphs: SparseGraphs, items: Items, solutions: Solutions, seed: int, dtype: np.dtype) -> Items:
    xp, n = graphs.xp, int(graphs.size[items].max())
    degrees = xp.zeros((len(items), n))
    for i, item in enumerate(items.tolist()):
        matrix = graphs.matrices[item]
        degrees[i, : matrix.shape[0]] = matrix @ xp.ones(matrix.shape[0])
    todo = solutions.settle(items, degrees)
    items, scale = items[todo], scaling(degrees[np.flatnonzero(todo)])
    if not len(items):
        return items
    blocks = [_cast(graphs.matrices[item], dtype) for item in items]
    operator = SparseOperator(blocks, scale.inverse_root.astype(dtype))
    return _solve_batch(Batch(operator, scale, items, solutions, seed, dtype))


class Batch(NamedTuple):
    """Graphs that are solved together."""

    operator: SparseOperator
    scale: Scaling
    items: Items
    solutions: Solutions
    seed: int
    dtype: np.dtype

    def select(self, index: NDArray[np.int64]) -> Batch:
        """A part of the batch."""
        return self._replace(operator=self.operator.select(index), scale=self.scale.select(index), items=self.items[index])


class Beside(NamedTuple):
    """Ritz pairs beside those that are to be proven: `values`, `coupling` (b, m) and `vectors` (b, m, n).

    `floor` (b,) is a guess below which no eigenvalue lies.
    """

    values: NDArray[np.float64]
    coupling: NDArray[np.float64]
    vectors: Array
    floor: NDArray[np.float64]


class Converged(NamedTuple):
    """The first Ritz pair of each graph of a batch, checked, and the first `KEEP` as they came."""

    pair: Checked
    ritz: Ritz
    vectors: Array

    def select(self, index: NDArray[np.int64]) -> Converged:
        """A part of the batch."""
        parts = ([part[index] for part in whole] for whole in (self.pair, self.ritz))
        return Converged(Checked(*next(parts)), Ritz(*next(parts)), self.vectors[index])

    def beside(self, first: int) -> Beside:
        """All pairs but so many."""
        values, coupling = self.ritz.values, self.ritz.coupling
        floor = np.maximum(values[:, -1] - 2 * coupling[:, -1], -1)
        return Beside(values[:, first:KEEP], coupling[:, first:KEEP], self.vectors[:, first:], floor)


def _solve_batch(batch: Batch) -> Items:
    xp = namespace(batch.scale.trivial)
    trivial = batch.scale.trivial.astype(batch.dtype)[:, None]
    run = _converge(batch, trivial, batch.seed)
    whole = np.ones(len(batch.items), bool)
    for i in np.flatnonzero(run.pair.value > NEAR_ONE).tolist():
        block = batch.operator.blocks[i]
        whole[i] = not batch.solutions.split(int(batch.items[i]), block, batch.scale.degrees[i, : block.shape[0]])
    if not whole.any():
        return batch.items[:0]
    if not whole.all():
        index = np.flatnonzero(whole)
        batch, trivial, run = batch.select(index), trivial[index], run.select(index)
    locked = xp.concatenate([trivial, run.pair.vector[:, None]], axis=1)
    bound = _bound(batch, locked, run.beside(1), run.pair.value, run.pair.residual)
    found = simple(run.pair, batch.scale.inverse_root, bound, batch.dtype)
    proven = batch.solutions.record(batch.items, found, Algorithm.THICK_RESTART, Certificate.PROBABILISTIC, 8 * batch.dtype.itemsize)
    several = [_collect(batch.select(i), locked[i], run.select(i).pair) for i in np.argwhere(~proven)]
    return batch.items[~proven][~np.array(several, bool)]


def _converge(batch: Batch, locked: Array, seed: int) -> Converged:
    """Restart until each residual is small against the distance to the next Ritz value, or as small as rounding leaves it."""
    krylov = Krylov(batch.operator, locked, start_vectors(batch.scale.degrees > 0, seed, batch.dtype), STEPS)
    for cycle, size in itertools.product(range(CYCLES), CHECKS):
        batch.solutions.products[batch.items] += size - krylov.size
        krylov.extend(size)
        ritz = krylov.ritz()
        distance = ritz.values[:, 0] - ritz.values[:, 1] - ritz.coupling[:, 1]
        good = angle_bound(ritz.coupling[:, 0], distance * MARGIN, batch.dtype) <= batch.solutions.tolerance
        if (good | (ritz.coupling[:, 0] <= 4 * float(np.finfo(batch.dtype).eps))).all():
            break
        if size == STEPS and cycle < CYCLES - 1:
            krylov.restart(ritz, KEEP)
    batch.solutions.products[batch.items] += 1
    return Converged(krylov.first(ritz, np.arange(len(ritz.values))), ritz, krylov.vectors(ritz.coordinates[:, :, :KEEP]))


def _bound(batch: Batch, locked: Array, beside: Beside, low: NDArray[np.float64], residual: NDArray[np.float64]) -> NDArray[np.float64]:
    """U (b,) beside `locked` (b, k, n), aimed at what proves eigenvalues from `low` on; infinite where there is no hope of it.

    The more of the Ritz vectors beside are taken out of the filter's way, the further its edge lies below the target; but
    they couple to what is left, so that it has to be pushed lower.
    """
    xp, n = namespace(locked), locked.shape[2]
    target = low - angle_bound(residual, np.full(len(low), batch.solutions.tolerance), batch.dtype)
    second = beside.values[:, 0]
    edges = np.maximum(beside.values + CAUTION * beside.coupling, LOWEST_EDGE)  # (b, m): with so many taken out
    joint = np.sqrt(np.cumsum(beside.coupling**2, axis=1))[:, :-1]
    goals = np.column_stack([target, target[:, None] - joint**2 / (target - second)[:, None]])
    degrees = np.where((target > second)[:, None], filter_degree(beside.floor[:, None], edges, goals, n), np.inf)
    hope = np.flatnonzero(degrees.min(1) <= MAX_DEGREE)
    bound = np.full(len(low), np.inf)
    if not len(hope):
        return bound
    cheapest = int(degrees[hope].max(0).argmin())
    scale = batch.scale.select(hope)
    # Another seed than the start's: that chose what is to be proven.
    probe = start_vectors(scale.degrees > 0, (batch.seed, 1), np.dtype(np.float64))
    operator = SparseOperator([_cast(batch.operator.blocks[i], np.dtype(np.float64)) for i in hope.tolist()], scale.inverse_root)
    # A twin of a vector taken out stays behind, above the edge: where that spoils the bound, none is taken out.
    for out, more in ((cheapest, 1), (0, 2)):
        degree = int(min(MAX_DEGREE, more * degrees[hope, out].max()))
        taken = xp.concatenate([scale.trivial[:, None], locked[hope, 1:], beside.vectors[hope, :out]], axis=1)
        taken = xp.ascontiguousarray(xp.linalg.qr(taken.swapaxes(1, 2))[0].swapaxes(1, 2))
        batch.solutions.products[batch.items[hope]] += degree
        rest = filter_bound(operator.apply, taken, probe, beside.floor[hope], edges[hope, out], degree)
        bound[hope] = joined(second[hope], rest, joint[hope, out - 1]) if out else rest
        if (bound[hope] <= target[hope]).all():
            break
    return bound


def _collect(batch: Batch, locked: Array, first: Checked) -> bool:
    """Take one graph's eigenvalue for multiple and find its vectors one by one, each from a start of its own; true if proven."""
    xp = namespace(locked)
    values, residuals = [float(first.value[0])], [float(first.residual[0])]
    while len(values) <= MAX_MULTIPLICITY:
        run = _converge(batch, locked, batch.seed + len(values))
        if abs(run.pair.value[0] - values[0]) > DEGENERATE_GAP:
            break
        values.append(float(run.pair.value[0]))
        residuals.append(float(run.pair.residual[0]))
        locked = xp.concatenate([locked, run.pair.vector[:, None]], axis=1)
    else:
        return False
    low, spread = np.array([min(values)]), np.array([np.linalg.norm(residuals)])
    bound = _bound(batch, locked, run.beside(0), low, spread)
    inverse = batch.scale.inverse_root[0]
    if len(values) == 1:  # nothing beside it: what the run before took for another was not there
        found = simple(first, inverse[None], bound, batch.dtype)
    else:
        basis = xp.linalg.qr(locked[0, 1:].T.astype(np.float64))[0]  # (n, multiplicity)
        shape = xp.sqrt((basis**2).sum(1)) * inverse
        y = basis @ basis[int(shape.argmax())]
        chosen = check(batch.operator, (y / xp.sqrt(y @ y)).astype(batch.dtype)[None])
        found = simple(chosen, inverse[None], bound, batch.dtype)._replace(
            map=shape[None], angle=angle_bound(spread, low - bound, batch.dtype), multiplicity=np.array([len(values)])
        )
    return bool(batch.solutions.record(batch.items, found, Algorithm.THICK_RESTART, Certificate.PROBABILISTIC, 8 * batch.dtype.itemsize)[0])
