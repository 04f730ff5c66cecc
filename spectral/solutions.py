"""The answers of a batch while it is being solved."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xai.spectral.arrays import Array, Sparse, to_numpy
from xai.spectral.components import pieces, span_map
from xai.spectral.graphs import Graphs, Items
from xai.spectral.result import DEGENERATE_GAP, Algorithm, Certificate, FiedlerResult, Status

NEAR_ONE = 1 - 1e-3
"""Above this, an eigenvalue of A may be 1 again: the pieces are counted. Below it, the graph is connected."""


class Found(NamedTuple):
    """Eigenpairs of A for k items: `vector` (k, n) = D^-1/2 y for unit y and `map` (k, n); the rest (k,), on the host.

    `angle` bounds the sine of the angle to the eigenspace; `multiplicity` is 1 for all where None.
    """

    vector: Array
    map: Array
    value: NDArray[np.float64]
    residual: NDArray[np.float64]
    gap: NDArray[np.float64]
    angle: NDArray[np.float64]
    multiplicity: NDArray[np.int64] | None = None


class Solutions:
    """Filled item by item; algorithms record what they can prove and hand on the rest."""

    def __init__(self, graphs: Graphs, tolerance: float):
        batch = graphs.batch
        self._xp = graphs.xp
        self.tolerance = tolerance
        self._vector, self._map = (self._xp.full((batch, graphs.n), np.nan) for _ in range(2))
        self._value, self._residual, self._gap = (np.full(batch, np.nan) for _ in range(3))
        self._angle = np.full(batch, np.inf)
        self._multiplicity, self._pieces, self._precision = (np.zeros(batch, np.int64) for _ in range(3))
        self._status = np.full(batch, Status.NOT_CONVERGED, np.int64)
        self._method, self._certificate = np.full(batch, Algorithm.NONE, np.int64), np.full(batch, Certificate.NONE, np.int64)
        self.products = np.zeros(batch, np.int64)

    def settle(self, items: Items, degrees: Array) -> NDArray[np.bool_]:
        """Record the items that need no solver, by their `degrees` (len(items), n); true for those that are left."""
        host = to_numpy(degrees)
        finite = np.isfinite(host).all(1)
        nodes = (host > 0).sum(1)
        left: NDArray[np.bool_] = finite & (nodes > 1)
        self._angle[items[~left]] = np.nan
        self._status[items[~finite]] = Status.NONFINITE
        trivial = np.flatnonzero(finite & (nodes < 2))
        if len(trivial):
            lone = (host[trivial] > 0).astype(np.float64)
            self._store(items[trivial], lone, lone)
            self._status[items[trivial]], self._pieces[items[trivial]] = Status.TRIVIAL, nodes[trivial]
        return left

    def split(self, item: int, weights: Array | Sparse, degrees: Array) -> bool:
        """Count one graph's pieces; where there are several, record it and return true."""
        host = to_numpy(degrees)
        found = pieces(weights, host)
        self._pieces[item] = found.number
        if found.number == 1:
            return False
        self._store(np.array([item]), *(row[None] for row in span_map(found, host)))
        self._value[item] = self._residual[item] = self._angle[item] = 0
        self._multiplicity[item] = found.number - 1
        self._status[item], self._certificate[item], self._precision[item] = Status.DISCONNECTED, Certificate.COMPONENTS, 64
        return True

    def _store(self, items: Items, shape: NDArray[np.float64], vector: NDArray[np.float64]) -> None:
        """Set maps and vectors of k items from (k, n) of the host, n the largest among them."""
        for rows, values in ((self._map, shape), (self._vector, vector)):
            rows[items] = 0
            rows[items, : values.shape[1]] = self._xp.asarray(values)

    def record(self, items: Items, found: Found, method: Algorithm, certificate: Certificate, precision: int) -> NDArray[np.bool_]:
        """Record graphs in one piece; true for those that are proven. The others stay NOT_CONVERGED, as a best guess."""
        xp, width = self._xp, found.vector.shape[1]
        sign = xp.sign(xp.take_along_axis(found.vector, abs(found.vector).argmax(1)[:, None], 1))
        if width < self._map.shape[1]:
            self._vector[items], self._map[items] = 0, 0
        self._vector[items, :width], self._map[items, :width] = found.vector * sign, found.map
        self._value[items], self._residual[items] = 1 - found.value, found.residual
        self._gap[items], self._angle[items] = np.where(found.gap > 0, found.gap, np.nan), found.angle
        # A narrower gap is none: whoever knows the spectrum, or collects it, has to say how many eigenvalues there are.
        proven: NDArray[np.bool_] = (found.angle <= self.tolerance) & (found.gap > DEGENERATE_GAP)
        multiplicity = np.ones(len(items), np.int64) if found.multiplicity is None else found.multiplicity
        self._multiplicity[items] = multiplicity
        self._pieces[items[proven]] = 1
        self._status[items] = np.where(proven, np.where(multiplicity > 1, Status.DEGENERATE, Status.CONVERGED), Status.NOT_CONVERGED)
        self._method[items], self._precision[items] = method, precision
        self._certificate[items] = np.where(proven, certificate, Certificate.NONE)
        return proven

    def result(self, norm: str, order: Array | None) -> FiedlerResult:
        """The batch as it stands, vectors scaled to `norm`, node i of a graph put back to where `order` (B, n) says."""
        xp = self._xp
        if order is not None:
            back = xp.argsort(order, axis=1)
            self._vector, self._map = (xp.take_along_axis(part, back, 1) for part in (self._vector, self._map))
        if norm == "2":
            self._vector /= _length(xp, self._vector)
            self._map *= xp.asarray(np.sqrt(np.maximum(self._multiplicity, 1)))[:, None] / _length(xp, self._map)
        return FiedlerResult(
            eigenvalue=self._value,
            vector=self._vector,
            map=self._map,
            residual=self._residual,
            gap=self._gap,
            angle_bound=self._angle,
            multiplicity=self._multiplicity,
            n_components=self._pieces,
            status=self._status,
            method=self._method,
            certificate=self._certificate,
            precision=self._precision,
            products=self.products,
        )


def _length(xp: Array, rows: Array) -> Array:
    length = xp.sqrt((rows * rows).sum(1, keepdims=True))
    return xp.where(length == 0, 1, length)
