"""Which algorithms to try on which graph, in which order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from xai.spectral.graphs import FeatureGraphs, Graphs, Items, SparseGraphs
from xai.spectral.result import Algorithm
from xai.spectral.solutions import Solutions
from xai.spectral.solvers.eigh import solve_eigh
from xai.spectral.solvers.implicit import solve_implicit
from xai.spectral.solvers.lanczos import solve_lanczos
from xai.spectral.solvers.squaring import solve_squaring
from xai.spectral.solvers.thick_restart import solve_thick_restart

SMALL = 64
"""Up to this many nodes products of whole matrices cost less than the steps that would avoid them."""

Solver = Callable[[Any, Items, Solutions, int], Items]
"""(graphs, items, solutions, seed) -> the items it recorded no proven answer for. One algorithm, one file."""

SOLVERS: dict[Algorithm, Solver] = {
    Algorithm.EIGH: solve_eigh,
    Algorithm.LANCZOS: solve_lanczos,
    Algorithm.IMPLICIT: solve_implicit,
    Algorithm.THICK_RESTART: solve_thick_restart,
    Algorithm.SQUARING: solve_squaring,
}


def choose(graphs: Graphs, only: Algorithm | None) -> list[tuple[Items, tuple[Algorithm, ...]]]:
    """Groups of items, each with the methods to try on it in turn; `FiedlerResult.method` tells which one answered.

    `only` allows one method. Raises ValueError where it cannot solve graphs that are given like these.
    """
    if isinstance(graphs, SparseGraphs):
        large: tuple[Algorithm, ...] = (Algorithm.THICK_RESTART, Algorithm.EIGH)
    elif isinstance(graphs, FeatureGraphs):
        large = (Algorithm.IMPLICIT, Algorithm.LANCZOS, Algorithm.EIGH)
    else:
        large = (Algorithm.LANCZOS, Algorithm.EIGH)
    small: tuple[Algorithm, ...] = (Algorithm.SQUARING, Algorithm.EIGH)
    if only is not None:
        allowed = dict.fromkeys(large + small)
        if only not in allowed:
            raise ValueError(f"method {only.name} does not solve graphs given like these; {', '.join(m.name for m in allowed)} do")
        return [(np.arange(graphs.batch), (only,))]
    if graphs.xp is not np:  # what spares a CPU products costs a GPU launches and the host a wait
        small, large = small[-1:], tuple(each for each in large if each is not Algorithm.IMPLICIT)
    few = graphs.size <= SMALL
    groups = ((np.flatnonzero(few), small), (np.flatnonzero(~few), large))
    return [(items, methods) for items, methods in groups if len(items)]
