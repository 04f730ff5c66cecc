"""What a Fiedler solver returns: an answer that knows whether it is right."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from xai.spectral.arrays import Array


class Status(IntEnum):
    """How one problem of a batch ended."""

    CONVERGED = 0
    """The eigenvalue is simple and the vector belongs to it."""
    DEGENERATE = 1
    """The eigenvalue is multiple: no single vector is right, `map` does not depend on a choice."""
    DISCONNECTED = 2
    """The graph has several pieces, so the eigenvalue is 0; `map` follows from the pieces' volumes alone."""
    TRIVIAL = 3
    """Fewer than two nodes with edges: there is nothing to solve."""
    NONFINITE = 4
    """The input holds NaN or infinity; so does `map`."""


@dataclass(frozen=True)
class FiedlerResult:
    """A batch of B problems (D - W) v = lambda D v, padded to n nodes.

    `vector` (B, n) is scaled to v^T D v = 1, its largest entry positive. `map` (B, n) is |v| where the eigenvalue is
    simple, and else sqrt(sum_j v_ij^2) over a D-orthonormal basis of its eigenspace, which no choice of basis changes;
    it is 0 on padding and on nodes without edges. `eigenvalue` is lambda_2, `gap` its distance to the next different
    eigenvalue, `residual` is ||(D - W) v - lambda D v||_2 in the D^-1 norm; all three are NaN where nothing was solved.
    """

    eigenvalue: NDArray[np.float64]
    vector: Array
    map: Array
    residual: NDArray[np.float64]
    gap: NDArray[np.float64]
    multiplicity: NDArray[np.int64]
    n_components: NDArray[np.int64]
    status: NDArray[np.int64]
