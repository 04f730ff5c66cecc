"""The measures of `xai bench perturb`. To add one, write a file that makes it and give it a row in `MEASURES`."""

from __future__ import annotations

from collections.abc import Sequence

from xai.base.errors import BadInput
from xai.bench.measures.areas import AREAS
from xai.bench.measures.contrast import CONTRAST
from xai.bench.measures.cost import COST, cost_line
from xai.bench.measures.measure import Key, LineKind, Measure, Scope
from xai.bench.measures.prior import PRIOR
from xai.bench.measures.saco import SACO
from xai.bench.measures.synergy import SYNERGY
from xai.bench.measures.truth import TRUTH

MEASURES: dict[str, Measure] = {measure.name: measure for measure in (AREAS, SYNERGY, SACO, CONTRAST, PRIOR, TRUTH)}
"""Every measure by name, in the order of its lines and tables."""

FIRST = AREAS.name
"""The measure that every run has."""


def find_measures(names: Sequence[str]) -> tuple[str, ...]:
    """Find the measures of a run, each once and in order, the published test always among them; `all` stands for every one.

    Raises `BadInput` on an unknown name, with the valid ones.
    """
    if unknown := [name for name in names if name not in MEASURES and name != "all"]:
        raise BadInput(f"unknown measure {unknown[0]!r}: choose from {', '.join(MEASURES)}, or all")
    return tuple(name for name in MEASURES if name == FIRST or name in names or "all" in names)


def check_measures(names: Sequence[str], answers: int) -> None:
    """Raise `BadInput` where a measure reads a second answer and the model has one alone."""
    if answers < 2 and (reading := [name for name in names if MEASURES[name].reads_runner_up]):
        raise BadInput(f"measure {reading[0]} compares the model's first two answers, and the model has one: leave it out")


def question_keys(scope: Scope, measures: Sequence[str]) -> list[tuple[Key, LineKind]]:
    """List the lines of one question, in their order, with what each holds."""
    found = [(key, MEASURES[name].line) for name in measures for key in MEASURES[name].keys(scope)]
    return [*found, (COST, cost_line(measures))] if tuple(measures) != (FIRST,) else found
