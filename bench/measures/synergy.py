"""Synergistic faithfulness: does a method find the patches and words that only speak together?

arXiv 2605.22168; docs/methods.md, Synergistic faithfulness.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xai.base.reading import Fields
from xai.bench.measures.measure import (
    DIGITS,
    Answers,
    Column,
    Line,
    LineKind,
    Measure,
    QuestionMaps,
    check_numbers,
    key_per_method,
    rounded,
)
from xai.bench.perturb.plan import Subset, keeping_order

STEPS = tuple(i / 10 for i in range(11))
"""Fractions of the patches, and of the words, that count as the most relevant."""
LEAST_GAIN = 0.05
"""The normalised form divides by what both modalities add to the answer's probability, but at least by this."""

_JOINT_ALONE = 6
"""Subsets of a step: both modalities, the image alone and the text alone, inserted and deleted."""


@cache
def top_counts(n: int) -> tuple[int, ...]:
    """Count the most relevant of n tokens at each of `STEPS`: rounded, a half to the even number."""
    return tuple(round(Fraction(i, 10) * n) for i in range(len(STEPS)))


def _subsets(explained: QuestionMaps) -> list[Subset]:
    """List (I_k, T_k), (I_k, 0), (0, T_k), (I less I_k, T less T_k), (I less I_k, T), (I, T less T_k) for every method and step."""
    maps, found = explained.maps, []
    for image, text in zip(maps.image, maps.text, strict=True):
        patches, words = keeping_order(image, "negative"), keeping_order(text, "negative")
        for k, n in zip(top_counts(len(patches)), top_counts(len(words)), strict=True):
            found += [
                maps.keep(image=patches[:k], text=words[:n]),
                maps.keep(image=patches[:k], text=words[:0]),
                maps.keep(image=patches[:0], text=words[:n]),
                maps.keep(image=patches[k:], text=words[n:]),
                maps.keep(image=patches[k:]),
                maps.keep(text=words[n:]),
            ]
    return found


def _fields(explained: QuestionMaps, answers: Answers) -> list[dict[str, Any]]:
    p = answers.probabilities.reshape(len(explained.scope.methods), len(STEPS), _JOINT_ALONE)
    nothing, whole = p[0, 0, 0], p[0, -1, 0]
    insertion = p[..., 0] - p[..., 1] - p[..., 2] + nothing
    deletion = p[..., 3] - p[..., 4] - p[..., 5] + whole
    return [
        {
            "whole": rounded(whole),
            "nothing": rounded(nothing),
            "insertion": [rounded(value) for value in inserted],
            "deletion": [rounded(value) for value in deleted],
        }
        for inserted, deleted in zip(insertion, deletion, strict=True)
    ]


def _curves(line: Line) -> tuple[NDArray[np.float64], float]:
    """Insertion and deletion (2, steps), and what they are divided by to be normalised."""
    return np.array([line["insertion"], line["deletion"]]), max(abs(line["whole"] - line["nothing"]), LEAST_GAIN)


def raw(line: Line) -> float:
    """Compute F_syn, the area under the mean of insertion and deletion, from -2 to 2."""
    return float(np.trapezoid(_curves(line)[0].mean(0), STEPS))


def unclipped(line: Line) -> float:
    """Compute F_syn divided by what both modalities add to the answer's probability."""
    return raw(line) / _curves(line)[1]


def normalised(line: Line) -> float:
    """Compute the same with both curves clipped to [0, 1] before they are averaged, as published."""
    curves, gain = _curves(line)
    return float(np.trapezoid(np.clip(curves / gain, 0, 1).mean(0), STEPS))


def _check(fields: Fields) -> None:
    for name in ("whole", "nothing"):
        fields.number(name, 0, 1)
    inserted, deleted = (check_numbers(fields, name, len(STEPS), -2, 2) for name in ("insertion", "deletion"))
    if inserted[0] != 0 or deleted[0] != 0:
        raise fields.refuse("insertion" if inserted[0] else "deletion", "does not begin with 0")
    if abs(inserted[-1] - deleted[-1]) > 2.5 * 10**-DIGITS:
        raise fields.refuse("deletion", "does not end as 'insertion' does")


SYNERGY = Measure(
    "synergy",
    "Synergistic faithfulness F_syn: insertion and deletion of both modalities together, in probability of the explained answer",
    key_per_method("synergy"),
    _subsets,
    _fields,
    LineKind(("whole", "nothing", "insertion", "deletion"), _check),
    (Column("raw", raw), Column("normalised", normalised), Column("unclipped", unclipped)),
)
