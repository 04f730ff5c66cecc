"""Features or colours -> edge weights, symmetric and not negative.

`cosine_relu` gives dense weights; `nearest_neighbours`, `threshold` and `colour` give CSR, most of their entries being
zero, and serve library users: no method of this package asks for them. `scipy.sparse.csr_array(weights)` and
`weights.toarray()` turn one into the other; weights add up.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xai.spectral.arrays import Array, Sparse, namespace, sparse_namespace

_ROWS = 1024
"""Rows of a large Gram matrix that are formed at a time."""


def unit_rows(features: Array) -> Array:
    """Rows of `features` (..., n, d) scaled to length 1; a zero row stays zero, one of no finite length becomes NaN."""
    xp = namespace(features)
    squares = xp.einsum("...d,...d->...", features, features, dtype=np.float64)  # float32 would over- and underflow
    norms = xp.sqrt(squares).astype(features.dtype)[..., None]
    return features / xp.where(norms == 0, 1, xp.where(xp.isfinite(norms), norms, np.nan)).astype(features.dtype)


def relu_gram(unit: Array) -> Array:
    """relu(F F^T) of `unit` (..., n, d)."""
    xp = namespace(unit)
    weights = unit @ xp.swapaxes(unit, -1, -2)
    return xp.maximum(weights, 0, out=weights)


def cosine_relu(features: Array) -> Array:
    """The published affinity (docs/methods.md, Fiedler vector): W = relu(F F^T) / max with L2-normalised rows F.

    `features` (..., n, d) -> W (..., n, n), same dtype. A zero row stays zero: an isolated node.
    """
    xp = namespace(features)
    weights = relu_gram(unit_rows(features))
    if not weights.size:
        return weights
    largest = weights.max(axis=(-1, -2), keepdims=True)
    return weights / xp.where(largest == 0, 1, largest)


def threshold(features: Array, at: float) -> Sparse:
    """Cosines of `features` (n, d) that are `at` or more, `at` > 0 -> CSR (n, n)."""
    if at <= 0:
        raise ValueError(f"at must be positive, not {at}: cosine_relu keeps every positive cosine")
    xp, unit = namespace(features), unit_rows(features)
    sparse = sparse_namespace(features)
    parts = []
    for low in range(0, len(unit), _ROWS):
        cosines = unit[low : low + _ROWS] @ unit.T  # (rows, n)
        parts.append(sparse.csr_matrix(xp.where(cosines >= at, cosines, 0)))
    return sparse.vstack(parts).tocsr()


def nearest_neighbours(features: Array, k: int) -> Sparse:
    """Positive cosines of `features` (n, d) between each row and the k rows nearest to it by cosine -> CSR (n, n).

    Symmetric: an edge stays where either end counts the other among its nearest. A row is not its own neighbour.
    """
    xp, unit = namespace(features), unit_rows(features)
    n = len(unit)
    if not 0 < k < n:
        raise ValueError(f"k must lie between 1 and {n - 1}, one less than the rows, not {k}")
    neighbours, weights = [], []
    for low in range(0, n, _ROWS):
        cosines = unit[low : low + _ROWS] @ unit.T  # (rows, n)
        here = xp.arange(len(cosines))
        cosines[here, here + low] = -2
        nearest = xp.argpartition(cosines, n - k, axis=1)[:, n - k :]
        neighbours.append(nearest)
        weights.append(xp.maximum(xp.take_along_axis(cosines, nearest, axis=1), 0))
    parts = (xp.concatenate(weights).ravel(), xp.concatenate(neighbours).ravel(), xp.arange(0, n * k + 1, k))
    directed = sparse_namespace(features).csr_matrix(parts, shape=(n, n))
    directed.eliminate_zeros()
    return directed.maximum(directed.T).tocsr()


def colour(pixels: NDArray[np.float32], neighbours: tuple[int, ...] = (20, 10), distance: tuple[float, ...] = (2.0, 0.1)) -> Sparse:
    """The colour affinity of deep spectral segmentation (Melas-Kyriazi et al. 2022, `knn_affinity`).

    `pixels` (h, w, 3) in [0, 1] -> CSR (h w, h w) on the host. For each pair of a number of neighbours and a weight of
    distance, nodes are joined that are nearest in (colour, weight * position); an entry counts the joins, each made from
    both ends. The paper adds it, times 10, to `cosine_relu` of the features.
    """
    from scipy.spatial import cKDTree  # late: explanations need neither it nor scipy.sparse, which take longer to load than NumPy

    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"pixels must be (h, w, 3), not {pixels.shape}")
    height, width = pixels.shape[:2]
    n = height * width
    y, x = np.meshgrid(np.linspace(0, 1, height), np.linspace(0, 1, width), indexing="ij")
    rows, columns = [], []
    for count, weight in zip(neighbours, distance, strict=True):
        points = np.concatenate([pixels, weight * x[..., None], weight * y[..., None]], axis=2).reshape(n, 5)
        count = min(count, n)
        nearest = cKDTree(points).query(points, k=count)[1].reshape(n, count)
        rows.append(np.repeat(np.arange(n), count))
        columns.append(nearest.ravel())
    i, j = np.concatenate(rows + columns), np.concatenate(columns + rows)
    return sparse_namespace(pixels).csr_matrix((np.ones(len(i), np.float32), (i, j)), shape=(n, n))
