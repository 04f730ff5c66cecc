"""Scores -> the content of `table.json`: AUC with intervals beside the published ones, paired tests, further measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xai.bench.perturb.plan import MODALITIES, STEPS
from xai.bench.perturb.report.estimates import Estimate, Verdict, estimate_columns, first_two, judge, mean_known, pair_tests
from xai.bench.perturb.report.measures import measures_table
from xai.bench.perturb.report.published import published_figures
from xai.bench.perturb.report.scores import Scores, panel_name

SCHEMA_VERSION = 1

Column = tuple[str, ...]
"""Says what a column holds, such as ("auc", "dsmi", "image+")."""


def build_table(scores: Scores, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Build the content of `table.json`: numbers that do not exist are null."""
    columns = _gather_columns(scores)
    estimates = estimate_columns(columns, scores.images)
    areas = {panel: {method: columns["auc", method, panel] for method in scores.methods} for panel in map(panel_name, scores.panels)}
    return {
        "schema_version": SCHEMA_VERSION,
        "settings": dict(settings),
        "questions": len(scores.indices),
        "images": int(scores.images.max()) + 1,
        "skipped": len(scores.skipped),
        "unknown_labels": settings["unknown_labels"],
        "regions": int((~np.isnan(scores.hits[:, 0])).sum()),
        "accuracy": estimates[("accuracy",)],
        "steps": list(STEPS),
        "methods": [_method_row(i, scores, estimates, settings) for i in range(len(scores.methods))],
        "tests": {panel: pair_tests({panel: own}, scores.images)[panel] for panel, own in areas.items()},
        "power": {panel: first_two(own, scores.images, panel_sign(panel)) for panel, own in areas.items()},
        "solver": dict(scores.flags),
        **measures_table(scores.further, scores.images),
    }


def _gather_columns(scores: Scores) -> dict[Column, NDArray[np.float64]]:
    """Gather the numbers per question (n,) of every mean that the table shows, so that all intervals come from the same draws."""
    auc = scores.auc["accuracy"]
    panels = [panel_name(panel) for panel in scores.panels]
    columns: dict[Column, NDArray[np.float64]] = {("accuracy",): scores.unperturbed}
    for i, method in enumerate(scores.methods):
        for j, panel in enumerate(panels):
            columns["auc", method, panel] = auc[:, i, j]
        for modality in _both_signs(panels):
            columns["between", method, modality] = auc[:, i, panels.index(f"{modality}-")] - auc[:, i, panels.index(f"{modality}+")]
        columns["pointing", method] = 100 * scores.hits[:, i]
        columns["energy", method] = 100 * scores.energy[:, i]
    return columns


def _both_signs(panels: Sequence[str]) -> list[str]:
    """List the modalities whose positive and negative tests were both run."""
    return [modality for modality in MODALITIES if {f"{modality}+", f"{modality}-"} <= set(panels)]


def _method_row(i: int, scores: Scores, estimates: Mapping[Column, Estimate], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Build the row of method number i."""
    method = scores.methods[i]
    panels = {panel_name(panel): j for j, panel in enumerate(scores.panels)}
    return {
        "method": method,
        "auc": {panel: estimates["auc", method, panel] for panel in panels},
        **_published(method, panels, settings),
        "exact_rounding": {panel: mean_known(scores.auc["exact"][:, i, j]) for panel, j in panels.items()},
        "probability": {panel: mean_known(scores.auc["probability"][:, i, j]) for panel, j in panels.items()},
        "area_between": {modality: estimates["between", method, modality] for modality in _both_signs(list(panels))},
        "pointing": estimates["pointing", method],
        "energy": estimates["energy", method],
        "curves": {panel: scores.curves["accuracy"][i, j].round(4).tolist() for panel, j in panels.items()},
    }


def _published(method: str, panels: Mapping[str, int], settings: Mapping[str, Any]) -> dict[str, Any]:
    """What was published of a method, as part of its row: areas, and where there are any, curves."""
    figures = published_figures(settings)
    if figures is None or method not in figures.areas:
        return {"published": None}
    found: dict[str, Any] = {"published": {panel: figures.areas[method][panel] for panel in panels}}
    if method in figures.curves:
        found["published_curves"] = {panel: list(figures.curves[method][panel]) for panel in panels}
    return found


def verdict(table: Mapping[str, Any], panel: str) -> Verdict:
    """Read one panel: lower is better where it ends with `+`, higher where it ends with `-`."""
    sign = panel_sign(panel)
    return judge({row["method"]: sign * row["auc"][panel]["mean"] for row in table["methods"]}, table["tests"][panel])


def panel_sign(panel: str) -> int:
    """1 where higher is better, -1 where lower is."""
    return -1 if panel.endswith("+") else 1
