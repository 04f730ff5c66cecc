"""The true Fiedler vector of a graph, and how far from it an answer is."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.linalg
import scipy.sparse
import scipy.sparse.linalg
from numpy.typing import NDArray

from xai.spectral.arrays import is_sparse, namespace, sparse_namespace


def symmetric(weights: Any) -> tuple[Any, Any]:
    """Give (D^-1/2 W D^-1/2, D^-1/2) of a graph in which every node has an edge."""
    xp = namespace(weights)
    inverse = 1 / xp.sqrt(xp.asarray(weights.sum(1)).ravel())
    if is_sparse(weights):
        scale = sparse_namespace(weights).diags(inverse)
        return (scale @ weights @ scale).tocsr(), inverse
    return weights * inverse[:, None] * inverse, inverse


class TrueVector(NamedTuple):
    """D^1/2 and the Fiedler vector y = D^1/2 v of one graph, both (n,), and the gap to the next eigenvalue."""

    root: NDArray[np.float64]
    vector: NDArray[np.float64]
    gap: float

    def sine(self, vector: NDArray[Any]) -> float:
        """Give the sine of the angle between a vector v and the true one."""
        y = self.root * vector
        y /= np.linalg.norm(y)
        return float(np.linalg.norm(y - (y @ self.vector) * self.vector))


def true_vector(weights: Any) -> TrueVector:
    """Solve weights in float64: by LAPACK where that is affordable, else by ARPACK at machine precision."""
    scaled, inverse = symmetric(weights)
    n = scaled.shape[0]
    if n > 4096:
        values, vectors = scipy.sparse.linalg.eigsh(scaled, k=3, which="LA", ncv=80)
    else:
        dense = scaled.toarray() if is_sparse(scaled) else scaled
        values, vectors = scipy.linalg.eigh(dense, subset_by_index=[n - 3, n - 1])
    # In several pieces, the second of the eigenvalues 1 has no vector of its own.
    return TrueVector(1 / inverse, vectors[:, 1], float(values[1] - values[0]) if values[1] < 1 - 1e-9 else 0.0)
