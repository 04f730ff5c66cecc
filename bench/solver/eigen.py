"""`xai bench eigen`: what a Fiedler vector costs, with the true error and the share of proven answers beside every time.

Methods alternate within one process, and the least time of each counts. A loop, and LAPACK, take the same time for the graphs that repeat
others, so that they are timed on the distinct ones alone; the table says on how many. The truth is LAPACK's, in float64.
"""

from __future__ import annotations

import os
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import scipy.linalg
import scipy.sparse
import scipy.sparse.linalg
from numpy.typing import NDArray

from xai.base.errors import XaiError
from xai.spectral import FiedlerResult, Method, Status, cosine_relu, fiedler, nearest_neighbours
from xai.spectral.arrays import gpu_state, is_sparse, namespace, sparse_namespace, synchronised, to_device, to_numpy

DISTINCT = 6
"""Graphs of a problem that differ; a larger batch repeats them, so that the truth stays affordable."""

BASELINE, HONEST = "eigs (reference)", "eigsh LA k=2"


@dataclass(frozen=True)
class Row:
    """One method on one problem. Times are per graph; `sine` is the largest of the angles to the true vectors, in the D norm.

    Of a batch of `batch` graphs `timed` were timed. The ratios `times_eigs` and `times_eigsh` are of CPU times, those of a GPU's rows
    of wall times: a CPU that waits for a GPU may or may not be counted as busy.
    Graphs whose second eigenvalue is multiple or nearly so (gap under 1e-5) count for the times only. `certified` is the share of answers
    with a proof, None for a method that gives none; `solved` says which algorithm gave how many of the answers.
    """

    problem: str
    nodes: int
    batch: int
    timed: int
    threads: int
    method: str
    cpu_ms: float
    wall_ms: float
    times_eigs: float
    times_eigsh: float
    sine: float
    certified: float | None
    products: float | None
    solved: str


class Problem(NamedTuple):
    """Graphs to solve: all of them as `fiedler` takes them, and one by one as a loop does."""

    name: str
    given: Mapping[str, Any]
    graph: Callable[[int], Any]
    """The weights (n, n) of graph i, dense or CSR; built from features here if `given` are features."""
    exact: Callable[[int], Any]
    """The same in float64: the problem that all of them are to solve."""
    sizes: Sequence[int]
    distinct: int
    """How many of the first graphs differ; the others repeat them."""


def reference(weights: Any) -> NDArray[Any]:
    """The Fiedler vector (n,) as METER-spectral computes it: non-symmetric Arnoldi, shift-invert at -0.5, five eigenpairs."""
    degrees = np.asarray(weights.sum(1)).ravel()
    if is_sparse(weights):
        d = scipy.sparse.diags_array(degrees).tocsc()
        values, vectors = scipy.sparse.linalg.eigs((d - weights).tocsc(), k=5, sigma=-0.5, M=d)
    else:
        d = np.diag(np.where(degrees < 1e-12, 1, degrees))
        values, vectors = scipy.sparse.linalg.eigs(d - weights, k=5, sigma=-0.5, M=d)
    return np.asarray(vectors[:, np.argsort(values.real)[1]].real)


def symmetric(weights: Any) -> tuple[Any, Any]:
    """(D^-1/2 W D^-1/2, D^-1/2) of a graph in which every node has an edge."""
    xp = namespace(weights)
    inverse = 1 / xp.sqrt(xp.asarray(weights.sum(1)).ravel())
    if is_sparse(weights):
        scale = sparse_namespace(weights).diags(inverse)
        return (scale @ weights @ scale).tocsr(), inverse
    return weights * inverse[:, None] * inverse, inverse


def two_largest(weights: Any) -> Any:
    """The Fiedler vector (n,) as it should be asked of scipy, or of cupyx: symmetric Lanczos for the two largest eigenvalues."""
    scaled, inverse = symmetric(weights)
    values, vectors = sparse_namespace(weights).linalg.eigsh(scaled, k=2, which="LA")
    return vectors[:, int(values.argmin())] * inverse


