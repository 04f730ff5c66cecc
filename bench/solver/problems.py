"""The graphs that the solvers are timed on: made-up features, and real ones from a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xai.spectral import cosine_relu, nearest_neighbours

DISTINCT = 6
"""Graphs of a problem that differ; a larger batch repeats them, so that the truth stays affordable."""


class GraphProblem(NamedTuple):
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


def dense_problem(name: str, features: Sequence[NDArray[np.float32]], batch: int, build: bool = False) -> GraphProblem:
    """Make `batch` graphs by the published affinity of features (n, d), repeated as needed; its time counts only with `build`."""
    distinct = min(batch, len(features), DISTINCT)
    rows = np.stack([features[i % distinct] for i in range(batch)])
    sizes = [rows.shape[1]] * batch
    if build:
        build_one, exact = (lambda i: cosine_relu(rows[i])), (lambda i: cosine_relu(rows[i].astype(np.float64)))
        return GraphProblem(f"{name}, affinity included", {"features": rows}, build_one, exact, sizes, distinct)
    weights = np.stack([cosine_relu(row) for row in rows])
    return GraphProblem(name, {"weights": weights}, lambda i: weights[i], lambda i: weights[i].astype(np.float64), sizes, distinct)


def text_problem(name: str, features: Sequence[NDArray[np.float32]], batch: int) -> GraphProblem:
    """Make `batch` graphs of features (n, d) of unequal n, padded; the affinity's time counts, as it does in an explanation."""
    rows = [features[i % len(features)] for i in range(batch)]
    sizes = [len(row) for row in rows]
    mask = np.arange(max(sizes)) < np.array(sizes)[:, None]
    padded = np.zeros((*mask.shape, rows[0].shape[1]), np.float32)
    padded[mask] = np.concatenate(rows)
    given = {"features": padded, "mask": mask}
    build_one, exact = (lambda i: cosine_relu(rows[i])), (lambda i: cosine_relu(rows[i].astype(np.float64)))
    return GraphProblem(f"{name}, affinity included", given, build_one, exact, sizes, min(batch, len(features)))


def neighbour_problem(name: str, features: Sequence[NDArray[np.float32]], neighbours: int) -> GraphProblem:
    """Make sparse graphs of the nearest neighbours among features (n, d)."""
    weights = [nearest_neighbours(row, neighbours) for row in features]
    sizes = [len(row) for row in features]
    return GraphProblem(name, {"weights": weights}, lambda i: weights[i], lambda i: weights[i].astype(np.float64), sizes, len(features))


def made_up(n: int, d: int, seed: int) -> NDArray[np.float32]:
    """Draw features (n, d) whose spectrum decays as that of images does; without real ones at hand."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((n, d)) / np.arange(1, d + 1) ** rng.uniform(0.5, 1.2)
    return noise.astype(np.float32)


def problems(quick: bool, features: Mapping[str, NDArray[np.float32]]) -> Iterator[GraphProblem]:
    """Give the problems of the benchmark: made-up features, then real ones by their size."""
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
