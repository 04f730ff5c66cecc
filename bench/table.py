"""`results.jsonl` -> the table: AUC with intervals beside the published ones, paired tests, further measures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xai import XaiError
from xai.bench.plan import STEPS
from xai.bench.statistics import bootstrap, holm, sign_flips
from xai.bench.variants import FLOOR

SCHEMA_VERSION = 1
WEIGHTS = np.trapezoid(np.eye(len(STEPS)), STEPS)
"""(steps,): the AUC is the mean accuracy per step, weighted by these: the trapezoid rule over the removed fraction."""
MEASURES = ("accuracy", "exact", "probability")
"""`exact` is the accuracy with counts free of rounding error, `probability` that of the original answer, published counts."""
PANELS = (("image", "positive"), ("image", "negative"), ("text", "positive"), ("text", "negative"))
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
"""AUC of METER at 576 px on 3,303 questions of VQAv2, in percent, in the order of `PANELS` (spec.md, Perturbation test)."""


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


def build(scores: Scores, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The content of `table.json`: numbers that do not exist are null."""
    methods = [
        {
            "method": method,
            "auc": {panel_name(p): _interval(scores.auc["accuracy"][:, i, j], scores.images) for j, p in enumerate(scores.panels)},
            "published": _published(method, scores.panels),
            "exact_rounding": {panel_name(p): _mean(scores.auc["exact"][:, i, j]) for j, p in enumerate(scores.panels)},
            "probability": {panel_name(p): _mean(scores.auc["probability"][:, i, j]) for j, p in enumerate(scores.panels)},
            "area_between": _between(scores, i),
            "pointing": _interval(scores.hits[:, i] * 100, scores.images),
            "energy": _interval(scores.energy[:, i] * 100, scores.images),
            "curves": {panel_name(p): scores.curves["accuracy"][i, j].round(4).tolist() for j, p in enumerate(scores.panels)},
        }
        for i, method in enumerate(scores.methods)
    ]
    return {
        "schema_version": SCHEMA_VERSION,
        "settings": dict(settings),
        "questions": len(scores.indices),
        "images": int(scores.images.max()) + 1,
        "skipped": len(scores.skipped),
        "unknown_labels": settings["unknown_labels"],
        "regions": int((~np.isnan(scores.hits[:, 0])).sum()),
        "accuracy": _interval(scores.unperturbed, scores.images),
        "steps": list(STEPS),
        "methods": methods,
        "tests": {panel_name(p): _tests(scores, j) for j, p in enumerate(scores.panels)},
        "solver": dict(scores.flags),
    }


def _mean(values: NDArray[np.float64]) -> float | None:
    known = values[~np.isnan(values)]
    return round(float(known.mean()), 4) if len(known) else None


def _interval(values: NDArray[np.float64], images: NDArray[np.int64]) -> dict[str, float | None]:
    low, high = bootstrap(values[:, None], images)[:, 0]
    return {"mean": _mean(values), "low": _number(low), "high": _number(high)}


