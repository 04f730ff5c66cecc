"""Whether explanations hold still: under noise that leaves the answer as it is, and where nothing changes at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from xai.bench.data.sample import Progress
from xai.bench.sanity.asking import Asked, Found, Maps, explain
from xai.runtime.bundle.parity import TOLERANCES
from xai.runtime.explainer import Explainer
from xai.runtime.inputs.prepare import PreparedImage

NOISES = 10
"""Noisy images of each question."""

RADIUS = 0.02
"""Largest noise, as a part of what the values of an image span."""

WITHIN = TOLERANCES["relevance"]
"""Largest difference, relative to the largest relevance, that batching may make."""


@dataclass(frozen=True)
class Steady:
    """What was measured of each method; the last axis is the image's map, then the words'."""

    sensitivity: NDArray[np.float64]
    """(methods, questions, 2): the largest change of a map, relative to its length; NaN where no noise left the answer as it is."""
    answered_otherwise: int
    """Noisy images whose answer was another, which do not count."""
    twice: NDArray[np.bool_]
    """(methods,): the same question again gives the same bytes."""
    batched: NDArray[np.float64]
    """(methods, 2): the largest difference between a question asked alone and in a batch, relative to the largest relevance."""


def measure_steadiness(
    explainer: Explainer, asked: Sequence[Asked], originals: Sequence[Found], methods: Sequence[str], seed: int, progress: Progress
) -> Steady:
    """Explain every question again, alone, and with noise; `originals` were explained in batches."""
    again = list(explain(explainer, asked, methods))
    alone = list(explain(explainer, asked, methods, together=1))
    twice = [all(_same(one.maps[m], other.maps[m]) for one, other in zip(originals, again, strict=True)) for m in range(len(methods))]
    apart = np.array(
        [[_apart(*pair) for pair in zip(one.maps, other.maps, strict=True)] for one, other in zip(alone, originals, strict=True)]
    )
    sensitivity, otherwise = [], 0
    for i, (one, original) in enumerate(zip(asked, originals, strict=True)):
        noisy = [replace(one.image, arrays=add_noise(one.image, np.random.default_rng([seed, i, k]))) for k in range(NOISES)]
        found = list(explain(explainer, [one._replace(image=image) for image in noisy], methods))
        kept = [each for each in found if each.answer == original.answer]
        otherwise += len(found) - len(kept)
        sensitivity.append(
            [[largest_change(before, [each.maps[m] for each in kept], part) for part in (0, 1)] for m, before in enumerate(original.maps)]
        )
        progress(i + 1, len(asked))
    return Steady(np.array(sensitivity).transpose(1, 0, 2), otherwise, np.array(twice), apart.max(0))


def add_noise(image: PreparedImage, rng: np.random.Generator) -> tuple[NDArray[np.float32], ...]:
    """What the model takes of an image, with uniform noise of up to `RADIUS` of its span on pixels or features; boxes stay in place."""
    values, *rest = image.arrays
    reach = RADIUS * float(np.ptp(values)) if values.size else 0.0
    noise = rng.uniform(-reach, reach, values.shape).astype(np.float32)
    return (values + noise, *rest)


def largest_change(before: Maps, after: Sequence[Maps], part: int) -> float:
    """Compute the largest |e' - e| / |e|, Euclidean, of the image's (0) or the words' (1) map (Yeh et al. 2019, arXiv 1901.09392); NaN
    where there is nothing to compare with."""
    original = before.parts()[part].astype(np.float64)
    length = float(np.linalg.norm(original))
    if not after or length == 0:
        return float("nan")
    return max(float(np.linalg.norm(each.parts()[part] - original)) for each in after) / length


def _same(one: Maps, other: Maps) -> bool:
    return all(a.dtype == b.dtype and a.tobytes() == b.tobytes() for a, b in zip(one.parts(), other.parts(), strict=True))


def _apart(one: Maps, other: Maps) -> tuple[float, float]:
    image, words = (
        float(np.abs(a - b).max() / max(float(np.abs(a).max()), 1e-30)) if a.size else 0.0
        for a, b in zip(one.parts(), other.parts(), strict=True)
    )
    return image, words
