"""Relevance against the truth: does a map, or a word's part of it, lie where the thing lies that it should speak of?

docs/methods.md, Truth. The truth is a region (`xai.bench.data.regions`): the share of each patch or box that the thing covers.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xai.base.reading import Fields
from xai.bench.data.regions import WHOLE, Region
from xai.bench.measures.measure import DIGITS, Answers, Column, Line, LineKind, Measure, QuestionMaps, key_per_method, rounded
from xai.bench.measures.pointing import energy_inside, is_hit

SIZES = {"small": 0.02, "medium": 0.1, "large": 1.0}
"""The classes of a region's size, each up to this share (included) of the picture's area and beyond the one before."""


class Truth(NamedTuple):
    """What one map has to do with one region."""

    hit: bool
    """The most relevant place touches the region."""
    mass: float
    """Share of the relevance inside the region, in [0, 1]."""
    rank: float
    """Share of the region that the most relevant places make up, in [0, 1]."""


def judge_map(relevance: NDArray[np.floating], region: Region) -> Truth | None:
    """Hold a map against a region, both (rows, columns) or (N,); None where the region is empty. Relevance below 0 counts as none."""
    if not region.any():
        return None
    positive = np.maximum(relevance, 0)
    return Truth(is_hit(relevance, region), energy_inside(positive, region), relevance_rank(relevance, region))


def judge_words(word_regions: NDArray[np.floating], words: Mapping[int, Region]) -> dict[int, Truth]:
    """Hold what goes with each word of the picture, (words, rows, columns) or (words, N), against the region of the object that it names.

    `words` holds that region by the word's index. A word without a region, or one that the model did not read, is left out.
    """
    judged = {word: judge_map(word_regions[word], region) for word, region in words.items() if word < len(word_regions)}
    return {word: truth for word, truth in judged.items() if truth is not None}


def relevance_rank(relevance: NDArray[np.floating], region: Region) -> float:
    """Compute the share of a region that is found in its own area's worth of the most relevant places, in [0, 1].

    With A = sum(region), places are taken in order of relevance until A of them are, the last one in part; of equals, which no order
    tells apart, each is taken to the same part. What of the region lies in them is divided by the most that any A places hold. Where
    every place is inside or outside as a whole this is the relevance rank accuracy of Arras et al. 2022 (CLEVR-XAI, arXiv 2003.07258).
    """
    most = _gathered(region.ravel(), region.ravel())
    return _gathered(relevance.ravel(), region.ravel()) / most if most > 0 else 0.0


def _gathered(order: NDArray[np.floating], region: Region) -> float:
    """Sum the region (P,) over its area's worth of places, those of the largest `order` (P,) first."""
    _, group, sizes = np.unique(-order, return_inverse=True, return_counts=True)
    inside = np.bincount(group, weights=region)
    before = np.cumsum(sizes) - sizes
    taken = np.clip((region.sum() - before) / sizes, 0, 1)
    return float((taken * inside).sum())


def size_class(share: float) -> str:
    """Name the class in `SIZES` of a region that covers this share of the picture."""
    return next(name for name, most in SIZES.items() if share <= most)


def _fields(explained: QuestionMaps, answers: Answers) -> list[dict[str, Any]]:
    sample, region = explained.sample, explained.region
    right = sample.label.get(answers.names[0], 0.0) > 0
    whole = sample.truth(WHOLE) if region is not None else None
    size = None if whole is None else round(float(whole[0]), DIGITS)

    def line(i: int) -> dict[str, Any]:
        found = None if region is None else judge_map(explained.maps.image[i].reshape(region.shape), region)
        words = _judge_own_words(explained, i)
        return {
            "right": right,
            "size": size if found else None,
            "region": _written(found) if found else None,
            "between": explained.word_maps[i].kind,
            "words": {str(word): _written(truth) for word, truth in sorted(words.items())},
        }

    return [line(i) for i in range(len(explained.scope.methods))]


def _judge_own_words(explained: QuestionMaps, method: int) -> dict[int, Truth]:
    """Hold a method's maps of the words against what the question's words name."""
    words = explained.words
    if not words:
        return {}
    shape = next(iter(words.values())).shape
    return judge_words(explained.word_maps[method].values.reshape(-1, *shape), words)


def _written(truth: Truth) -> dict[str, Any]:
    return {"hit": truth.hit, "mass": rounded(truth.mass), "rank": rounded(truth.rank)}


def _value(line: Line, name: str, size: str | None) -> float | None:
    """Read a number of the region, of rightly answered questions, and of regions of one size where it is named."""
    if not line["right"] or line["region"] is None or (size and size_class(line["size"]) != size):
        return None
    return float(line["region"][name])


def _word_value(line: Line, name: str) -> float | None:
    """Read the mean over the words of a rightly answered question."""
    if not line["right"] or not line["words"]:
        return None
    return float(np.mean([truth[name] for truth in line["words"].values()]))


def _check(fields: Fields) -> None:
    fields.get("right", bool)
    fields.among("between", ("relevance", "affinity"))
    if fields.get("region", dict, type(None)) is not None:
        fields.number("size", 0, 1)
        _check_truth(fields.inner("region"))
    elif fields.get("size", float, int, type(None)) is not None:
        raise fields.refuse("size", "is of a region that is not there")
    words = fields.inner("words")
    for word in words.content:
        if not (word.isdecimal() and word.isascii()):
            raise words.refuse(word, "is not the place of a word")
        _check_truth(words.inner(word))


def _check_truth(fields: Fields) -> None:
    fields.only(*Truth._fields)
    fields.get("hit", bool)
    for name in ("mass", "rank"):
        fields.number(name, 0, 1)


TRUTH = Measure(
    "truth",
    "Truth, of rightly answered questions: pointing hit, relevance mass and relevance rank in the true region; by size of the region; and "
    "of each word's map in the region of what it names",
    key_per_method("truth"),
    lambda explained: [explained.maps.keep()],
    _fields,
    LineKind(("right", "size", "region", "between", "words"), _check),
    (
        *(Column(name, partial(_value, name=name, size=None), marked=False) for name in Truth._fields),
        *(
            Column(f"{size} {name}", partial(_value, name=name, size=size), group=size, marked=False)
            for size in SIZES
            for name in Truth._fields
        ),
        *(Column(f"word {name}", partial(_word_value, name=name), group="word") for name in Truth._fields),
    ),
    mark=lambda line: "a word's map is an affinity of features, the same for every such method" if line["between"] == "affinity" else None,
    reads_words=True,
)
