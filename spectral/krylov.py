"""Deflated Lanczos on a batch of operators, every product orthogonalised twice, with thick restarts.

Source: Wu and Simon, Thick-restart Lanczos method for large symmetric eigenvalue problems (2000). The projected matrix is
taken from the orthogonalisation itself, so that a restart needs no case of its own: the coefficients of the
first product after it are the arrow's.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from xai.spectral.arrays import Array, namespace, to_host

BROKEN = -2.0
"""Stands for the Ritz value of a direction that does not exist, below any eigenvalue of A."""


class Operator(Protocol):
    """A batch of symmetric A = D^-1/2 W D^-1/2, W not negative; each n x n, with eigenvalue 1 for D^1/2 1."""

    def apply(self, x: Array) -> Array:
        """A x for one x each, (b, n) -> (b, n)."""

    def select(self, index: NDArray[np.int64]) -> Operator:
        """The operators of a part of the batch."""


class Ritz(NamedTuple):
    """Ritz values in descending order and how each couples to what the basis does not hold, both (b, size) on the host.

    `coordinates` (b, size, size) gives the Ritz vectors in the basis, one a column. `coupling` is the residual's norm.
    """

    values: NDArray[np.float64]
    coupling: NDArray[np.float64]
    coordinates: Array


class Checked(NamedTuple):
    """Vectors (k, n) with their Rayleigh quotients and residual norms (k,)."""

    vector: Array
    value: NDArray[np.float64]
    residual: NDArray[np.float64]


def check(operator: Operator, x: Array) -> Checked:
    """Vectors x (k, n) checked by a product of their own.

    Lanczos' estimate of a residual goes on falling where rounding has stopped the real one.
    """
    return Checked(x, *to_host(*_checks(operator, x)))


def _checks(operator: Operator, x: Array) -> tuple[Array, Array]:
    """Rayleigh quotients and residual norms (k,), where x lies."""
    y, wide = operator.apply(x).astype(np.float64), x.astype(np.float64)
    square = (wide * wide).sum(1)
    value = (wide * y).sum(1) / square
    y -= value[:, None] * wide
    return value, namespace(x).sqrt((y * y).sum(1) / square)


class Krylov:
    """An orthonormal basis for each problem of a batch, and A projected onto it."""

    def __init__(self, operator: Operator, locked: Array, start: Array, capacity: int):
        """`locked` (b, k, n) orthonormal rows that the basis stays orthogonal to, `start` (b, n), at most `capacity` vectors."""
        xp = namespace(start)
        self._xp, self._locked = xp, locked.shape[1]
        self.operator = operator
        self._basis = xp.empty((len(start), self._locked + capacity + 1, start.shape[1]), start.dtype)
        self._basis[:, : self._locked] = locked
        self._projected = xp.zeros((len(start), capacity, capacity))
        self._lengths = xp.zeros((len(start), capacity + 1), start.dtype)
        self._tiny = 64 * float(np.finfo(start.dtype).eps)
        self.size = 0
        self._append(start, 0)

    def _append(self, vector: Array, position: int) -> tuple[Array, Array]:
        """Store `vector` (b, n), orthogonalised against all before that position, twice: with which coefficients (b, position)."""
        xp, row = self._xp, self._locked + position
        known = self._basis[:, :row]
        first = known @ vector[:, :, None]  # (b, row, 1)
        vector = vector - (first.swapaxes(1, 2) @ known)[:, 0]
        second = known @ vector[:, :, None]
        vector -= (second.swapaxes(1, 2) @ known)[:, 0]
        length = xp.sqrt((vector[:, None] @ vector[:, :, None])[:, 0, 0], out=self._lengths[:, position])
        # Too short for a direction: the space is invariant. A zero vector takes no further part, without a branch on the data.
        length = xp.where(length > self._tiny, length, np.inf)
        xp.divide(vector, length[:, None], out=self._basis[:, row])
        return first[:, self._locked :, 0], second[:, self._locked :, 0]

    def extend(self, size: int) -> None:
        """Grow the basis to `size` vectors, one product each. Never waits for the device."""
        for j in range(self.size, size):
            coefficients = self._append(self.operator.apply(self._basis[:, self._locked + j]), j + 1)
            self._xp.add(*coefficients, out=self._projected[:, : j + 1, j])
        self.size = size

    def ritz(self) -> Ritz:
        """The Ritz pairs of the basis, from the projected matrix in float64."""
        values, coupling, coordinates = self._pairs()
        host = to_host(values, coupling)
        return Ritz(host[0], host[1], coordinates)

    def look(self) -> tuple[Ritz, Checked]:
        """The Ritz pairs, and of every problem the first one, checked. Waits for the device once."""
        values, coupling, coordinates = self._pairs()
        x = self.vectors(coordinates[:, :, :1])[:, 0]
        values, coupling, *checks = to_host(values, coupling, *_checks(self.operator, x))
        return Ritz(values, coupling, coordinates), Checked(x, *checks)

    def _pairs(self) -> tuple[Array, Array, Array]:
        """What `Ritz` holds, where the basis lies."""
        size = self.size
        missing = (self._lengths[:, :size, None] <= self._tiny) * self._xp.asarray(BROKEN * np.eye(size))
        values, coordinates = self._xp.linalg.eigh(self._projected[:, :size, :size] + missing, UPLO="U")
        coordinates = coordinates[:, :, ::-1]
        last = self._lengths[:, size, None]
        coupling = last * (last > self._tiny) * abs(coordinates[:, -1])
        return values[:, ::-1], coupling, coordinates

    def first(self, ritz: Ritz, index: NDArray[np.int64]) -> Checked:
        """The first Ritz vectors of some of the problems, checked by one product."""
        x = self.vectors(ritz.coordinates[:, :, :1])[index, 0]
        return check(self.operator if len(index) == len(ritz.values) else self.operator.select(index), x)

    def vectors(self, coordinates: Array) -> Array:
        """Vectors (b, k, n) of given coordinates (b, size, k) in the basis."""
        rows = self._basis[:, self._locked : self._locked + self.size]
        return coordinates.swapaxes(1, 2).astype(rows.dtype) @ rows

    def restart(self, ritz: Ritz, keep: int) -> None:
        """Keep the first Ritz vectors and the direction in which the basis would have grown."""
        kept = slice(self._locked, self._locked + keep)
        self._basis[:, kept] = self.vectors(ritz.coordinates[:, :, :keep])
        self._basis[:, kept.stop] = self._basis[:, self._locked + self.size]
        self._lengths[:, keep] = self._lengths[:, self.size]
        self._lengths[:, :keep] = 1
        self._projected[:] = 0
        for i in range(keep):
            self._projected[:, i, i] = self._xp.asarray(ritz.values[:, i])
        self.size = keep

    def select(self, index: NDArray[np.int64]) -> None:
        """Go on with a part of the batch."""
        self.operator = self.operator.select(index)
        self._basis, self._projected = self._basis[index], self._projected[index]
        self._lengths = self._lengths[index]