def all_pairs(weights: Any) -> Any:
    """The Fiedler vector (n,) by all eigenpairs of one dense graph."""
    scaled, inverse = symmetric(weights)
    return namespace(weights).linalg.eigh(scaled)[1][:, -2] * inverse


class Truth(NamedTuple):
    """D^1/2 and the Fiedler vector y = D^1/2 v of one graph, both (n,), and the gap to the next eigenvalue."""

    root: NDArray[np.float64]
    vector: NDArray[np.float64]
    gap: float

    def sine(self, vector: NDArray[Any]) -> float:
        """Sine of the angle between a vector v and the true one."""
        y = self.root * vector
        y /= np.linalg.norm(y)
        return float(np.linalg.norm(y - (y @ self.vector) * self.vector))


def truth(weights: Any) -> Truth:
    """Of weights in float64: by LAPACK where that is affordable, else by ARPACK at machine precision."""
    scaled, inverse = symmetric(weights)
    n = scaled.shape[0]
    if n > 4096:
        values, vectors = scipy.sparse.linalg.eigsh(scaled, k=3, which="LA", ncv=80)
    else:
        dense = scaled.toarray() if is_sparse(scaled) else scaled
        values, vectors = scipy.linalg.eigh(dense, subset_by_index=[n - 3, n - 1])
    # In several pieces, the second of the eigenvalues 1 has no vector of its own.
    return Truth(1 / inverse, vectors[:, 1], float(values[1] - values[0]) if values[1] < 1 - 1e-9 else 0.0)


class Contender(NamedTuple):
    """One method on a problem: vectors of so many of its first graphs."""

    solve: Callable[[], list[NDArray[Any]] | FiedlerResult]
    graphs: int
    device: bool = False


def methods(problem: Problem) -> dict[str, Contender]:
    """What to time on a problem."""
    batch, first, given = len(problem.sizes), problem.distinct, problem.given
    few = {name: value[:first] for name, value in given.items()}
    found = {
        BASELINE: Contender(lambda: [reference(problem.graph(i)) for i in range(first)], first),
        HONEST: Contender(lambda: [two_largest(problem.graph(i)) for i in range(first)], first),
    }
    affordable = max(problem.sizes) <= 4096
    if affordable:
        found["eigh, bucketed"] = Contender(lambda: fiedler(**few, method=Method.EIGH), first)
    found["fiedler"] = Contender(lambda: fiedler(**given), batch)
    found["fiedler tol 3e-5"] = Contender(lambda: fiedler(**given, tol=3e-5), batch)
    if gpu_state() is None:
        device = {name: to_device(value) for name, value in given.items()}
        graphs = [to_device(problem.graph(i)) for i in range(first)]
        found["fiedler, GPU"] = Contender(lambda: synchronised(fiedler(**device)), batch, True)
        found["fiedler tol 3e-5, GPU"] = Contender(lambda: synchronised(fiedler(**device, tol=3e-5)), batch, True)
        found["eigsh LA k=2 loop, GPU"] = Contender(lambda: synchronised([two_largest(graph) for graph in graphs]), first, True)
        if affordable:
            found["eigh, bucketed, GPU"] = Contender(lambda: synchronised(fiedler(**device, method=Method.EIGH)), batch, True)
        if affordable and not is_sparse(graphs[0]):
            found["eigh loop, GPU"] = Contender(lambda: synchronised([all_pairs(graph) for graph in graphs]), first, True)
    return found


