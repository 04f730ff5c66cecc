"""A batch of graphs, whatever it was given as."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xai.spectral.affinity import relu_gram, unit_rows
from xai.spectral.arrays import BLOCK, Array, Sparse, blocks, namespace, sparse_namespace, to_numpy, working_set
from xai.spectral.scaling import power_of_two

Items = NDArray[np.int64]
"""Positions in a batch, ascending, on the host."""


_FEW = 1_000_000
"""Products of a matrix multiplication up to which OpenBLAS has kernels for small ones."""


def take(array: Array, items: Items) -> Array:
    """`array[items]`, a view where the items lie side by side."""
    if len(items) and items[-1] - items[0] + 1 == len(items):
        return array[int(items[0]) : int(items[-1]) + 1]
    return array[items]


def chunks(items: Items, bytes_each: int, xp: ModuleType, cache: int | None = None) -> Iterator[Items]:
    """The items in groups that fit into the working set, or on the CPU into `cache` bytes; one item at least."""
    size = max(1, (cache if cache and xp is np else working_set(xp)) // max(1, bytes_each))
    for start in range(0, len(items), size):
        yield items[start : start + size]


class WeightGraphs:
    """Graphs given as affinities (B, n, n). Raises ValueError where they are negative or not symmetric.

    `size` (B,) on the host says how many nodes of each are real; the others lie behind them and may hold anything, NaN included.
    """

    def __init__(self, weights: Array, size: NDArray[np.int64] | None):
        xp = namespace(weights)
        self.xp = xp
        self.batch, self.n = weights.shape[:2]
        self.dtype = weights.dtype
        if size is None:
            self.size = np.full(self.batch, self.n)
        else:
            self.size, real = size, real_nodes(xp, size, self.n)
            weights = xp.where(real[:, :, None] & real[:, None, :], weights, weights.dtype.type(0))
        self._weights = weights
        self._sums = _checked_sums(weights) if weights.size else weights[:, 0]

    def dense(self, items: Items, dtype: type) -> Array:
        """The affinities (len(items), m, m) of some items, m nodes the largest among them."""
        n = _largest(self.size, items)
        return take(self._weights, items)[:, :n, :n].astype(dtype, copy=False)

    def known_degrees(self, items: Items, dtype: type) -> Array | None:
        """Degrees (len(items), m) in float64 as far as a sum in that precision gives them."""
        return take(self._sums, items)[:, : _largest(self.size, items)] if self.dtype == dtype else None


class FeatureGraphs:
    """Graphs of features (B, n, d) by `affinity.cosine_relu`, whose division by the maximum changes no eigenvector.

    `size` is `WeightGraphs`'.
    """

    def __init__(self, features: Array, size: NDArray[np.int64] | None):
        self._features = features
        self.xp = namespace(features)
        self.batch, self.n, self.dimension = features.shape
        self.dtype = features.dtype
        self.size = np.full(self.batch, self.n) if size is None else size

    def _take(self, items: Items, dtype: type) -> Array:
        return take(self._features, items)[:, : _largest(self.size, items)].astype(dtype, copy=False)

    def agree_with_first(self, items: Items) -> NDArray[np.bool_]:
        """Of which items (len(items),) no row has a negative product with the first row: a look, not a proof, at O(n d)."""
        features = self._take(items, self.dtype)
        products = features @ features[:, 0, :, None]
        agree: NDArray[np.bool_] = to_numpy((products < 0).sum((1, 2)) == 0)
        return agree

    def rows(self, items: Items, dtype: type) -> Array:
        """Unit rows (len(items), m, d), m nodes the largest among them; padding is zero."""
        unit = unit_rows(self._take(items, dtype))
        real = self._real(items)
        return unit if real is None else self.xp.where(real[:, :, None], unit, unit.dtype.type(0))

    def _real(self, items: Items) -> Array | None:
        """Which rows (len(items), m) are real; None where all are."""
        size, n = self.size[items], _largest(self.size, items)
        return None if bool((size == n).all()) else real_nodes(self.xp, size, n)

    def known_degrees(self, items: Items, dtype: type) -> None:
        """None: they have to be summed."""

    def dense(self, items: Items, dtype: type) -> Array:
        """The affinities (len(items), m, m) of some items, m nodes the largest among them."""
        n = _largest(self.size, items)
        if self.xp is np:
            weights: Array = np.empty((len(items), n, n), dtype)
            done = 0
            for part in chunks(items, weights.itemsize * n**2, np, BLOCK):
                self._fill(weights[done : done + len(part)], part)
                done += len(part)
            return weights
        parts = chunks(items, n * self.dimension * np.dtype(dtype).itemsize, self.xp)
        found = [relu_gram(unit_rows(self._take(part, dtype))) for part in parts]
        weights = found[0] if len(found) == 1 else self.xp.concatenate(found)
        real = self._real(items)
        if real is None:
            return weights
        return self.xp.where(real[:, :, None] & real[:, None, :], weights, weights.dtype.type(0))

    def _fill(self, weights: NDArray[Any], items: Items) -> None:
        """`dense` on the CPU, into `weights` (k, n, n): no product is spent on padding, and the products are scaled, not the rows."""
        sizes = self.size[items].tolist()
        for out, item, size in zip(weights, items.tolist(), sizes, strict=True):
            rows = self._features[item, :size].astype(out.dtype, copy=False)
            # OpenBLAS multiplies few rows by another matrix twice as fast as by themselves.
            out[:size, :size] = rows @ (rows.copy() if size * rows.size <= _FEW else rows).T
            out[size:] = 0
            out[:size, size:] = 0
        squares, limits = np.einsum("kii->ki", weights), np.finfo(weights.dtype)
        real = real_nodes(np, self.size[items], weights.shape[1])
        safe = ~real | (squares > limits.tiny / limits.eps) & (squares < limits.max / 2)  # false for NaN
        inverse = np.where(real, 1 / np.sqrt(squares), 0).astype(weights.dtype)
        weights *= inverse[:, :, None]
        weights *= inverse[:, None]
        np.maximum(weights, 0, out=weights)
        for i in np.flatnonzero(~safe.all(1)).tolist():
            rows = self._features[items[i], : sizes[i]].astype(weights.dtype, copy=False)
            weights[i, : sizes[i], : sizes[i]] = relu_gram(unit_rows(rows))


class SparseGraphs:
    """Graphs given as CSR matrices of any sizes, at least one; n is the largest. For library users: no method makes one.

    Raises ValueError as `WeightGraphs` does.
    """

    def __init__(self, matrices: Sequence[Sparse]):
        for matrix in matrices:
            if matrix.shape[0] != matrix.shape[1]:
                raise ValueError(f"weights must be square, not {matrix.shape}")
            if matrix.nnz:
                ones = namespace(matrix).ones(matrix.shape[0], matrix.dtype)
                _check(matrix.data.min(), (matrix @ ones)[None], (matrix.T @ ones)[None])
        self.xp = namespace(matrices[0])
        self.matrices = matrices
        self.size = np.array([matrix.shape[0] for matrix in matrices])
        self.batch, self.n = len(matrices), int(self.size.max(initial=0))
        self.dtype = matrices[0].dtype

    def dense(self, items: Items, dtype: type) -> Array:
        """The affinities (len(items), n, n) of some items, n the largest among them."""
        n = _largest(self.size, items)
        weights = self.xp.zeros((len(items), n, n), dtype)
        for i, item in enumerate(items):
            weights[i, : self.size[item], : self.size[item]] = self.matrices[item].toarray()
        return weights


Graphs = WeightGraphs | FeatureGraphs | SparseGraphs


def split_blocks(matrix: Sparse, offsets: NDArray[np.int64]) -> list[Sparse]:
    """The diagonal blocks of a CSR matrix; block i holds the nodes from offsets[i] to offsets[i + 1].

    Raises ValueError where the matrix has an entry beside them.
    """
    csr = sparse_namespace(matrix).csr_matrix
    found = []
    for low, high in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        start, stop = int(matrix.indptr[low]), int(matrix.indptr[high])
        columns = matrix.indices[start:stop] - low
        if bool(((columns < 0) | (columns >= high - low)).any()):
            raise ValueError("weights must have no entry outside the blocks that offsets name")
        parts = (matrix.data[start:stop], columns, matrix.indptr[low : high + 1] - start)
        found.append(csr(parts, shape=(high - low, high - low)))
    return found


def real_nodes(xp: ModuleType, size: NDArray[np.int64], n: int) -> Array:
    """Which nodes (B, n) are real, where the first `size` (B,) of each graph are."""
    return xp.arange(n) < xp.asarray(size)[:, None]


def _largest(size: NDArray[np.int64], items: Items) -> int:
    return int(size[items].max(initial=0))


def _checked_sums(weights: Array) -> Array:
    """Row sums (B, n) in float64 of weights (B, n, n), checked, in one pass through memory."""
    xp, n = namespace(weights), weights.shape[1]
    share = xp.full(n, power_of_two(n), weights.dtype)
    sums = xp.empty(weights.shape[:2])
    for items in chunks(np.arange(len(weights)), weights.nbytes // len(weights), xp, BLOCK):
        group = take(weights, items)  # (k, n, n): several small graphs or one large
        rows, columns, least = xp.empty(group.shape[:2], group.dtype), 0, 0
        for part in blocks(group[0]):
            block = group[:, part]
            rows[:, part] = block @ share
            columns = columns + share[: block.shape[1]] @ block
            least = xp.minimum(least, block.min())
        _check(least, rows, columns)
        sums[items] = rows
    return sums / power_of_two(n)


def _check(least: Any, rows: Array, columns: Array) -> None:
    """Raise ValueError where weights (k, n, n) are negative, or not symmetric by their row and column sums (k, n)."""
    if float(least) < 0:
        raise ValueError("weights must not be negative")
    if bool((abs(rows - columns) > 1e-3 * rows.max(1)[:, None]).any()):
        raise ValueError("weights must be symmetric")
