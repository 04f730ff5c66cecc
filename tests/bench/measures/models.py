"""Models by hand: how probable the explained answer is, given the patches and words that stay, in closed form."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from xai.bench.data.sample import Sample
from xai.bench.measures.measure import Answers, Measure, QuestionMaps, Scope
from xai.bench.perturb.plan import MODALITIES, SIGNS, Maps

Model = Callable[[frozenset[int], frozenset[int]], float]
SAMPLE = Sample("0", "a", "what?", {"yes": 1.0}, lambda: "a.png")


def question(
    image: Sequence[Sequence[float]],
    text: Sequence[Sequence[float]],
    modalities: Sequence[str] = MODALITIES,
    second: Maps | None = None,
    follows: Sequence[bool] | None = None,
) -> QuestionMaps:
    """A question explained by as many methods as there are maps."""
    maps = Maps(*(tuple(np.array(one, np.float64) for one in maps) for maps in (image, text)))
    scope = Scope(tuple(f"m{i}" for i in range(len(image))), tuple(modalities), SIGNS)
    follows = follows or [True] * len(image)
    return QuestionMaps(SAMPLE, scope, maps, tuple(follows), ({"image": {}, "text": {}},) * len(image), None, second)


def lines_of(measure: Measure, asked: QuestionMaps, model: Model) -> list[dict[str, Any]]:
    """What the measure writes of a question that `model` answers."""
    subsets = measure.subsets(asked)
    p = np.array([model(frozenset(one.image.tolist()), frozenset(one.text.tolist())) for one in subsets])
    lines = measure.fields(asked, Answers(["yes"] * len(subsets), p))
    assert len(lines) == len(measure.keys(asked.scope))
    return lines


def values_of(measure: Measure, asked: QuestionMaps, model: Model, column: str) -> list[float | None]:
    """One of the measure's numbers for each method."""
    (found,) = (one for one in measure.columns if one.name == column)
    return [found.value(line) for line in lines_of(measure, asked, model)]


def both_needed(patch: int, word: int, base: float, gain: float) -> Model:
    """The answer rests on one patch and one word, which say nothing alone."""
    return lambda image, text: base + gain * (patch in image and word in text)


def either_will_do(patch: int, word: int, base: float, gain: float) -> Model:
    """The patch says what the word says."""
    return lambda image, text: base + gain * (patch in image or word in text)


def additive(patches: Sequence[float], words: Sequence[float]) -> Model:
    """Each patch and each word adds its own share, all of them at most 1."""
    return lambda image, text: sum(patches[i] for i in image) + sum(words[i] for i in text)


def arbitrary(seed: int) -> Model:
    """Any number for any subset, always the same."""
    return lambda image, text: random.Random(f"{seed} {sorted(image)} {sorted(text)}").random()


def peak(n: int, place: int) -> list[float]:
    """A map that knows one place alone."""
    return [float(i == place) for i in range(n)]


def falling(n: int) -> list[float]:
    """Distinct scores, the first the highest, which add up to 1."""
    weights = list(accumulate([1.0] * n))[::-1]
    return [w / sum(weights) for w in weights]