def measure(problem: Problem, repeats: int, threads: int) -> list[Row]:
    """Time every method on a problem, in turns; what takes longer than 5 s is not repeated."""
    contenders = methods(problem)
    cpu, wall = dict.fromkeys(contenders, np.inf), dict.fromkeys(contenders, np.inf)  # per graph
    answers: dict[str, list[NDArray[Any]] | FiedlerResult] = {}
    for _ in range(repeats):
        for name, (solve, graphs, _device) in contenders.items():
            if name in answers and wall[name] * graphs > 5:
                continue
            start = time.process_time(), time.perf_counter()
            answers[name] = solve()
            cpu[name] = min(cpu[name], (time.process_time() - start[0]) / graphs)
            wall[name] = min(wall[name], (time.perf_counter() - start[1]) / graphs)
    truths = [truth(problem.exact(i)) for i in range(problem.distinct)]
    rows = []
    for name, answer in answers.items():
        vectors = to_numpy(answer.vector) if isinstance(answer, FiedlerResult) else [to_numpy(vector) for vector in answer]
        sines = [true.sine(_real(vectors[i], problem, i)) for i, true in enumerate(truths) if true.gap > 1e-5]
        result = answer if isinstance(answer, FiedlerResult) else None
        clock = wall if contenders[name].device else cpu
        rows.append(
            Row(
                problem=problem.name,
                nodes=max(problem.sizes),
                batch=len(problem.sizes),
                timed=contenders[name].graphs,
                threads=threads,
                method=name,
                cpu_ms=1e3 * cpu[name],
                wall_ms=1e3 * wall[name],
                times_eigs=clock[BASELINE] / clock[name],
                times_eigsh=clock[HONEST] / clock[name],
                sine=max(sines, default=float("nan")),
                certified=None if result is None else float((result.status != Status.NOT_CONVERGED).mean()),
                products=None if result is None else float(result.products.mean()),
                solved="" if result is None else _solved(result),
            )
        )
    return rows


def _real(vector: NDArray[Any], problem: Problem, i: int) -> NDArray[Any]:
    """The entries of a vector at the real nodes of graph i."""
    mask = problem.given.get("mask")
    return vector[mask[i]] if mask is not None and len(vector) == len(mask[i]) else vector[: problem.sizes[i]]


def _solved(result: FiedlerResult) -> str:
    pairs = zip(result.method.tolist(), result.precision.tolist(), strict=True)
    names = [f"{Method(method).name.lower()} f{precision}" for method, precision in pairs]
    return ", ".join(f"{names.count(name)} {name}" for name in sorted(set(names)))


def dense_problem(name: str, features: Sequence[NDArray[np.float32]], batch: int, build: bool = False) -> Problem:
    """`batch` graphs by the published affinity of features (n, d), repeated as needed; its time counts only with `build`."""
    distinct = min(batch, len(features), DISTINCT)
    rows = np.stack([features[i % distinct] for i in range(batch)])
    sizes = [rows.shape[1]] * batch
    if build:
        build_one, exact = (lambda i: cosine_relu(rows[i])), (lambda i: cosine_relu(rows[i].astype(np.float64)))
        return Problem(f"{name}, affinity included", {"features": rows}, build_one, exact, sizes, distinct)
    weights = np.stack([cosine_relu(row) for row in rows])
    return Problem(name, {"weights": weights}, lambda i: weights[i], lambda i: weights[i].astype(np.float64), sizes, distinct)


def text_problem(name: str, features: Sequence[NDArray[np.float32]], batch: int) -> Problem:
    """`batch` graphs of features (n, d) of unequal n, padded; the affinity's time counts, as it does in an explanation."""
    rows = [features[i % len(features)] for i in range(batch)]
    sizes = [len(row) for row in rows]
    mask = np.arange(max(sizes)) < np.array(sizes)[:, None]
    padded = np.zeros((*mask.shape, rows[0].shape[1]), np.float32)
    padded[mask] = np.concatenate(rows)
    given = {"features": padded, "mask": mask}
    build_one, exact = (lambda i: cosine_relu(rows[i])), (lambda i: cosine_relu(rows[i].astype(np.float64)))
    return Problem(f"{name}, affinity included", given, build_one, exact, sizes, min(batch, len(features)))


def neighbour_problem(name: str, features: Sequence[NDArray[np.float32]], neighbours: int) -> Problem:
    """Sparse graphs of the nearest neighbours among features (n, d)."""
    weights = [nearest_neighbours(row, neighbours) for row in features]
    sizes = [len(row) for row in features]
    return Problem(name, {"weights": weights}, lambda i: weights[i], lambda i: weights[i].astype(np.float64), sizes, len(features))


