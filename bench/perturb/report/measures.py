"""What the further measures say of a run: their lines -> scores -> their part of `table.json` and `table.md`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xai.bench.measures.cost import COST
from xai.bench.measures.measure import Column, Line, Scope
from xai.bench.measures.table import FIRST, MEASURES
from xai.bench.perturb.report.estimates import Estimate, Verdict, estimate_columns, first_two, judge, pair_tests

SIGNS = {"higher": 1, "lower": -1}


@dataclass
class MeasureScores:
    """What one measure says of n questions, gathered line by line."""

    name: str
    rows: tuple[str, ...]
    """Methods; the measure's own name where it is of no method."""
    columns: tuple[Column, ...]
    marks: dict[str, str] = field(default_factory=dict)
    """What a reader must know of a row."""
    questions: list[NDArray[np.float64]] = field(default_factory=list)
    """(rows, columns) of each question, NaN where there is no number."""

    def add(self, lines: Sequence[Line]) -> None:
        """Add one question."""
        values = np.array([[column.value(line) for column in self.columns] for line in lines], np.float64)
        self.questions.append(values.reshape(len(self.rows), len(self.columns)))
        for row, line in zip(self.rows, lines, strict=True):
            if mark := MEASURES[self.name].mark(line):
                self.marks[row] = mark

    def values(self, column: int) -> dict[str, NDArray[np.float64]]:
        """Read (n,) of every row."""
        found = np.stack(self.questions)[..., column]
        return {row: found[:, i] for i, row in enumerate(self.rows)}


@dataclass
class FurtherScores:
    """What the measures beside the published test say, and what all of them cost."""

    measures: tuple[MeasureScores, ...]
    costs: list[Mapping[str, Mapping[str, int]]] = field(default_factory=list)

    def add(self, lines: Sequence[Line]) -> None:
        """Add one question's lines, those of the published test left out."""
        for scores in self.measures:
            scores.add([line for line in lines if line["measure"] == scores.name])
        self.costs += [line["subsets"] for line in lines if line["measure"] == COST["measure"]]


def further_scores(settings: Mapping[str, Any]) -> FurtherScores:
    """Make ready to gather what a run with these settings measures beside the published test."""
    names = [name for name in settings.get("measures", ()) if name != FIRST]
    scope = Scope(*(tuple(settings[name]) for name in ("methods", "modalities", "signs")))
    return FurtherScores(tuple(_empty(name, scope) for name in names))


def _empty(name: str, scope: Scope) -> MeasureScores:
    measure = MEASURES[name]
    columns = tuple(column for column in measure.columns if column.modality is None or column.modality in scope.modalities)
    return MeasureScores(name, tuple(key.get("method", name) for key in measure.keys(scope)), columns)


def measures_table(further: FurtherScores, images: NDArray[np.int64]) -> dict[str, Any]:
    """Build the further measures' part of `table.json`: nothing where only the published test was run."""
    if not further.measures:
        return {}
    return {"measures": {scores.name: _table(scores, images) for scores in further.measures}, "subsets": _subsets(further.costs)}


def _table(scores: MeasureScores, images: NDArray[np.int64]) -> dict[str, Any]:
    values = {column.name: scores.values(i) for i, column in enumerate(scores.columns)}
    estimates = estimate_columns({(name, row): own[row] for name, own in values.items() for row in own}, images)
    compared = {column.name: SIGNS[column.better] for column in scores.columns if column.better and len(scores.rows) > 1}
    groups = [[column.name for column in group] for _, group in groupby(scores.columns, key=lambda column: column.group)]
    return {
        "title": MEASURES[scores.name].title,
        "columns": {column.name: column.better for column in scores.columns},
        "groups": groups,
        "marked": [column.name for column in scores.columns if column.marked],
        "known": {name: int((~np.isnan(np.stack(list(own.values())))).any(0).sum()) for name, own in values.items()},
        "rows": [
            {"method": row, "mark": scores.marks.get(row), "values": {name: estimates[name, row] for name in values}} for row in scores.rows
        ],
        "tests": {
            name: tests
            for group in groups
            for name, tests in pair_tests({name: values[name] for name in group if name in compared}, images).items()
        },
        "power": {name: first_two(values[name], images, sign) for name, sign in compared.items()},
    }


