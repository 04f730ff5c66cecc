"""What is said of one solver on one problem, and rows of that as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xai.bench.tables import plain


@dataclass(frozen=True)
class SolverRow:
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


def solver_table(rows: Sequence[SolverRow]) -> str:
    """Lay rows out as a Markdown table."""
    heads = ["problem", "n", "graphs", "timed", "threads", "method", "CPU ms", "wall ms", "x eigs", "x eigsh", "worst sine"]
    return plain([*heads, "certified", "products", "solved by"], [_cells(row) for row in rows])


def _cells(row: SolverRow) -> list[str]:
    counts = (row.problem, row.nodes, row.batch, row.timed, row.threads, row.method)
    numbers = [f"{row.cpu_ms:.3g}", f"{row.wall_ms:.3g}", f"{row.times_eigs:.1f}", f"{row.times_eigsh:.1f}", f"{row.sine:.0e}"]
    certified = "" if row.certified is None else f"{row.certified:.0%}"
    products = "" if row.products is None else f"{row.products:.0f}"
    return [*map(str, counts), *numbers, certified, products, row.solved]
