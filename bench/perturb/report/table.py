"""Scores -> the content of `table.json`: AUC with intervals beside the published ones, paired tests, further measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xai.bench.perturb.plan import MODALITIES, STEPS
from xai.bench.perturb.report.published import published_figures
from xai.bench.perturb.report.scores import Scores, panel_name
from xai.bench.perturb.request import FLOOR
from xai.bench.statistics import bootstrap, holm, sign_flips

SCHEMA_VERSION = 1
SIGNIFICANT = 0.05

Column = tuple[str, ...]
"""Says what a column holds, such as ("auc", "dsmi", "image+") or ("pair", "dsmi", "rollout", "image+")."""
Estimate = dict[str, float | None]
"""A mean with its 95 % interval: `mean`, `low` and `high`, null where no question has a value."""


def build_table(scores: Scores, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Build the content of `table.json`: numbers that do not exist are null."""
    columns = _gather_columns(scores)
    estimates = _estimate_columns(columns, scores.images)
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
        "tests": {panel_name(panel): _test_pairs(panel_name(panel), scores, columns, estimates) for panel in scores.panels},
        "solver": dict(scores.flags),
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
    for j, panel in enumerate(panels):
        for (a, first), (b, second) in combinations(enumerate(scores.methods), 2):
            columns["pair", first, second, panel] = auc[:, a, j] - auc[:, b, j]
    return columns


def _both_signs(panels: Sequence[str]) -> list[str]:
    """List the modalities whose positive and negative tests were both run."""
    return [modality for modality in MODALITIES if {f"{modality}+", f"{modality}-"} <= set(panels)]


def _estimate_columns(columns: Mapping[Column, NDArray[np.float64]], images: NDArray[np.int64]) -> dict[Column, Estimate]:
    """Estimate every column's mean; `images` (n,) numbers each question's image, by which the questions are drawn."""
    low, high = bootstrap(np.stack(list(columns.values()), 1), images)
    return {
        column: {"mean": _mean(values), "low": _rounded(low[k]), "high": _rounded(high[k])}
        for k, (column, values) in enumerate(columns.items())
    }


def _method_row(i: int, scores: Scores, estimates: Mapping[Column, Estimate], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Build the row of method number i."""
    method = scores.methods[i]
    panels = {panel_name(panel): j for j, panel in enumerate(scores.panels)}
    return {
        "method": method,
        "auc": {panel: estimates["auc", method, panel] for panel in panels},
        **_published(method, panels, settings),
        "exact_rounding": {panel: _mean(scores.auc["exact"][:, i, j]) for panel, j in panels.items()},
        "probability": {panel: _mean(scores.auc["probability"][:, i, j]) for panel, j in panels.items()},
        "area_between": {modality: estimates["between", method, modality] for modality in _both_signs(list(panels))},
        "pointing": estimates["pointing", method],
        "energy": estimates["energy", method],
        "curves": {panel: scores.curves["accuracy"][i, j].round(4).tolist() for panel, j in panels.items()},
    }


def _test_pairs(
    panel: str, scores: Scores, columns: Mapping[Column, NDArray[np.float64]], estimates: Mapping[Column, Estimate]
) -> list[dict[str, Any]]:
    """Test every pair of methods on one panel, corrected for all of them."""
    pairs = list(combinations(scores.methods, 2))
    if not pairs:
        return []
    p = sign_flips(np.stack([columns["pair", first, second, panel] for first, second in pairs], 1), scores.images)
    found = []
    for (first, second), raw, adjusted in zip(pairs, p, holm(p), strict=True):
        difference = estimates["pair", first, second, panel]
        found.append(
            {
                "methods": [first, second],
                "difference": difference["mean"],
                "low": difference["low"],
                "high": difference["high"],
                "p": round(float(raw), 6),
                "p_holm": round(float(adjusted), 6),
            }
        )
    return found


def _mean(values: NDArray[np.float64]) -> float | None:
    known = values[~np.isnan(values)]
    return round(float(known.mean()), 4) if len(known) else None


def _rounded(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None


def _published(method: str, panels: Mapping[str, int], settings: Mapping[str, Any]) -> dict[str, Any]:
    """What was published of a method, as part of its row: areas, and where there are any, curves."""
    figures = published_figures(settings)
    if figures is None or method not in figures.areas:
        return {"published": None}
    found: dict[str, Any] = {"published": {panel: figures.areas[method][panel] for panel in panels}}
    if method in figures.curves:
        found["published_curves"] = {panel: list(figures.curves[method][panel]) for panel in panels}
    return found


@dataclass(frozen=True)
class Verdict:
    """What the paired tests say about one panel."""

    best: str
    tied: tuple[str, ...]
    """Methods that cannot be told from the best."""
    no_better: tuple[str, ...]
    """Methods that are not shown to be better than the floor."""


def verdict(table: Mapping[str, Any], panel: str) -> Verdict:
    """Read one panel: lower is better where it ends with `+`, higher where it ends with `-`."""
    sign = -1 if panel.endswith("+") else 1
    merit = {row["method"]: sign * row["auc"][panel]["mean"] for row in table["methods"]}
    best = max(merit, key=lambda name: merit[name])
    p = {frozenset(test["methods"]): test["p_holm"] for test in table["tests"][panel]}
    tied = tuple(name for name in merit if name != best and p[frozenset((name, best))] >= SIGNIFICANT)
    floor = tuple(name for name in merit if name != FLOOR and (p[frozenset((name, FLOOR))] >= SIGNIFICANT or merit[name] <= merit[FLOOR]))
    return Verdict(best, tied, floor)
