"""Target contrast: how far the map of the model's answer is from the map of its second answer (docs/methods.md, Target contrast)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xai.base.reading import Fields
from xai.bench.measures.measure import Answers, Column, Line, LineKind, Measure, QuestionMaps, check_modalities, key_per_method, rounded
from xai.bench.perturb.plan import MODALITIES
from xai.runtime.comparison import spearman

Map = NDArray[np.floating]


def rank_distance(one: Map, other: Map) -> float:
    """Compute 1 - Spearman's correlation of two maps (n,), 0 to 2; a map of equal scores is as far from any other as noise: 1."""
    if np.ptp(one) == np.ptp(other) == 0:
        return 0.0
    correlation = spearman(one, other)
    return 1.0 if correlation is None else 1 - correlation


def angle_distance(one: Map, other: Map) -> float:
    """Compute 1 - cosine of two maps (n,), 0 to 2; a map of zeros is as far from any other as noise: 1."""
    a, b = one.astype(np.float64), other.astype(np.float64)
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    if size == 0:
        return float(a.any() != b.any())
    return min(2.0, max(0.0, 1 - float(a @ b) / size))


DISTANCES: dict[str, Callable[[Map, Map], float]] = {"spearman": rank_distance, "cosine": angle_distance}


def _fields(explained: QuestionMaps, _: Answers) -> list[dict[str, Any]]:
    second = explained.runner_up
    assert second is not None  # the row in MEASURES asks for it

    def distances(one: Map, other: Map) -> dict[str, float] | None:
        if len(one) < 2:
            return None  # no order and no angle
        if np.array_equal(one, other):
            return dict.fromkeys(DISTANCES, 0.0)
        return {name: rounded(distance(one, other)) for name, distance in DISTANCES.items()}

    pairs = {modality: list(zip(explained.maps.of(modality), second.of(modality), strict=True)) for modality in explained.scope.modalities}
    return [
        {
            "target": follows,
            "distances": {modality: distances(*pairs[modality][i]) if modality in pairs else None for modality in MODALITIES},
        }
        for i, follows in enumerate(explained.follows_answer)
    ]


def _value(line: Line, modality: str, distance: str) -> float | None:
    distances = line["distances"][modality]
    return distances[distance] if distances else None


def _check(fields: Fields) -> None:
    follows = fields.get("target", bool)
    for inner in check_modalities(fields, "distances"):
        inner.only(*DISTANCES)
        for name in DISTANCES:
            inner.number(name, 0, 2 if follows else 0)


CONTRAST = Measure(
    "contrast",
    "Target contrast: distance of the maps for the model's answer and for its second answer, 1 - Spearman and 1 - cosine",
    key_per_method("contrast"),
    lambda _: [],
    _fields,
    LineKind(("target", "distances"), _check),
    tuple(
        Column(f"{modality} {name}", partial(_value, modality=modality, distance=name), modality=modality)
        for modality in MODALITIES
        for name in DISTANCES
    ),
    mark=lambda line: None if line["target"] else "depends on no answer: 0 by its nature",
    reads_runner_up=True,
)