def _number(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None


def _published(method: str, panels: Sequence[tuple[str, str]]) -> dict[str, float] | None:
    if method not in PUBLISHED:
        return None
    return {panel_name(p): PUBLISHED[method][PANELS.index(p)] for p in panels}


def _between(scores: Scores, i: int) -> dict[str, dict[str, float | None]]:
    """AUC of the negative test less that of the positive one, by modality, where both were run."""
    found = {}
    for modality in dict.fromkeys(modality for modality, _ in scores.panels):
        if (modality, "positive") in scores.panels and (modality, "negative") in scores.panels:
            low, high = (scores.auc["accuracy"][:, i, scores.panels.index((modality, s))] for s in ("positive", "negative"))
            found[modality] = _interval(high - low, scores.images)
    return found


def _tests(scores: Scores, j: int) -> list[dict[str, Any]]:
    """Every pair of methods on one panel: difference of the AUC, its interval, and Holm's p of all pairs of the panel."""
    pairs = list(combinations(range(len(scores.methods)), 2))
    if not pairs:
        return []
    values = scores.auc["accuracy"][:, :, j]
    differences = np.stack([values[:, a] - values[:, b] for a, b in pairs], 1)
    low, high = bootstrap(differences, scores.images)
    p = sign_flips(differences, scores.images)
    return [
        {
            "methods": [scores.methods[a], scores.methods[b]],
            "difference": round(float(differences[:, k].mean()), 4),
            "low": _number(low[k]),
            "high": _number(high[k]),
            "p": round(float(p[k]), 6),
            "p_holm": round(float(adjusted), 6),
        }
        for k, ((a, b), adjusted) in enumerate(zip(pairs, holm(p), strict=True))
    ]


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


def markdown(table: Mapping[str, Any]) -> str:
    """`table.md`: the published layout, this run's numbers with intervals beside the published ones, and how to read them."""
    panels = list(table["tests"])
    settings = table["settings"]
    heads = [f"{panel} {'↓' if panel.endswith('+') else '↑'}" for panel in panels]
    parts = [
        f"Perturbation test: AUC of the accuracy over the removed fraction, in percent, with 95 % intervals "
        f"({table['questions']:,} questions on {table['images']:,} images of {settings['data']}, seed {settings['seed']}; "
        f"accuracy with nothing removed {_cell(table['accuracy'])}).",
        _rows(
            ["method", *(text for head in heads for text in (head, "published"))],
            ([r["method"], *(cell for p in panels for cell in (_cell(r["auc"][p]), _published_cell(r, p)))] for r in table["methods"]),
        ),
        "Published: METER at 576 px on 3,303 questions of VQAv2, another model on other questions unless this run used them.",
        "What the paired tests say (sign flips over images, Holm over all pairs of a column, 5 %):",
        "\n".join(f"- {panel}: {_sentence(verdict(table, panel))}" for panel in panels),
        "Further measures: area between the negative and the positive curve; AUC with exact rounding; AUC of the original answer's "
        f"probability; pointing game and energy inside the true region ({table['regions']:,} questions with one), in percent.",
        _further(table, panels),
    ]
    parts += _remarks(table)
    return "\n\n".join(parts) + "\n"


def _further(table: Mapping[str, Any], panels: Sequence[str]) -> str:
    modalities = list(table["methods"][0]["area_between"])
    heads = ["method", *(f"{m}: between" for m in modalities), *(f"{p} exact" for p in panels), *(f"{p} probability" for p in panels)]
    rows = [
        [
            r["method"],
            *(_cell(r["area_between"][m]) for m in modalities),
            *(_plain(r["exact_rounding"][p]) for p in panels),
            *(_plain(r["probability"][p]) for p in panels),
            _cell(r["pointing"]),
            _cell(r["energy"]),
        ]
        for r in table["methods"]
    ]
    return _rows([*heads, "pointing", "energy"], rows)


def _remarks(table: Mapping[str, Any]) -> list[str]:
    found = []
    if table["skipped"]:
        found.append(f"{table['skipped']:,} questions could not be used and are left out.")
    if table["unknown_labels"]:
        found.append(f"{table['unknown_labels']:,} questions have no true answer that the model can give: they score 0.")
    if table["solver"]:
        counted = ", ".join(f"{name} ({count:,})" for name, count in table["solver"].items())
        found.append(f"Graphs without a simple solution, by method: {counted}.")
    return found


def _sentence(found: Verdict) -> str:
    text = f"{found.best} is best" + (f", not told apart from {_list(found.tied)}" if found.tied else ", ahead of every other method")
    if found.best == FLOOR:
        return f"{text}: no method is shown to beat it."
    return f"{text}. Not shown to beat {FLOOR}: {_list(found.no_better) if found.no_better else 'none'}."


def _list(names: Sequence[str]) -> str:
    return ", ".join(names)


def _cell(value: Mapping[str, float | None]) -> str:
    if value["mean"] is None:
        return "-"
    return f"{value['mean']:.2f}" + (f" [{value['low']:.1f}, {value['high']:.1f}]" if value["low"] is not None else "")


def _published_cell(row: Mapping[str, Any], panel: str) -> str:
    return f"{row['published'][panel]:.2f}" if row["published"] else "-"


def _plain(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _rows(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
