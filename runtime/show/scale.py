"""The one rule by which raw scores are scaled, and how it is said; pictures, pages and the terminal share it.

A score of 0 is 0 and the highest is 1, evenly in between, so that half the score is half the colour; where scores are negative the
lowest is 0. Scores that differ by less than `NEARLY` of the largest are nearly constant: they are painted alike, and said to be.
Where scores have signs (a contrast), 0 is 0 and the largest size is 1 or -1, evenly and alike on both sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from xai.runtime.explanation import Explanation

NEARLY = 0.05
"""A spread below this share of the largest size of a score tells nothing apart."""
EQUAL = 1e-6
"""The same for scores that are equal up to the rounding of float32."""
_ROUNDING = 0.1
"""What rounding may take from a step between two numbers."""


def place_name(explanation: Explanation) -> str:
    """Say what of the picture has a score: a patch, or a box."""
    return "patch" if explanation.boxes is None else "box"


def spread(values: NDArray[np.floating]) -> float:
    """Give highest less lowest as a share of the largest size; 0 where all are 0, NaN where one is not finite."""
    values = np.asarray(values, dtype=np.float64)
    if not values.size:
        return 0.0
    if not np.isfinite(values).all():
        return np.nan
    largest = np.abs(values).max()
    return float(np.ptp(values / largest)) if largest else 0.0


def is_flat(values: NDArray[np.floating], signed: bool = False) -> bool:
    """Say whether scores are nearly constant, or not finite: no colour can tell them apart. Of scores with signs the colour of one
    alone says which side it is on, and only those that are not finite have none."""
    return bool(np.isnan(spread(values))) if signed else not spread(values) >= NEARLY


def scaled(values: NDArray[np.floating], signed: bool = False) -> NDArray[np.float64]:
    """Scale raw scores to [0, 1], those with signs to [-1, 1], same shape, by the rule above; what is flat becomes 0."""
    exact = np.asarray(values, dtype=np.float64)
    if is_flat(exact, signed) or not exact.any():
        return np.zeros_like(exact)
    low, high = ends(exact, signed)
    if signed:
        return exact / high
    return np.clip((exact - low) / (high - low), 0, 1)


def ends(values: NDArray[np.floating], signed: bool = False) -> tuple[float, float]:
    """Give the scores that are painted darkest and brightest; the lowest and highest of scores that are nearly constant, 0 of none."""
    if not np.size(values):
        return 0.0, 0.0
    low, high = float(np.min(values)), float(np.max(values))
    if signed:
        return -max(-low, high), max(-low, high)
    if is_flat(values):
        return low, high
    return min(low, 0.0), max(high, 0.0)


def legend(dark: str, bright: str, flat: str) -> str:
    """Say the rule in words; the arguments name what a surface shows for 0, for the highest score and for nearly constant scores."""
    return (
        f"Each map and each row of words is scaled by itself: {dark} is a score of 0 (or the lowest, if negative), {bright} the highest, "
        f"evenly in between; {flat} where scores are nearly constant, differing by less than {NEARLY:.0%} of the largest. "
        "This compares places within one method, not methods with each other."
    )


def contrast_legend(strong: str, none: str) -> str:
    """Say the rule for scores with signs; the arguments name what a surface shows for the largest score of a side and for 0."""
    return (
        "A contrast: scores above 0 speak for the answer that is explained, below 0 for the one that it is held against. Each map and each "
        f"row of words is scaled by itself, evenly and alike on both sides: {none} is a score of 0, {strong} the largest of either sign. "
        "This compares places within one method, not methods with each other."
    )


def legends(explanations: Sequence[Explanation], plain: tuple[str, str, str], signed: tuple[str, str]) -> list[str]:
    """Say every rule that some of the explanations are painted by, with what the surface shows."""
    found = [contrast_legend(*signed)] if any(e.signed for e in explanations) else []
    return found if all(e.signed for e in explanations) else [*found, legend(*plain)]


def notes(explanation: Explanation) -> list[str]:
    """Say what was left out by hand, and of which maps the colours mean nothing."""
    found = _left_out(explanation)
    if not explanation.image_relevance.size:
        found.append("image: there is no box, the model saw nothing of the picture")
    elif said := _constant(explanation.image_relevance, place_name(explanation)):
        found.append(f"image: {said}")
    if len(explanation.question.words) == 1:
        found.append("words: there is only one, its colour means nothing")
    elif said := _constant(explanation.word_relevance, "word"):
        found.append(f"words: {said}")
    return found


def _left_out(explanation: Explanation) -> list[str]:
    if explanation.left_out is None:
        return []
    words, patches, _ = explanation.left_out
    named = " ".join(repr(explanation.question.words[i].text) for i in words)
    said = [f"the {'word' if len(words) == 1 else 'words'} {named}"] if words else []
    said += [f"{len(patches)} of {explanation.image_relevance.size} {place_name(explanation)}es"] if patches else []
    return [f"left out by hand, and scored 0: {' and '.join(said) or 'nothing'}"]


def _constant(values: NDArray[np.floating], one: str) -> str:
    """What is to be said of scores that are painted alike; empty for others."""
    if not is_flat(values):
        return ""
    share = spread(values)
    if np.isnan(share):
        return "some scores are not finite, none is painted"
    if share < EQUAL:
        return f"constant, every {one} scores the same"
    return f"nearly constant, every {one} scores {' to '.join(distinct(ends(values)))}"


def bar_labels(explanation: Explanation) -> list[tuple[float, str]]:
    """Give raw scores to write along the image's colour bar, with their places from 0 to 1; only one where all are equal."""
    low, high = ends(explanation.image_relevance, explanation.signed)
    if explanation.signed and not low < high:
        return [(0.5, "0")]
    if not is_flat(explanation.image_relevance, explanation.signed):
        return list(zip((0, 0.5, 1), distinct([low, low + (high - low) / 2, high]), strict=True))
    if not spread(explanation.image_relevance) >= EQUAL:
        return [(0, f"{low:.3g}")]
    return list(zip((0, 1), distinct([low, high]), strict=True))


def word_range(explanation: Explanation) -> str:
    """Give the words' raw scores in a sentence."""
    return _range(explanation.word_relevance, "words")


def patch_range(explanation: Explanation) -> str:
    """Give the patches' raw scores in a sentence."""
    if not explanation.image_relevance.size:
        return ""
    return _range(explanation.image_relevance, f"{place_name(explanation)}es")


def _range(values: NDArray[np.floating], all_of_them: str) -> str:
    low, high = float(values.min()), float(values.max())
    if not spread(values) >= EQUAL:
        return f"Raw score of the {all_of_them}: {low:.3g}."
    return f"Raw scores of the {all_of_them}: {' to '.join(distinct([low, high]))}."


def score_label(score: float) -> str:
    """Write a raw score beside what it belongs to."""
    return f"{score:.3g}"


def distinct(values: Sequence[float]) -> list[str]:
    """Write numbers with the fewest digits, three at least, that tell them apart and keep the steps between them."""
    ordered = sorted(set(values))
    step = min((high - low for low, high in pairwise(ordered)), default=0.0)
    for digits in range(3, 17):
        labels = [f"{value:.{digits}g}" for value in values]
        if max(abs(float(label) - value) for label, value in zip(labels, values, strict=True)) <= _ROUNDING * step:
            break
    return labels
