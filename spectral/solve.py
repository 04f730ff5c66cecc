"""A batch of graphs -> their Fiedler vectors."""

from __future__ import annotations

import numpy as np

from xai.spectral.affinity import cosine_relu
from xai.spectral.arrays import Array, namespace
from xai.spectral.dense import solve_dense
from xai.spectral.result import FiedlerResult


def fiedler(weights: Array | None = None, *, features: Array | None = None, mask: Array | None = None) -> FiedlerResult:
    """Solve (D - W) v = lambda D v for the second smallest eigenvalue, for each graph of a batch.

    Give either `weights` (B, n, n), symmetric and not negative, or `features` (B, n, d), whose graph is `cosine_relu`.
    `mask` (B, n) is true where a node is real. An item that cannot be solved says so in `status`; it never fails the batch.

    Raises ValueError where the arguments do not fit together.
    """
    given: Array = weights if features is None else features
    if given is None or (weights is not None and features is not None):
        raise ValueError("give either weights or features")
    if given.ndim != 3 or (features is None and given.shape[1] != given.shape[2]):
        wanted = "weights must be (B, n, n)" if features is None else "features must be (B, n, d)"
        raise ValueError(f"{wanted}, not {given.shape}")
    xp = namespace(given)
    batch, n = given.shape[:2]
    if mask is not None and mask.shape != (batch, n):
        raise ValueError(f"mask must be {(batch, n)}, not {mask.shape}")

    vector, maps = xp.zeros((batch, n)), xp.zeros((batch, n))
    solutions = []
    for i in range(batch):
        nodes = xp.arange(n) if mask is None else xp.flatnonzero(mask[i])
        graph = cosine_relu(given[i][nodes].astype(xp.float64)) if features is not None else given[i][nodes][:, nodes]
        solution = solve_dense(graph)
        vector[i, nodes], maps[i, nodes] = solution.vector, solution.map
        solutions.append(solution)
    return FiedlerResult(
        eigenvalue=np.array([s.eigenvalue for s in solutions]),
        vector=vector,
        map=maps,
        residual=np.array([s.residual for s in solutions]),
        gap=np.array([s.gap for s in solutions]),
        multiplicity=np.array([s.multiplicity for s in solutions]),
        n_components=np.array([s.n_components for s in solutions]),
        status=np.array([s.status for s in solutions]),
    )
