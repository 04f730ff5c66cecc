"""What a Fiedler solver returns: an answer that knows whether it is right."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Self

import numpy as np
from numpy.typing import NDArray

from xai.spectral.arrays import Array

DEGENERATE_GAP = 1e-5
"""Eigenvalues no further apart than this count as one: float32 affinities cannot tell them apart."""


class Status(IntEnum):
    """How one problem of a batch ended. `sentence` tells a person what to know before trusting the map, in terms of its `components`
    and `multiplicity`; it is empty where there is nothing to know."""

    sentence: str

    def __new__(cls, value: int, sentence: str = "") -> Self:
        status = int.__new__(cls, value)
        status._value_ = value
        status.sentence = sentence
        return status

    CONVERGED = 0
    """The eigenvalue is simple, and the certificate bounds the vector's angle to the true one by the tolerance asked for."""
    DEGENERATE = 1, "its second eigenvalue is {multiplicity}-fold: the map is the one that no choice of vector changes"
    """The eigenvalue is multiple: no single vector is right, `map` does not depend on a choice."""
    DISCONNECTED = 2, "its graph falls into {components} pieces: the map shows their sizes, not a cut within one"
    """The graph has several pieces, so the eigenvalue is 0; `map` follows from the pieces' volumes alone."""
    TRIVIAL = 3, "its graph has fewer than two nodes with edges: there is nothing to cut"
    """Fewer than two nodes with edges: there is nothing to solve."""
    NONFINITE = 4, "its features hold NaN or infinity: there is no map"
    """The input holds NaN or infinity; so does `map`."""
    NOT_CONVERGED = 5, "no solver could prove its answer: do not trust the map"
    """Every algorithm that was allowed has been tried. `vector` and `map` hold the best guess, or NaN where there is none."""


class Algorithm(IntEnum):
    """Which algorithm gave an answer."""

    NONE = 0
    """None was needed, or none succeeded."""
    EIGH = 1
    """All eigenpairs, by LAPACK or cuSOLVER, in batches of equal size."""
    LANCZOS = 2
    """Deflated Lanczos on a dense affinity."""
    IMPLICIT = 3
    """Deflated Lanczos on F (F^T x), the affinity never formed."""
    THICK_RESTART = 4
    """Deflated, restarted Lanczos on a sparse affinity."""
    SQUARING = 5
    """Powers of a small matrix, in batches."""


class Certificate(IntEnum):
    """Why an answer is known to be the right eigenvector. All are proven up to rounding, for which `angle_bound` allows."""

    NONE = 0
    COMPONENTS = 1
    """The pieces of the graph were counted; the answer is a formula in their volumes."""
    SPECTRUM = 2
    """Every eigenvalue was computed."""
    ENERGY = 3
    """||A||_F (or that of a power of A, or A's trace where it is known to be semidefinite) leaves no room for another eigenvalue
    near this one."""
    CHOLESKY = 4
    """A factorisation shows that what is left without this eigenvector lies below it."""
    PROBABILISTIC = 5
    """A polynomial filter on random vectors shows the same, wrong with probability 1e-6 at most (over the seed)."""


@dataclass(frozen=True)
class FiedlerResult:
    """A batch of B problems (D - W) v = lambda D v, padded to n nodes. Arrays are float64, or int64 where they count or name.

    `vector` (B, n) is scaled to v^T D v = 1 (`norm="degree"`) or ||v||_2 = 1 (`"2"`), its largest entry positive. `map`
    (B, n) is |v| where the eigenvalue is simple, and else sqrt(sum_j v_ij^2) over a D-orthonormal basis of its eigenspace,
    which no choice of basis changes; it is 0 on padding and on nodes without edges. These two lie where the input lies;
    the rest is (B,) on the host, NaN where nothing was solved:

    `eigenvalue` is lambda_2; `residual` is ||(D - W) v - lambda D v|| in the D^-1 norm for v^T D v = 1; `gap` is a lower
    bound on the distance to the next different eigenvalue (infinite where there is none, NaN where a formula needs none);
    `angle_bound` bounds the sine of the angle, in the D norm, between the vector and the true eigenspace (Davis-Kahan:
    residual and rounding / gap). `multiplicity` counts lambda_2's eigenvectors that are orthogonal to the constant one,
    `n_components` the pieces of the graph without its isolated nodes. `status`, `method` and `certificate` hold
    the values of those enumerations, `precision` the bits of the arithmetic that gave the answer, `products` the
    products with the affinity that were spent.
    """

    eigenvalue: NDArray[np.float64]
    vector: Array
    map: Array
    residual: NDArray[np.float64]
    gap: NDArray[np.float64]
    angle_bound: NDArray[np.float64]
    multiplicity: NDArray[np.int64]
    n_components: NDArray[np.int64]
    status: NDArray[np.int64]
    method: NDArray[np.int64]
    certificate: NDArray[np.int64]
    precision: NDArray[np.int64]
    products: NDArray[np.int64]

    def part(self, items: slice) -> FiedlerResult:
        """Some problems of the batch, side by side."""
        return FiedlerResult(*(getattr(self, each.name)[items] for each in fields(self)))
