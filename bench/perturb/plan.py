"""Which token subsets the perturbation test needs (docs/methods.md, Perturbation test). Pure: no model, no image, no file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xai.runtime.description import IMAGE, TEXT, Special
from xai.runtime.relevance import Relevance
from xai.spectral.arrays import to_numpy

STEPS = (0.0, 0.25, 0.5, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0)
"""Fractions of the tokens that are removed."""
MODALITIES = (IMAGE, TEXT)
SIGNS = ("positive", "negative")
"""`positive` removes the most relevant tokens first, `negative` the least relevant ones."""

_CONSTANT = 1e-6
"""A relevance vector whose values differ by less, relative to the largest, is a tie: float32 cannot tell more."""


class Curve(NamedTuple):
    """One curve of one question: relevance number `method` of those planned, one of `MODALITIES`, one of `SIGNS`."""

    method: int
    modality: str
    sign: str


@cache
def published_counts(n: int) -> tuple[int, ...]:
    """Count the tokens of n that are kept at each of `STEPS`: truncated in floating point, so that n = 10 keeps 1 at 0.8."""
    return tuple(int((1 - step) * n) for step in STEPS)


@cache
def exact_counts(n: int) -> tuple[int, ...]:
    """Count the same without the rounding error: n = 10 keeps 2 at 0.8."""
    return tuple(int((1 - Fraction(str(step))) * n) for step in STEPS)


def min_max(relevance: NDArray[np.floating]) -> NDArray[np.floating]:
    """Scale to [0, 1]; a constant vector becomes zeros."""
    low, high = relevance.min(), relevance.max()
    if high - low <= _CONSTANT * max(abs(low), abs(high)):
        return np.zeros_like(relevance)
    return (relevance - low) / (high - low)


def keeping_order(relevance: NDArray[np.floating], sign: str) -> NDArray[np.int64]:
    """Order tokens (n,) from the one that is kept longest to the one that is removed first; of equals the lowest index comes first."""
    score = min_max(relevance)
    return np.argsort(score if sign == "positive" else -score, kind="stable")


@dataclass(frozen=True)
class QuestionPlan:
    """The distinct subsets that the tests of one question need."""

    subsets: tuple[tuple[str, NDArray[np.int64]], ...]
    """(modality, tokens kept in ascending order, special ones not counted). The first one is nothing removed: it is known."""
    asked: Mapping[Curve, Mapping[int, int]]
    """For every test the number of tokens kept -> index into `subsets`."""
    tokens: Mapping[str, int]
    """For every modality the number of tokens that can be removed."""


def plan_question(
    relevances: Sequence[Relevance], words: Special, modalities: Sequence[str] = MODALITIES, signs: Sequence[str] = SIGNS
) -> QuestionPlan:
    """Plan the subsets for every relevance, modality and sign, at the published and at the exact counts; equal ones are planned once.

    `words` counts the text's special tokens, which always stay: they are left out here, and `batch_subsets` counts them in.
    """
    subsets: list[tuple[str, NDArray[np.int64]]] = [("image", np.arange(len(relevances[0].image)))]
    known: dict[tuple[str, bytes], int] = {}
    asked: dict[Curve, dict[int, int]] = {}
    values = {
        "image": [to_numpy(r.image) for r in relevances],
        "text": [to_numpy(r.text)[words.before : len(r.text) - words.behind] for r in relevances],
    }
    tokens = {modality: len(values[modality][0]) for modality in modalities}
    for modality, sign, method in product(modalities, signs, range(len(relevances))):
        n = tokens[modality]
        order = keeping_order(values[modality][method], sign)
        found = asked[Curve(method, modality, sign)] = {n: 0}
        for count in sorted({*published_counts(n), *exact_counts(n)} - {n}, reverse=True):
            kept = np.sort(order[:count])
            key = modality, kept.tobytes()
            if key not in known:
                known[key] = len(subsets)
                subsets.append((modality, kept))
            found[count] = known[key]
    return QuestionPlan(tuple(subsets), asked, tokens)


@dataclass(frozen=True)
class SubsetBatch:
    """Subsets of one length, to be answered in one run without padding."""

    image_tokens: int
    text_tokens: int
    """Special tokens of either modality included."""
    jobs: tuple[tuple[int, int], ...]
    """(question, index into its plan's `subsets`)."""


def batch_subsets(
    plans: Sequence[QuestionPlan], sizes: Sequence[tuple[int, int]], special: Mapping[str, Special], most: Callable[[int, int], int]
) -> Iterator[SubsetBatch]:
    """Group what several questions need by length, the longest first.

    `sizes` holds every question's image and text tokens, those `special` to each modality included; `most(image_tokens, text_tokens)` says
    how many rows of that length fit into memory.
    """
    stay = {modality: sum(counts) for modality, counts in special.items()}
    groups: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for q, (plan, (image, text)) in enumerate(zip(plans, sizes, strict=True)):
        for s, (modality, kept) in enumerate(plan.subsets[1:], start=1):
            length = (stay[IMAGE] + len(kept), text) if modality == IMAGE else (image, stay[TEXT] + len(kept))
            groups.setdefault(length, []).append((q, s))
    for length in sorted(groups, reverse=True):
        jobs, rows = groups[length], max(1, most(*length))
        for start in range(0, len(jobs), rows):
            yield SubsetBatch(*length, tuple(jobs[start : start + rows]))
