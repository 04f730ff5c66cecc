"""Which algorithms to try on which graph, in which order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from xai.spectral.answers import Answers
from xai.spectral.graphs import FeatureGraphs, Graphs, Items, SparseGraphs
from xai.spectral.result import Method
from xai.spectral.solvers.eigh import solve_eigh
from xai.spectral.solvers.implicit import solve_implicit
from xai.spectral.solvers.lanczos import solve_lanczos
from xai.spectral.solvers.squaring import solve_squaring
from xai.spectral.solvers.thick_restart import solve_thick_restart

SMALL = 64
"""Up to this many nodes products of whole matrices cost less than the steps that would avoid them."""

Solver = Callable[[Any, Items, Answers, int], Items]
"""(graphs, items, answers, seed) -> the items it recorded no proven answer for. One algorithm, one file."""

SOLVERS: dict[Method, Solver] = {
    Method.EIGH: solve_eigh,
    Method.LANCZOS: solve_lanczos,
    Method.IMPLICIT: solve_implicit,
    Method.THICK_RESTART: solve_thick_restart,
    Method.SQUARING: solve_squaring,
}


def choose(graphs: Graphs, only: Method | None) -> list[tuple[Items, tuple[Method, ...]]]:
    """Groups of items, each with the methods to try on it in turn; `FiedlerResult.method` tells which one answered.

    `only` allows one method. Raises ValueError where it cannot solve graphs that are given like these.
    """
    if isinstance(graphs, SparseGraphs):
        large: tuple[Method, ...] = (Method.THICK_RESTART, Method.EIGH)
    elif isinstance(graphs, FeatureGraphs):
        large = (Method.IMPLICIT, Method.LANCZOS, Method.EIGH)
    else:
        large = (Method.LANCZOS, Method.EIGH)
    small = (Method.SQUARING, Method.EIGH)
    if only is not None:
        allowed = dict.fromkeys(large + small)
        if only not in allowed:
            raise ValueError(f"method {only.name} does not solve graphs given like these; {', '.join(m.name for m in allowed)} do")
        return [(np.arange(graphs.batch), (only,))]
    few = graphs.size <= SMALL
    groups = ((np.flatnonzero(few), small), (np.flatnonzero(~few), large))
    return [(items, methods) for items, methods in groups if len(items)]
