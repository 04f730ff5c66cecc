"""Time the solvers: what a Fiedler vector costs, with the true error and the share of proven answers beside every time.

Solvers alternate within one process, and the least time of each counts. A loop, and LAPACK, take the same time for the graphs that repeat
others, so that they are timed on the distinct ones alone; the table says on how many. The truth is LAPACK's, in float64.
"""

from __future__ import annotations

import os
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xai.base.errors import XaiError
from xai.bench.solver.contenders import BASELINE, HONEST, contenders
from xai.bench.solver.problems import GraphProblem, problems
from xai.bench.solver.rows import SolverRow, solver_table
from xai.bench.solver.truth import true_vector
from xai.spectral import Algorithm, FiedlerResult, Status
from xai.spectral.arrays import to_numpy


def time_solvers(problem: GraphProblem, repeats: int, threads: int) -> list[SolverRow]:
    """Time every method on a problem, in turns; what takes longer than 5 s is not repeated."""
    timed = contenders(problem)
    cpu, wall = dict.fromkeys(timed, np.inf), dict.fromkeys(timed, np.inf)  # per graph
    answers: dict[str, list[NDArray[Any]] | FiedlerResult] = {}
    for _ in range(repeats):
        for name, (solve, graphs, _device) in timed.items():
            if name in answers and wall[name] * graphs > 5:
                continue
            start = time.process_time(), time.perf_counter()
            answers[name] = solve()
            cpu[name] = min(cpu[name], (time.process_time() - start[0]) / graphs)
            wall[name] = min(wall[name], (time.perf_counter() - start[1]) / graphs)
    truths = [true_vector(problem.exact(i)) for i in range(problem.distinct)]
    rows = []
    for name, answer in answers.items():
        vectors = to_numpy(answer.vector) if isinstance(answer, FiedlerResult) else [to_numpy(vector) for vector in answer]
        sines = [true.sine(_real(vectors[i], problem, i)) for i, true in enumerate(truths) if true.gap > 1e-5]
        result = answer if isinstance(answer, FiedlerResult) else None
        clock = wall if timed[name].device else cpu
        rows.append(
            SolverRow(
                problem=problem.name,
                nodes=max(problem.sizes),
                batch=len(problem.sizes),
                timed=timed[name].graphs,
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


def _real(vector: NDArray[Any], problem: GraphProblem, i: int) -> NDArray[Any]:
    """Take the entries of a vector at the real nodes of graph i."""
    mask = problem.given.get("mask")
    return vector[mask[i]] if mask is not None and len(vector) == len(mask[i]) else vector[: problem.sizes[i]]


def _solved(result: FiedlerResult) -> str:
    pairs = zip(result.method.tolist(), result.precision.tolist(), strict=True)
    names = [f"{Algorithm(method).name.lower()} f{precision}" for method, precision in pairs]
    return ", ".join(f"{names.count(name)} {name}" for name in sorted(set(names)))


def run(quick: bool, features: Path | None, threads: int, say: Callable[[str], object]) -> list[SolverRow]:
    """Run the whole benchmark in this process, whose BLAS has been told to use that many threads.

    `say` hears of each problem and, so that a long run that is stopped has shown them, of its rows.
    """
    real: dict[str, NDArray[np.float32]] = {}
    if features is not None:
        try:
            with features.open("rb") as opened, np.load(opened) as file:
                real = {name: np.asarray(file[name], np.float32) for name in file.files}
        except (OSError, ValueError, TypeError, zipfile.BadZipFile) as error:
            raise XaiError(f"{features} is not an .npz of features: make one with benchmarks/features.py") from error
    rows = []
    for problem in problems(quick, real):
        say(f"{problem.name}: {len(problem.sizes)} x {max(problem.sizes)} nodes, {threads} threads")
        found = time_solvers(problem, 2 if quick else 3, threads)
        say(solver_table(found))  # a long run that is stopped has shown what it found
        rows += found
    return rows


def run_with_threads(quick: bool, features: Path | None, threads: int, say: Callable[[str], object]) -> list[SolverRow]:
    """Run `run` in a process of its own: BLAS reads how many threads to use when it is loaded."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, str(threads)))
    try:
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            return pool.submit(run, quick, features, threads, say).result()
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
