"""Scores -> the content of `table.json`: AUC with intervals beside the published ones, paired tests, further measures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xai.bench.perturb.plan import STEPS
from xai.bench.perturb.report.scores import PANELS, Scores, panel_name
from xai.bench.perturb.request import FLOOR
from xai.bench.statistics import bootstrap, holm, sign_flips

SCHEMA_VERSION = 1
SIGNIFICANT = 0.05

PUBLISHED: dict[str, tuple[float, float, float, float]] = {
    "relevance-maps": (55.27, 82.97, 31.70, 61.33),
    "transformer-attribution": (55.26, 82.96, 31.72, 61.29),
    "raw-attention": (55.33, 82.49, 36.72, 54.41),
    "grad-cam": (70.95, 73.52, 49.21, 49.83),
    "rollout": (59.96, 82.17, 44.32, 49.93),
    "dsmi": (60.07, 79.47, 45.14, 48.05),
    "dsmi-grad": (54.45, 82.93, 34.75, 57.64),
    "dsmi-grad-attn": (55.45, 82.45, 40.37, 52.38),
}
"""AUC of METER at 576 px on 3,303 questions of VQAv2, in percent, in the order of `PANELS` (docs/methods.md, Perturbation test)."""


class _Columns:
    """Numbers per question, one column for each mean that the table shows, so that all intervals come from the same draws."""

    def __init__(self, images: NDArray[np.int64]) -> None:
        self.images = images
        self.values: dict[tuple[object, ...], NDArray[np.float64]] = {}

    def estimates(self) -> dict[tuple[object, ...], dict[str, float | None]]:
        """Estimate the mean and the 95 % interval of every column; null where no question has a value."""
        low, high = bootstrap(np.stack(list(self.values.values()), 1), self.images)
        return {
            key: {"mean": _mean(values), "low": _rounded(low[k]), "high": _rounded(high[k])}
            for k, (key, values) in enumerate(self.values.items())
        }


def build_table(scores: Scores, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Build the content of `table.json`: numbers that do not exist are null."""
    panels = {panel_name(panel): j for j, panel in enumerate(scores.panels)}
    auc = scores.auc["accuracy"]
    between = {m: (panels[f"{m}-"], panels[f"{m}+"]) for m in settings["modalities"] if len(settings["signs"]) == 2}
    pairs = list(combinations(range(len(scores.methods)), 2))

    columns = _Columns(scores.images)
    columns.values["accuracy",] = scores.unperturbed
    for i in range(len(scores.methods)):
        columns.values |= {("auc", i, panel): auc[:, i, j] for panel, j in panels.items()}
        columns.values |= {("between", i, modality): auc[:, i, low] - auc[:, i, high] for modality, (low, high) in between.items()}
        columns.values |= {("pointing", i): 100 * scores.hits[:, i], ("energy", i): 100 * scores.energy[:, i]}
    columns.values |= {("pair", a, b, panel): auc[:, a, j] - auc[:, b, j] for panel, j in panels.items() for a, b in pairs}
    estimates = columns.estimates()

    methods = [
        {
            "method": method,
            "auc": {panel: estimates["auc", i, panel] for panel in panels},
            "published": _published(method, panels),
            "exact_rounding": {panel: _mean(scores.auc["exact"][:, i, j]) for panel, j in panels.items()},
            "probability": {panel: _mean(scores.auc["probability"][:, i, j]) for panel, j in panels.items()},
            "area_between": {modality: estimates["between", i, modality] for modality in between},
            "pointing": estimates["pointing", i],
            "energy": estimates["energy", i],
            "curves": {panel: scores.curves["accuracy"][i, j].round(4).tolist() for panel, j in panels.items()},
        }
        for i, method in enumerate(scores.methods)
    ]
    tests: dict[str, list[dict[str, Any]]] = {panel: [] for panel in panels}
    for panel in panels if pairs else ():
        p = sign_flips(np.stack([columns.values["pair", a, b, panel] for a, b in pairs], 1), scores.images)
        for (a, b), raw, adjusted in zip(pairs, p, holm(p), strict=True):
            one = estimates["pair", a, b, panel]
            tests[panel].append(
                {
                    "methods": [scores.methods[a], scores.methods[b]],
                    "difference": one["mean"],
                    "low": one["low"],
                    "high": one["high"],
                    "p": round(float(raw), 6),
                    "p_holm": round(float(adjusted), 6),
                }
            )
    return {
        "schema_version": SCHEMA_VERSION,
        "settings": dict(settings),
        "questions": len(scores.indices),
        "images": int(scores.images.max()) + 1,
        "skipped": len(scores.skipped),
        "unknown_labels": settings["unknown_labels"],
        "regions": int((~np.isnan(scores.hits[:, 0])).sum()),
        "accuracy": estimates["accuracy",],
        "steps": list(STEPS),
        "methods": methods,
        "tests": tests,
        "solver": dict(scores.flags),
    }


def _mean(values: NDArray[np.float64]) -> float | None:
    known = values[~np.isnan(values)]
    return round(float(known.mean()), 4) if len(known) else None


def _rounded(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None


def _published(method: str, panels: Mapping[str, int]) -> dict[str, float] | None:
    if method not in PUBLISHED:
        return None
    return {panel_name(p): value for p, value in zip(PANELS, PUBLISHED[method], strict=True) if panel_name(p) in panels}


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