def _subsets(costs: Sequence[Mapping[str, Mapping[str, int]]]) -> dict[str, dict[str, float]]:
    """Compute by measure the means over questions of what `Cost` counts."""
    return {
        measure: {name: round(float(np.mean([cost[measure][name] for cost in costs])), 2) for name in costs[0][measure]}
        for measure in costs[0]
    }


def measure_verdicts(table: Mapping[str, Any]) -> dict[str, Verdict]:
    """Read the columns of one measure's table that compare methods; without those that have no mean."""
    found = {}
    for name, tests in table["tests"].items():
        merit = {row["method"]: row["values"][name]["mean"] for row in table["rows"]}
        if tests and None not in merit.values():
            sign = SIGNS[table["columns"][name]]
            found[name] = judge({method: sign * mean for method, mean in merit.items()}, tests)
    return found


def cell(estimate: Estimate) -> str:
    """Write a mean with its interval."""
    if estimate["mean"] is None:
        return "-"
    return f"{estimate['mean']:.3f}" + (f" [{estimate['low']:.3f}, {estimate['high']:.3f}]" if estimate["low"] is not None else "")


def headings(table: Mapping[str, Any], group: Sequence[str]) -> list[str]:
    """Head the columns of a group of one measure's table: how many questions it is of, and names with an arrow to the better side."""
    arrows = {"higher": " ↑", "lower": " ↓", None: ""}
    known = max(table["known"][name] for name in group)
    return [f"method ({known:,} questions)", *(f"{name}{arrows[table['columns'][name]]}" for name in group)]


def table_rows(table: Mapping[str, Any], group: Sequence[str]) -> Iterable[list[str]]:
    """Write the rows of these columns of one measure's table; a row with a remark has a star."""
    marked = set(group) <= set(table["marked"])
    for row in table["rows"]:
        yield [row["method"] + (" *" if row["mark"] and marked else ""), *(cell(row["values"][name]) for name in group)]


def known_groups(table: Mapping[str, Any]) -> list[list[str]]:
    """List the groups of columns of one measure's table in which some row has a number."""
    return [group for group in table["groups"] if any(row["values"][name]["mean"] is not None for row in table["rows"] for name in group)]


def remarks(table: Mapping[str, Any]) -> list[str]:
    """What the stars of one measure's table mean."""
    marks: dict[str, list[str]] = {}
    for row in table["rows"]:
        if row["mark"]:
            marks.setdefault(row["mark"], []).append(row["method"])
    return [f"Starred ({', '.join(methods)}): {mark}." for mark, methods in marks.items()]


def power_sentence(power: Mapping[str, Any] | None) -> str:
    """Say how many questions would tell the first two methods apart; empty where there are not two."""
    if power is None:
        return ""
    first, second = power["methods"]
    if power["questions"] is None:
        return f" No number of questions would tell {first} from {second}: their means are equal."
    needed = "1 question" if power["questions"] == 1 else f"{power['questions']:,} questions"
    return f" About {needed} would tell {first} from {second}."


def subsets_sentence(subsets: Mapping[str, Mapping[str, float]]) -> str:
    """Say what each measure costs; the time of answering goes with the tokens (docs/methods.md, Cost of the measures)."""
    parts = ", ".join(f"{name} {cost['asked']:.0f}, of them new {cost['new']:.0f}" for name, cost in subsets.items())
    rows, tokens = (sum(cost[what] for cost in subsets.values()) for what in ("new", "tokens"))
    published = subsets[FIRST]["tokens"]
    times = (
        f", with {tokens / published:.1f} times the tokens of the published test alone: about so many times its time" if published else ""
    )
    return f"Distinct subsets answered per question: {parts}; {rows:.0f} in all{times}."
