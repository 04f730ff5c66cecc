"""The solvers that are timed: SciPy's as METER-spectral calls it and as it should be called, LAPACK, and ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
from numpy.typing import NDArray

from xai.bench.solver.problems import GraphProblem
from xai.bench.solver.truth import symmetric
from xai.spectral import Algorithm, FiedlerResult, fiedler
from xai.spectral.arrays import gpu_state, is_sparse, namespace, sparse_namespace, synchronised, to_device

BASELINE, HONEST = "eigs (reference)", "eigsh LA k=2"


def published_eigs(weights: Any) -> NDArray[Any]:
    """Compute the Fiedler vector (n,) as METER-spectral computes it: non-symmetric Arnoldi, shift-invert at -0.5, five eigenpairs."""
    degrees = np.asarray(weights.sum(1)).ravel()
    if is_sparse(weights):
        d = scipy.sparse.diags_array(degrees).tocsc()
        values, vectors = scipy.sparse.linalg.eigs((d - weights).tocsc(), k=5, sigma=-0.5, M=d)
    else:
        d = np.diag(np.where(degrees < 1e-12, 1, degrees))
        values, vectors = scipy.sparse.linalg.eigs(d - weights, k=5, sigma=-0.5, M=d)
    return np.asarray(vectors[:, np.argsort(values.real)[1]].real)


def two_largest(weights: Any) -> Any:
    """Compute the Fiedler vector (n,) as it should be asked of scipy, or of cupyx: symmetric Lanczos for the two largest eigenvalues."""
    scaled, inverse = symmetric(weights)
    values, vectors = sparse_namespace(weights).linalg.eigsh(scaled, k=2, which="LA")
    return vectors[:, int(values.argmin())] * inverse


def all_pairs(weights: Any) -> Any:
    """Compute the Fiedler vector (n,) by all eigenpairs of one dense graph."""
    scaled, inverse = symmetric(weights)
    return namespace(weights).linalg.eigh(scaled)[1][:, -2] * inverse


class Contender(NamedTuple):
    """One method on a problem: vectors of so many of its first graphs."""

    solve: Callable[[], list[NDArray[Any]] | FiedlerResult]
    graphs: int
    device: bool = False


def contenders(problem: GraphProblem) -> dict[str, Contender]:
    """List what is timed on a problem, by name."""
    batch, first, given = len(problem.sizes), problem.distinct, problem.given
    few = {name: value[:first] for name, value in given.items()}
    found = {
        BASELINE: Contender(lambda: [published_eigs(problem.graph(i)) for i in range(first)], first),
        HONEST: Contender(lambda: [two_largest(problem.graph(i)) for i in range(first)], first),
    }
    affordable = max(problem.sizes) <= 4096
    if affordable:
        found["eigh, bucketed"] = Contender(lambda: fiedler(**few, method=Algorithm.EIGH), first)
    found["fiedler"] = Contender(lambda: fiedler(**given), batch)
    found["fiedler tol 3e-5"] = Contender(lambda: fiedler(**given, tol=3e-5), batch)
    if gpu_state() is None:
        device = {name: to_device(value) for name, value in given.items()}
        graphs = [to_device(problem.graph(i)) for i in range(first)]
        found["fiedler, GPU"] = Contender(lambda: synchronised(fiedler(**device)), batch, True)
        found["fiedler tol 3e-5, GPU"] = Contender(lambda: synchronised(fiedler(**device, tol=3e-5)), batch, True)
        found["eigsh LA k=2 loop, GPU"] = Contender(lambda: synchronised([two_largest(graph) for graph in graphs]), first, True)
        if affordable:
            found["eigh, bucketed, GPU"] = Contender(lambda: synchronised(fiedler(**device, method=Algorithm.EIGH)), batch, True)
        if affordable and not is_sparse(graphs[0]):
            found["eigh loop, GPU"] = Contender(lambda: synchronised([all_pairs(graph) for graph in graphs]), first, True)
    return found
