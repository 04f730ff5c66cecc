"""`results.jsonl` -> arrays: what every question scored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xai.base.errors import XaiError
from xai.bench.perturb.plan import STEPS

WEIGHTS = np.trapezoid(np.eye(len(STEPS)), STEPS)
"""(steps,): the AUC is the mean accuracy per step, weighted by these: the trapezoid rule over the removed fraction."""
MEASURES = ("accuracy", "exact", "probability")
"""`exact` is the accuracy with counts free of rounding error, `probability` that of the original answer, published counts."""
PANELS = (("image", "positive"), ("image", "negative"), ("text", "positive"), ("text", "negative"))


@dataclass(frozen=True)
class Scores:
    """What the lines of n questions hold, for m methods and the p panels that were run."""

    methods: tuple[str, ...]
    panels: tuple[tuple[str, str], ...]
    indices: NDArray[np.int64]
    """(n,): each question's place in the run."""
    images: NDArray[np.int64]
    """(n,): number of each question's image."""
    auc: Mapping[str, NDArray[np.float64]]
    """Measure -> (n, m, p) in percent."""
    curves: Mapping[str, NDArray[np.float64]]
    """Measure -> mean (m, p, steps) in percent."""
    hits: NDArray[np.float64]
    """(n, m): 1 where the most relevant patch lies in the true region, NaN where that is unknown."""
    energy: NDArray[np.float64]
    """(n, m): share of the relevance inside the true region, or NaN."""
    unperturbed: NDArray[np.float64]
    """(n,): accuracy with nothing removed, in percent."""
    skipped: tuple[str, ...]
    """Why questions were left out, one reason each."""
    flags: Mapping[str, int]
    """How often a graph had no simple solution, by method and status."""


def panel_name(panel: tuple[str, str]) -> str:
    """Such as `image+`."""
    return panel[0] + ("+" if panel[1] == "positive" else "-")


def method_name(line: Mapping[str, Any]) -> str:
    """A variant's name from its line."""
    return f"{line['method']}@all" if line["layers"] == "all" else line["method"]


def read_scores(lines: Iterable[Mapping[str, Any]], settings: Mapping[str, Any]) -> Scores:
    """Gather the lines of one run. Raises `XaiError` where no question could be used."""
    methods = tuple(settings["methods"])
    panels = tuple(p for p in PANELS if p[0] in settings["modalities"] and p[1] in settings["signs"])
    places = {(method, panel): (i, j) for i, method in enumerate(methods) for j, panel in enumerate(panels)}
    shape = len(methods), len(panels)
    totals = {measure: np.zeros((*shape, len(STEPS))) for measure in MEASURES}
    auc: dict[str, list[NDArray[np.float64]]] = {measure: [] for measure in MEASURES}
    indices: list[int] = []
    images: dict[str, int] = {}
    of_image: list[int] = []
    hits, energy, unperturbed, skipped = [], [], [], []
    flags: dict[str, int] = {}
    for line in lines:
        if "skipped" in line:
            skipped.append(line["skipped"])
            continue
        if not indices or line["index"] != indices[-1]:
            indices.append(line["index"])
            of_image.append(images.setdefault(line["image"], len(images)))
            for measure in MEASURES:
                auc[measure].append(np.full(shape, np.nan))
            hits.append(np.full(shape[0], np.nan))
            energy.append(np.full(shape[0], np.nan))
            unperturbed.append(line["accuracies"][0])
        name = method_name(line)
        i, j = places[name, (line["modality"], line["sign"])]
        values = {
            "accuracy": line["accuracies"],
            "exact": (line["exact"] or line)["accuracies"],
            "probability": line["probabilities"],
        }
        for measure, steps in values.items():
            totals[measure][i, j] += steps
            auc[measure][-1][i, j] = 100 * WEIGHTS @ np.array(steps)
        if line["pointing"]:
            hits[-1][i], energy[-1][i] = line["pointing"]["hit"], line["pointing"]["energy"]
        if line["sign"] == settings["signs"][0]:
            for status in line["solver"].values():
                key = f"{name}: {status}"
                flags[key] = flags.get(key, 0) + 1
    if not indices:
        raise XaiError("no question of the run could be used: there is nothing to show")
    return Scores(
        methods,
        panels,
        np.array(indices),
        np.array(of_image),
        {measure: np.stack(found) for measure, found in auc.items()},
        {measure: 100 * total / len(indices) for measure, total in totals.items()},
        np.stack(hits),
        np.stack(energy),
        100 * np.array(unperturbed),
        tuple(skipped),
        dict(sorted(flags.items())),
    )
