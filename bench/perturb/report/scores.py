"""`results.jsonl` -> arrays: what every question scored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xai.base.errors import XaiError
from xai.bench.perturb.plan import STEPS
from xai.bench.perturb.report.measures import FurtherScores, further_scores

AUC_WEIGHTS = np.trapezoid(np.eye(len(STEPS)), STEPS)
"""(steps,): the AUC is the mean accuracy per step, weighted by these: the trapezoid rule over the removed fraction."""
QUANTITIES = ("accuracy", "exact", "probability")
"""`exact` is the accuracy with counts free of rounding error, `probability` that of the original answer, published counts."""
PANELS = (("image", "positive"), ("image", "negative"), ("text", "positive"), ("text", "negative"))

Line = Mapping[str, Any]


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
    """Quantity -> (n, m, p) in percent."""
    curves: Mapping[str, NDArray[np.float64]]
    """Quantity -> mean (m, p, steps) in percent."""
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
    further: FurtherScores
    """What the measures beside the published test say."""


def panel_name(panel: tuple[str, str]) -> str:
    """Name a panel, such as `image+`."""
    return panel[0] + ("+" if panel[1] == "positive" else "-")


@dataclass
class _Gathered:
    """What is gathered of a run, question by question; the arrays' last axes are methods and panels."""

    methods: tuple[str, ...]
    panels: tuple[tuple[str, str], ...]
    totals: dict[str, NDArray[np.float64]]
    indices: list[int] = field(default_factory=list)
    images: dict[str, int] = field(default_factory=dict)
    image_numbers: list[int] = field(default_factory=list)
    auc: dict[str, list[NDArray[np.float64]]] = field(default_factory=lambda: {name: [] for name in QUANTITIES})
    hits: list[NDArray[np.float64]] = field(default_factory=list)
    energy: list[NDArray[np.float64]] = field(default_factory=list)
    unperturbed: list[float] = field(default_factory=list)
    flags: Counter[str] = field(default_factory=Counter)

    def add(self, lines: Sequence[Line], first_sign: str) -> None:
        """Add one question's lines of the published test; the solver's flags are the same for either sign and count once."""
        first = lines[0]
        self.indices.append(first["index"])
        self.image_numbers.append(self.images.setdefault(first["image"], len(self.images)))
        self.unperturbed.append(first["accuracies"][0])
        areas = {name: np.full((len(self.methods), len(self.panels)), np.nan) for name in QUANTITIES}
        hits, energy = np.full(len(self.methods), np.nan), np.full(len(self.methods), np.nan)
        for line in lines:
            i, j = self.methods.index(line["method"]), self.panels.index((line["modality"], line["sign"]))
            values = {
                "accuracy": line["accuracies"],
                "exact": (line["exact"] or line)["accuracies"],
                "probability": line["probabilities"],
            }
            for name, steps in values.items():
                self.totals[name][i, j] += steps
                areas[name][i, j] = 100 * AUC_WEIGHTS @ np.array(steps)
            if line["pointing"]:
                hits[i], energy[i] = line["pointing"]["hit"], line["pointing"]["energy"]
            if line["sign"] == first_sign:
                self.flags.update(f"{line['method']}: {status}" for status in line["solver"].values())
        for name in QUANTITIES:
            self.auc[name].append(areas[name])
        self.hits.append(hits)
        self.energy.append(energy)


def read_scores(questions: Iterable[Sequence[Line]], settings: Mapping[str, Any]) -> Scores:
    """Gather the lines of each question of one run. Raises `XaiError` where no question could be used."""
    methods = tuple(settings["methods"])
    panels = tuple(p for p in PANELS if p[0] in settings["modalities"] and p[1] in settings["signs"])
    gathered = _Gathered(methods, panels, {name: np.zeros((len(methods), len(panels), len(STEPS))) for name in QUANTITIES})
    further = further_scores(settings)
    skipped = []
    for lines in questions:
        if "skipped" in lines[0]:
            skipped.append(lines[0]["skipped"])
        else:
            own = [line for line in lines if "measure" not in line]
            gathered.add(own, settings["signs"][0])
            further.add(lines[len(own) :])
    if not gathered.indices:
        raise XaiError(f"no question of the run could be used, the first because {skipped[0]}")
    return Scores(
        methods,
        panels,
        np.array(gathered.indices),
        np.array(gathered.image_numbers),
        {name: np.stack(found) for name, found in gathered.auc.items()},
        {name: 100 * total / len(gathered.indices) for name, total in gathered.totals.items()},
        np.stack(gathered.hits),
        np.stack(gathered.energy),
        100 * np.array(gathered.unperturbed),
        tuple(skipped),
        dict(sorted(gathered.flags.items())),
        further,
    )
