"""Means over questions with their intervals, paired tests between methods, and how many questions would tell two of them apart."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from xai.bench.perturb.request import FLOOR
from xai.bench.statistics import bootstrap, holm, questions_needed, sign_flips

SIGNIFICANT = 0.05

Estimate = dict[str, float | None]
"""A mean with its 95 % interval: `mean`, `low` and `high`, null where no question has a value."""
Values = Mapping[str, NDArray[np.float64]]
"""By method, the numbers (n,) of one column, NaN where a question has none."""

C = TypeVar("C", bound=Hashable)


def mean_known(values: NDArray[np.float64]) -> float | None:
    """Compute the mean of what is not NaN, to four digits; None where there is nothing."""
    known = values[~np.isnan(values)]
    return round(float(known.mean()), 4) if len(known) else None


def estimate_columns(columns: Mapping[C, NDArray[np.float64]], images: NDArray[np.int64]) -> dict[C, Estimate]:
    """Estimate every column's mean; `images` (n,) numbers each question's image, by which the questions are drawn."""
    low, high = bootstrap(np.stack(list(columns.values()), 1), images)
    return {
        column: {"mean": mean_known(values), "low": _rounded(low[k]), "high": _rounded(high[k])}
        for k, (column, values) in enumerate(columns.items())
    }


def _rounded(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None


def pair_tests(columns: Mapping[str, Values], images: NDArray[np.int64]) -> dict[str, list[dict[str, Any]]]:
    """Test every pair of methods in every column, corrected for all of them together."""
    differences = {
        (column, first, second): values[first] - values[second]
        for column, values in columns.items()
        for first, second in combinations(values, 2)
    }
    found: dict[str, list[dict[str, Any]]] = {column: [] for column in columns}
    if not differences:
        return found
    p = sign_flips(np.stack(list(differences.values()), 1), images)
    estimates = estimate_columns(differences, images)
    for (column, first, second), raw, adjusted in zip(differences, p, holm(p), strict=True):
        difference = estimates[column, first, second]
        found[column].append(
            {
                "methods": [first, second],
                "difference": difference["mean"],
                "low": difference["low"],
                "high": difference["high"],
                "p": round(float(raw), 6),
                "p_holm": round(float(adjusted), 6),
            }
        )
    return found


def first_two(values: Values, images: NDArray[np.int64], sign: int) -> dict[str, Any] | None:
    """Say how many questions would tell the first two methods apart, `sign` 1 where higher is better and -1 where lower is.

    `questions` is None where their means are equal; the whole where there are not two methods with a mean.
    """
    means = {method: mean_known(own) for method, own in values.items()}
    merit = {method: sign * mean for method, mean in means.items() if mean is not None}
    if len(merit) < 2:
        return None
    first, second = sorted(merit, key=lambda method: -merit[method])[:2]
    return {"methods": [first, second], "questions": questions_needed(values[first] - values[second], images)}


@dataclass(frozen=True)
class Verdict:
    """What the paired tests say about one column."""

    best: str
    tied: tuple[str, ...]
    """Methods that cannot be told from the best."""
    no_better: tuple[str, ...]
    """Methods that are not shown to be better than the floor."""


def judge(merit: Mapping[str, float], tests: Sequence[Mapping[str, Any]]) -> Verdict:
    """Read one column by the merit of each method, the more the better, and its tests."""
    best = max(merit, key=lambda name: merit[name])
    p = {frozenset(test["methods"]): test["p_holm"] for test in tests}
    tied = tuple(name for name in merit if name != best and p[frozenset((name, best))] >= SIGNIFICANT)
    floor = tuple(name for name in merit if name != FLOOR and (p[frozenset((name, FLOOR))] >= SIGNIFICANT or merit[name] <= merit[FLOOR]))
    return Verdict(best, tied, floor)
