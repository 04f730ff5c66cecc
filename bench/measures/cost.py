"""What the measures of a question cost: the distinct subsets that each of them has answered (docs/methods.md, Cost of the measures)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xai.base.reading import MEGABYTE, Fields
from xai.bench.measures.measure import LineKind
from xai.bench.perturb.plan import Cost

COST = {"measure": "cost"}
"""The key of the line; every question has one where more than the published test is measured."""


def cost_fields(costs: Mapping[str, Cost]) -> dict[str, Any]:
    """Make the fields of the line: by measure, what `Cost` says."""
    return {"subsets": {measure: cost._asdict() for measure, cost in costs.items()}}


def cost_line(measures: Sequence[str]) -> LineKind:
    """Say what the line of a run with these measures holds."""

    def check(fields: Fields) -> None:
        subsets = fields.inner("subsets")
        subsets.only(*measures)
        for measure in measures:
            cost = subsets.inner(measure)
            cost.only(*Cost._fields)
            asked = cost.integer("asked", 0, MEGABYTE)
            cost.integer("new", 0, asked)
            cost.integer("tokens", 0, MEGABYTE**2)

    return LineKind(("subsets",), check)
