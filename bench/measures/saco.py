"""SaCo, the salience-guided faithfulness coefficient: is what a method scores twice as high worth more to the answer?

Wu et al., CVPR 2024 (arXiv 2404.01415), Algorithm 1; docs/methods.md, SaCo.
"""

from __future__ import annotations

from functools import partial
from itertools import combinations, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xai.base.reading import Fields
from xai.bench.measures.measure import (
    Answers,
    Column,
    Line,
    LineKind,
    Measure,
    QuestionMaps,
    check_modalities,
    check_numbers,
    key_per_method,
    rounded,
)
from xai.bench.perturb.plan import MODALITIES, Subset, keeping_order, min_max
from xai.runtime.description import IMAGE, TEXT

GROUPS = 10
_DROP_DIGITS = 12
"""Digits of a drop: of a saturated answer they are tiny, and only their order counts."""
_MOST = 1e6
"""A sum of scores within [0, 1] is at most the number of tokens."""


def groups(order: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Part tokens (n,), the most relevant first, into `GROUPS` of equal size, or into n of one token where there are fewer.

    Half of the groups are counted from either end; what is left over lies in the middle and in no group. Fewer than two tokens cannot be
    compared: no group.
    """
    n = len(order)
    count = min(GROUPS, n)
    if count < 2:
        return []
    size, front = n // count, -(-count // 2)
    starts = [i * size for i in range(front)] + [n - (count - i) * size for i in range(front, count)]
    return [order[start : start + size] for start in starts]


def _asked(explained: QuestionMaps, modality: str) -> list[list[NDArray[np.int64]]]:
    """Groups of every method."""
    return [groups(keeping_order(values, "negative")) for values in explained.maps.of(modality)]


def _subsets(explained: QuestionMaps) -> list[Subset]:
    """List what stays without each group, by modality, method and group."""
    maps = explained.maps
    return [
        maps.keep(**{modality: np.setdiff1d(np.arange(maps.tokens(modality)), group)})
        for modality in explained.scope.modalities
        for of_method in _asked(explained, modality)
        for group in of_method
    ] + [maps.keep()]


def _fields(explained: QuestionMaps, answers: Answers) -> list[dict[str, Any]]:
    whole, rest = answers.probabilities[-1], iter(answers.probabilities[:-1])
    found: list[dict[str, Any]] = [dict.fromkeys(MODALITIES) for _ in explained.scope.methods]
    for modality in explained.scope.modalities:
        values = explained.maps.of(modality)
        for line, score, of_method in zip(found, map(min_max, values), _asked(explained, modality), strict=True):
            if of_method:
                sums = [rounded(score[group].sum(dtype=np.float64)) for group in of_method]
                line[modality] = {"sums": sums, "drops": [rounded(whole - next(rest), _DROP_DIGITS) for _ in of_method]}
    return [{"groups": line} for line in found]


def coefficient(sums: list[float], drops: list[float]) -> float:
    """Compute SaCo of groups, the most relevant first, from -1 to 1: 0 where all sums are equal, which says nothing."""
    gained = total = 0.0
    for i, j in combinations(range(len(sums)), 2):
        weight = sums[i] - sums[j]
        gained += weight if drops[i] >= drops[j] else -weight
        total += abs(weight)
    return gained / total if total > 0 else 0.0


def _value(line: Line, modality: str) -> float | None:
    groups = line["groups"][modality]
    return coefficient(**groups) if groups else None


def _check(fields: Fields) -> None:
    for inner in check_modalities(fields, "groups"):
        inner.only("sums", "drops")
        count = len(inner.items("sums", int, float))
        if not 2 <= count <= GROUPS:
            raise inner.refuse("sums", f"has not 2 to {GROUPS} values")
        sums = check_numbers(inner, "sums", count, 0, _MOST)
        check_numbers(inner, "drops", count, -1, 1)
        if any(a < b for a, b in pairwise(sums)):
            raise inner.refuse("sums", "does not fall from group to group")


SACO = Measure(
    "saco",
    "SaCo: whether groups of tokens with more relevance are worth more to the explained answer's probability, from -1 to 1",
    key_per_method("saco"),
    _subsets,
    _fields,
    LineKind(("groups",), _check),
    tuple(Column(modality, partial(_value, modality=modality), modality=modality) for modality in (IMAGE, TEXT)),
)
