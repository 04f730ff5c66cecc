"""Proofs that nothing lies close to an eigenvalue: upper bounds on all of A's eigenvalues but 1 and the Fiedler vector's.

With such a bound U, a unit vector x of Rayleigh quotient theta > U and residual r is at most asin(||r|| / (theta - U)) away
from the eigenvector (Davis and Kahan 1970). A small residual alone proves nothing: x may be another eigenvector, or
one of several (docs/methods.md, Fiedler solver). Whether an answer is proven is decided in one place, `solutions.Solutions.record`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from xai.spectral.arrays import Array, namespace, to_numpy
from xai.spectral.krylov import Ritz

FAILURE = 1e-6
"""Probability, over the seed, that a bound of `filter_bound` is wrong."""


def angle_bound(residual: NDArray[np.float64], gap: NDArray[np.float64], dtype: np.dtype) -> NDArray[np.float64]:
    """Bound on the sine of the angle to the eigenvector, for `gap` = theta - U; infinite where that is not positive.

    To the residual comes what it misses in this precision: the matrix, its degrees and its products are off in the last place
    (measured: less than one unit in the norm, n up to 576).
    """
    missed = 4 * float(np.finfo(dtype).eps)
    sine: NDArray[np.float64] = np.where(gap > 0, (residual + missed) / np.where(gap > 0, gap, 1), np.inf)
    return sine


def frobenius_bound(total: NDArray[np.float64], ritz: Ritz, slack: float) -> NDArray[np.float64]:
    """U (b,) from total = ||A||_F^2 (b,): what the Ritz pairs take of it, no unseen eigenvalue can have.

    `slack`, relative to the total, is what rounding may have taken from it.
    """
    known = np.where(ritz.values < -1.5, 0, ritz.values) ** 2 + 2 * ritz.coupling**2
    left = total[:, None] - 1 - np.cumsum(known, axis=1)
    return _complement_bound(np.sqrt(np.maximum(left, 0) + slack * total[:, None]), ritz)


def trace_bound(total: NDArray[np.float64], ritz: Ritz, slack: float) -> NDArray[np.float64]:
    """U (b,) from total = trace(A) (b,) where A is positive semidefinite."""
    left = total[:, None] - 1 - np.cumsum(np.maximum(ritz.values, 0), axis=1)
    return _complement_bound(np.maximum(left, 0) + slack * total[:, None], ritz)


def _complement_bound(rest: NDArray[np.float64], ritz: Ritz) -> NDArray[np.float64]:
    """U (b,) where `rest` (b, m) bounds A without D^1/2 1 and the first 1..m Ritz vectors. Every m does; the best is taken."""
    joint = np.sqrt(np.cumsum(ritz.coupling[:, 1:] ** 2, axis=1))
    several = joined(ritz.values[:, 1:2], rest[:, 1:], joint)
    bound: NDArray[np.float64] = np.minimum(rest[:, 0], several.min(axis=1, initial=np.inf))
    return bound


def joined(first: NDArray[np.float64], rest: NDArray[np.float64], joint: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bound on [[Theta, C], [C^T, R]] whose blocks are at most `first` and `rest`, ||C|| at most `joint`: that of the 2 x 2 matrix."""
    return (first + rest) / 2 + np.hypot((first - rest) / 2, joint)


def power_bound(share: NDArray[np.float64], error: NDArray[np.float64], log: NDArray[np.float64], exponent: int) -> NDArray[np.float64]:
    """U (b,) on the absolute values of all eigenvalues of M but the largest, from S = exp(-log) M^exponent, ||S||_F = 1.

    `share` is x^T S x for some unit vector x, and `error` the norm of what rounding has added to S. The squares of S's
    eigenvalues add up to (1 + error)^2 at most, and the largest has (share - error)^2 of them at least.
    """
    rest = (1 + error) ** 2 - np.maximum(share - error, 0) ** 2
    bound: NDArray[np.float64] = np.exp((log + np.log(rest) / 2) / exponent)
    return bound


