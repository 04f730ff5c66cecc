"""Priors: how probable the answer is without the picture, and without the words (docs/methods.md, Priors)."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from xai.base.reading import Fields
from xai.bench.measures.measure import Answers, Column, Line, LineKind, Measure, QuestionMaps, rounded
from xai.bench.perturb.plan import Subset

NAMES = ("whole", "no_image", "no_text")


def _subsets(explained: QuestionMaps) -> list[Subset]:
    maps, nothing = explained.maps, np.arange(0)
    return [maps.keep(), maps.keep(image=nothing), maps.keep(text=nothing)]


def _fields(_: QuestionMaps, answers: Answers) -> list[dict[str, Any]]:
    return [{name: rounded(p) for name, p in zip(NAMES, answers.probabilities, strict=True)}]


def _check(fields: Fields) -> None:
    for name in NAMES:
        fields.number(name, 0, 1)


def _value(line: Line, name: str) -> float:
    return float(line[name])


PRIOR = Measure(
    "prior",
    "Priors: probability of the model's answer with everything, without the picture (language prior), and without the words (vision prior)",
    lambda _: [{"measure": "prior"}],
    _subsets,
    _fields,
    LineKind(NAMES, _check),
    tuple(Column(name, partial(_value, name=name), better=None) for name in NAMES),
)
