"""Which token subsets a question needs, each once, and how they are batched (docs/methods.md, Perturbation test).

Pure: no model, no image, no file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
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


class Subset(NamedTuple):
    """Tokens of one question that stay, by place among those that can be left out, ascending; special tokens always stay."""

    image: NDArray[np.int64]
    text: NDArray[np.int64]


@dataclass(frozen=True)
class Maps:
    """One question's relevance of the tokens that can be left out, by method: patches or boxes (P,), and words (T,)."""

    image: tuple[NDArray[np.floating], ...]
    text: tuple[NDArray[np.floating], ...]

    def of(self, modality: str) -> tuple[NDArray[np.floating], ...]:
        """Pick one of `MODALITIES`."""
        return self.image if modality == IMAGE else self.text

    def tokens(self, modality: str) -> int:
        """Count what can be left out of a modality."""
        return len(self.of(modality)[0])

    def keep(self, **kept: NDArray[np.int64]) -> Subset:
        """Keep these places of the modalities named, in any order, and the whole of the others."""
        image, text = (np.sort(kept[m]) if m in kept else np.arange(self.tokens(m)) for m in MODALITIES)
        return Subset(image, text)


def content_maps(relevances: Sequence[Relevance], words: Special) -> Maps:
    """Leave the text's special tokens, which `words` counts, out of what methods say of one question."""
    image, text = zip(*((to_numpy(r.image), to_numpy(r.text)[words.before : len(r.text) - words.behind]) for r in relevances), strict=True)
    return Maps(image, text)


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


class Cost(NamedTuple):
    """What one measure costs for one question."""

    asked: int
    """Distinct subsets that it needs, nothing left out not counted: that is known."""
    new: int
    """Those of them that no measure before it needs."""
    tokens: int
    """Image and text tokens of the new ones, special ones included."""


@dataclass(frozen=True)
class QuestionPlan:
    """The distinct subsets that the measures of one question need."""

    subsets: tuple[Subset, ...]
    """The first one is nothing left out: it is known."""
    asked: Mapping[str, NDArray[np.int64]]
    """Measure -> of each subset that it asked for, in its order, the index into `subsets`."""

    def costs(self, special: int) -> dict[str, Cost]:
        """Say what each measure costs, in their order; `special` counts the special tokens of both modalities."""
        known, found = {0}, {}
        for measure, rows in self.asked.items():
            asked = set(rows.tolist()) - {0}
            new = asked - known
            tokens = sum(len(self.subsets[row].image) + len(self.subsets[row].text) + special for row in new)
            found[measure] = Cost(len(asked), len(new), tokens)
            known |= new
        return found


def plan_question(everything: Subset, asked: Mapping[str, Sequence[Subset]]) -> QuestionPlan:
    """Plan what the measures ask for, each subset once, in the order of the first to ask; `everything` is nothing left out."""
    subsets = [everything]
    known = {_key(everything): 0}

    def row(subset: Subset) -> int:
        key = _key(subset)
        if key not in known:
            known[key] = len(subsets)
            subsets.append(subset)
        return known[key]

    rows = {measure: np.array([row(subset) for subset in wanted], np.int64) for measure, wanted in asked.items()}
    return QuestionPlan(tuple(subsets), rows)


def _key(subset: Subset) -> tuple[bytes, bytes]:
    return subset.image.tobytes(), subset.text.tobytes()


@dataclass(frozen=True)
class SubsetBatch:
    """Subsets of one length, to be answered in one run without padding."""

    image_tokens: int
    text_tokens: int
    """Special tokens of either modality included."""
    jobs: tuple[tuple[int, int], ...]
    """(question, index into its plan's `subsets`)."""


def batch_subsets(plans: Sequence[QuestionPlan], special: Mapping[str, Special], most: Callable[[int, int], int]) -> Iterator[SubsetBatch]:
    """Group what several questions need by length, the longest first.

    `special` counts the tokens that stay of each modality; `most(image_tokens, text_tokens)` says how many rows of that length fit into
    memory.
    """
    stay = {modality: sum(counts) for modality, counts in special.items()}
    groups: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for q, plan in enumerate(plans):
        for s, kept in enumerate(plan.subsets[1:], start=1):
            groups.setdefault((stay[IMAGE] + len(kept.image), stay[TEXT] + len(kept.text)), []).append((q, s))
    for length in sorted(groups, reverse=True):
        jobs, rows = groups[length], max(1, most(*length))
        for start in range(0, len(jobs), rows):
            yield SubsetBatch(*length, tuple(jobs[start : start + rows]))
