"""A batch of graphs -> their Fiedler vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xai.spectral.arrays import Array, as_array, is_sparse, namespace, sparse_namespace, to_numpy
from xai.spectral.choose import SOLVERS, choose
from xai.spectral.graphs import FeatureGraphs, Graphs, SparseGraphs, WeightGraphs, split_blocks
from xai.spectral.result import Algorithm, FiedlerResult
from xai.spectral.solutions import Solutions

NORMS = ("degree", "2")


def fiedler(
    weights: Any = None,
    *,
    features: Any = None,
    mask: Any = None,
    offsets: Any = None,
    tol: float = 1e-2,
    norm: str = "degree",
    method: Algorithm | None = None,
    seed: int = 0,
) -> FiedlerResult:
    """Solve (D - W) v = lambda D v for the second smallest eigenvalue, for each graph of a batch.

    Give either `weights` or `features`:

    - `weights` (B, n, n), symmetric and not negative;
    - `weights` as CSR: one matrix, a sequence of them, or one block-diagonal matrix with `offsets` (B + 1,), block i
      holding the nodes from offsets[i] to offsets[i + 1]. The result is padded to the largest graph;
    - `features` (B, n, d), whose graph is `affinity.cosine_relu`.

    Arrays may be NumPy's, CuPy's, or anything that hands itself over by DLPack, as torch tensors do. `mask` (B, n) is true
    where a node is real. float64 input is computed in float64; float32 and float16 in float32, and in float64 where that proves
    too coarse (`FiedlerResult.precision`).

    `tol` is the largest `angle_bound` that counts as converged. `norm` scales the vectors: "degree" to v^T D v = 1, "2" to
    length 1. `method` allows one algorithm only; without it they are chosen by `choose.choose`. `seed` draws the starts.

    An item that cannot be solved says so in `status`; it never fails the batch. Raises ValueError where the arguments do not
    fit together, or where weights are negative or not symmetric.
    """
    if norm not in NORMS:
        raise ValueError(f"norm must be one of {', '.join(NORMS)}, not {norm!r}")
    if not 0 < tol < 1:
        raise ValueError(f"tol must lie between 0 and 1, not {tol}")
    with np.errstate(all="ignore"):  # NaN and infinity are a status, not a warning
        graphs, order = _graphs(weights, features, mask, offsets)
        solutions = Solutions(graphs, tol)
        for items, methods in choose(graphs, method):
            for each in methods:
                items = SOLVERS[each](graphs, items, solutions, seed)
    return solutions.result(norm, order)


def _graphs(weights: Any, features: Any, mask: Any, offsets: Any) -> tuple[Graphs, Array | None]:
    """The graphs, real nodes first, and which node was given where (B, n); None where no node had to move."""
    if (weights is None) == (features is None):
        raise ValueError("give either weights or features")
    if offsets is not None and not is_sparse(weights):
        raise ValueError("offsets go with weights as one block-diagonal CSR matrix")
    if is_sparse(weights) or (isinstance(weights, Sequence) and len(weights) and is_sparse(weights[0])):
        if mask is not None:
            raise ValueError("mask goes with arrays: CSR matrices have sizes of their own")
        return _sparse_graphs(weights, offsets), None
    name = "features" if weights is None else "weights"
    given = _floats(as_array(features if weights is None else weights, name))
    if given.ndim != 3 or (features is None and given.shape[1] != given.shape[2]):
        raise ValueError(f"{name} must be {'(B, n, d)' if weights is None else '(B, n, n)'}, not {given.shape}")
    if weights is None and not given.shape[2]:
        raise ValueError(f"features must have at least one column, not {given.shape}")
    size = order = None
    if mask is not None:
        xp = namespace(given)
        mask = to_numpy(as_array(mask, "mask")).astype(bool, copy=False)
        if mask.shape != given.shape[:2]:
            raise ValueError(f"mask must be {given.shape[:2]}, not {mask.shape}")
        size = mask.sum(1)
        if bool((mask[:, 1:] > mask[:, :-1]).any()):
            order = xp.asarray(np.argsort(~mask, axis=1, kind="stable"))
            each = xp.arange(len(given))[:, None]
            given = given[each, order] if weights is None else given[each[:, :, None], order[:, :, None], order[:, None]]
    return (FeatureGraphs if weights is None else WeightGraphs)(given, size), order


def _sparse_graphs(weights: Any, offsets: Any) -> SparseGraphs:
    matrices = [weights] if is_sparse(weights) else list(weights)
    matrices = [_floats(sparse_namespace(matrix).csr_matrix(matrix)) for matrix in matrices]
    if offsets is not None:
        bounds = to_numpy(as_array(offsets, "offsets")).astype(np.int64)
        if bounds[0] != 0 or bounds[-1] != matrices[0].shape[0] or (np.diff(bounds) < 0).any():
            raise ValueError(f"offsets must rise from 0 to {matrices[0].shape[0]}, the number of nodes")
        matrices = split_blocks(matrices[0], bounds)
    return SparseGraphs(matrices)


def _floats(array: Any) -> Any:
    """float32 and float64 as they are, float16 as float32, integers as float64."""
    if array.dtype.kind != "f":
        return array.astype(np.float64)
    return array.astype(np.float32) if array.dtype.itemsize < 4 else array