def cholesky_bound(scaled: Array, trivial: Array, vector: Array, value: float, bound: float) -> float:
    """`bound`, allowing for rounding, where a factorisation proves it for one graph; infinity where it does not.

    `scaled` is A (n, n) and is overwritten; `trivial` (n,) its unit eigenvector of eigenvalue 1, `vector` (n,) the
    Fiedler candidate with its Rayleigh quotient `value`. Costs n^3 / 3 multiply-adds.
    """
    xp, n = namespace(scaled), len(scaled)
    scaled -= xp.outer(trivial, trivial)
    scaled -= xp.outer(vector, scaled.dtype.type(value) * vector)
    scaled *= -1
    diagonal = xp.arange(n)
    scaled[diagonal, diagonal] += scaled.dtype.type(bound)
    if xp is np:
        from scipy.linalg.lapack import dpotrf, spotrf  # late: it takes longer to load than NumPy, and small graphs need it not

        factorise = spotrf if scaled.dtype == np.float32 else dpotrf
        proven = factorise(scaled.T, overwrite_a=1, clean=0)[1] == 0
    else:
        proven = bool(xp.isfinite(xp.linalg.cholesky(scaled)).all())
    return bound + n * float(np.finfo(scaled.dtype).eps) if proven else math.inf


def filter_degree(
    floor: NDArray[np.float64], edge: NDArray[np.float64], target: NDArray[np.float64], dimension: int
) -> NDArray[np.float64]:
    """Degree at which `filter_bound` shows U <= target, if nothing is left outside [floor, edge]; infinite where target <= edge."""
    growth = np.arccosh(np.maximum(1 + 2 * (target - edge) / (edge - floor), 1))
    degree: NDArray[np.float64] = np.ceil(math.acosh(1 / _least_component(dimension)) / growth)
    return degree


def _least_component(dimension: int) -> float:
    """A random unit vector's component along any one direction exceeds this but for `FAILURE`.

    The component's density is at most sqrt(m / 2 pi), so that P(|c| < s) <= s sqrt(2 m / pi).
    """
    return FAILURE * math.sqrt(math.pi / (2 * dimension))


def filter_bound(
    apply: Callable[[Array], Array],
    locked: Array,
    probe: Array,
    floor: NDArray[np.float64],
    edge: NDArray[np.float64],
    degree: int,
) -> NDArray[np.float64]:
    """U (b,) on the eigenvalues of A on the complement of `locked` (b, k, n): right with probability 1 - `FAILURE`.

    `apply` maps (b, n) to A times it; `locked` holds orthonormal rows, `probe` (b, n) independent normal numbers, all in float64: of
    float32's rounding there may be as much as of the component that is looked for. The Chebyshev polynomial of [floor, edge] of
    that degree maps a probe z to p(A) z. An eigenvalue U above the edge, of which z has the component c, leaves
    ||p(A) z|| >= |c| p(U), so the norm bounds p(U), and U, p rising there. What lies below the floor only adds to the norm, so that a
    floor and an edge may be guessed. (Source: the same argument for Lanczos polynomials is van Dorsselaer, Hochstenbach and van der
    Vorst, Computing probabilistic bounds for extreme eigenvalues, 2000.) One probe of a high degree costs less than several
    of a lower one, where several products with a sparse matrix cost as much as so many times one. Never waits for the device.
    """
    xp = namespace(probe)
    centre, half = (xp.asarray((edge + sign * floor) / 2)[:, None] for sign in (1, -1))
    columns = locked.swapaxes(1, 2)

    def deflated(z: Array) -> Array:
        return z - (z[:, None] @ columns @ locked)[:, 0]

    before = deflated(deflated(probe))
    before = before / xp.sqrt((before * before).sum(1, keepdims=True))
    z = deflated(apply(before) - centre * before) / half
    twice = 2 / half
    shift = twice * centre
    for _ in range(degree - 1):
        before, z = z, deflated(twice * apply(z) - shift * z - before)
    norm = to_numpy(xp.sqrt((z * z).sum(1)))  # (b,)
    outside = np.cosh(np.arccosh(np.maximum(norm / _least_component(probe.shape[1]), 1)) / degree)
    bound: NDArray[np.float64] = ((edge - floor) * outside + edge + floor) / 2
    return np.where(np.isfinite(norm), bound, np.inf)
