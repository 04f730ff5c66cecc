"""`table.json` -> its columns: what the page shows of every method, sorts by, and draws on one chart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from xai.bench.perturb.report.measures import known_groups

Better = Literal["higher", "lower"] | None


@dataclass(frozen=True)
class Shown:
    """A column: one number a method, with its interval where it has one."""

    name: str
    better: Better
    values: Mapping[str, Mapping[str, float | None]]
    """Method -> `mean`, `low` and `high`, None where there is no number."""
    digits: int = 2
    """Behind the point."""
    published: Mapping[str, float] = field(default_factory=dict)
    """Method -> what was published."""

    @property
    def best(self) -> str | None:
        """The method with the best mean; None where no side is better, or only one method has a number."""
        sign = {"higher": 1, "lower": -1}.get(self.better or "")
        known = {name: value["mean"] for name, value in self.values.items() if value["mean"] is not None}
        return max(known, key=lambda name: sign * known[name]) if sign and len(known) > 1 else None


@dataclass(frozen=True)
class Group:
    """Columns of one measure."""

    title: str
    columns: tuple[Shown, ...]

    def content(self) -> dict[str, Any]:
        """Write it for the page's script."""
        return {"title": self.title, "columns": [{**asdict(column), "best": column.best} for column in self.columns]}


def table_groups(table: Mapping[str, Any]) -> list[Group]:
    """List the columns of a table by measure, those of the published test first; groups without a number are left out."""
    groups = [
        Group("Area under the accuracy, %", tuple(_panel(table, "auc", panel) for panel in table["tests"])),
        Group(
            "Area between the two curves, %", tuple(_estimate(table, "area_between", name) for name in table["methods"][0]["area_between"])
        ),
        Group("Area under the probability of the answer, %", tuple(_panel(table, "probability", panel) for panel in table["tests"])),
        Group("Area with exact rounding, %", tuple(_panel(table, "exact_rounding", panel) for panel in table["tests"])),
        Group("Where the true region is known, %", (_single(table, "pointing"), _single(table, "energy"))),
        *(group for measure in table.get("measures", {}).values() for group in _further(measure, len(table["methods"]))),
    ]
    return [group for group in groups if any(value["mean"] is not None for column in group.columns for value in column.values.values())]


def _panel(table: Mapping[str, Any], key: str, panel: str) -> Shown:
    values = {row["method"]: row[key][panel] for row in table["methods"]}
    known = {method: value if isinstance(value, Mapping) else _alone(value) for method, value in values.items()}
    published = {row["method"]: row["published"][panel] for row in table["methods"] if key == "auc" and row["published"]}
    return Shown(panel, "lower" if panel.endswith("+") else "higher", known, published=published)


def _estimate(table: Mapping[str, Any], key: str, name: str) -> Shown:
    return Shown(name, "higher", {row["method"]: row[key][name] for row in table["methods"]})


def _single(table: Mapping[str, Any], key: str) -> Shown:
    return Shown(key, "higher", {row["method"]: row[key] for row in table["methods"]})


def _further(measure: Mapping[str, Any], methods: int) -> list[Group]:
    """The columns of a measure beside the published test, by the questions that they are of; one that is of no method has none here."""
    if len(measure["rows"]) != methods:
        return []
    found, groups = [], known_groups(measure)
    for names in groups:
        known = max(measure["known"][name] for name in names)
        columns = (Shown(name, measure["columns"][name], _values(measure, name), digits=3) for name in names)
        title = measure["title"] if len(groups) == 1 else f"{measure['title'].partition(':')[0]}: {', '.join(names)}"
        found.append(Group(f"{title} ({known:,} questions)", tuple(columns)))
    return found


def _values(measure: Mapping[str, Any], name: str) -> dict[str, Mapping[str, float | None]]:
    return {row["method"]: row["values"][name] for row in measure["rows"]}


def _alone(value: float | None) -> dict[str, float | None]:
    return {"mean": value, "low": None, "high": None}