def made_up(n: int, d: int, seed: int) -> NDArray[np.float32]:
    """Features (n, d) whose spectrum decays as that of images does; without real ones at hand."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((n, d)) / np.arange(1, d + 1) ** rng.uniform(0.5, 1.2)
    return noise.astype(np.float32)


def problems(quick: bool, features: Mapping[str, NDArray[np.float32]]) -> Iterator[Problem]:
    """The problems of the benchmark: made-up features, then real ones by their size."""
    d = 64 if quick else 768
    for n in (324,) if quick else (324, 576, 1296):
        rows = [made_up(n, d, seed) for seed in range(DISTINCT)]
        for batch in (1, 4) if quick else (1, 12, 48):
            yield dense_problem("made up", rows, batch)
        if n > 324:
            yield dense_problem("made up", rows, 12, build=True)
    lengths = np.random.default_rng(0).integers(8, 41, 24 if quick else 96)  # the reference fails below 7 nodes
    yield text_problem("made-up text", [made_up(int(n), d, seed) for seed, n in enumerate(lengths)], 24 if quick else 288)
    yield neighbour_problem("made up, 20 neighbours", [made_up(1296, d, seed) for seed in range(1 if quick else 4)], 20)
    kinds: dict[tuple[str, int], list[NDArray[np.float32]]] = {}
    for name, each in features.items():
        text = len(each) <= 64
        if not text or len(each) > 6:
            kinds.setdefault((name.partition(" ")[0], 0 if text else len(each)), []).append(each)
    for (name, n), group in kinds.items():
        if n == 0:
            yield text_problem(f"{name} text", group, len(group) if quick else 288)
            continue
        for batch in (1,) if quick else (1, 12, 48):
            yield dense_problem(name, group, batch)
        yield dense_problem(name, group, 1 if quick else 12, build=True)
        yield neighbour_problem(f"{name}, 20 neighbours", group[: 1 if quick else DISTINCT], 20)
    if not quick:  # last: the reference takes minutes
        yield neighbour_problem("made up, 20 neighbours", [made_up(16384, d, 0)], 20)


def run(quick: bool, features: Path | None, threads: int) -> list[Row]:
    """The whole benchmark in this process, whose BLAS has been told to use that many threads."""
    real: dict[str, NDArray[np.float32]] = {}
    if features is not None:
        try:
            with features.open("rb") as opened, np.load(opened) as file:
                real = {name: np.asarray(file[name], np.float32) for name in file.files}
        except (OSError, ValueError, TypeError, zipfile.BadZipFile) as error:
            raise XaiError(f"{features} is not an .npz of features: make one with benchmarks/features.py") from error
    rows = []
    for problem in problems(quick, real):
        click.echo(f"{problem.name}: {len(problem.sizes)} x {max(problem.sizes)} nodes, {threads} threads", err=True)
        found = measure(problem, 2 if quick else 3, threads)
        click.echo(table(found), err=True)  # a long run that is stopped has shown what it found
        rows += found
    return rows


def run_with_threads(quick: bool, features: Path | None, threads: int) -> list[Row]:
    """`run` in a process of its own: BLAS reads how many threads to use when it is loaded."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, str(threads)))
    try:
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            return pool.submit(run, quick, features, threads).result()
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def table(rows: Sequence[Row]) -> str:
    """Rows as a Markdown table."""
    head = "problem | n | graphs | timed | threads | method | CPU ms | wall ms | x eigs | x eigsh | worst sine | certified | products"
    head += " | solved by"
    lines = [f"| {head} |", "|" + " --- |" * (head.count("|") + 1)]
    for row in rows:
        cells = [row.problem, row.nodes, row.batch, row.timed, row.threads, row.method, f"{row.cpu_ms:.3g}", f"{row.wall_ms:.3g}"]
        cells += [f"{row.times_eigs:.1f}", f"{row.times_eigsh:.1f}", f"{row.sine:.0e}"]
        cells += [
            "" if row.certified is None else f"{row.certified:.0%}",
            "" if row.products is None else f"{row.products:.0f}",
            row.solved,
        ]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)
