"""One question with its picture and its true answers: what every data set is read into."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from xai.runtime.inputs.decode import ImageSource

Region = NDArray[np.float64]
"""Share (rows, columns) of each patch that the answer rests on."""

Progress = Callable[[int, int], None]
"""Hears of what is done, and of how much there is in all."""


def unknown_region(_rows: int, _columns: int) -> None:
    """Know nothing: the `truth` of a sample that does not say where its answer lies."""


@dataclass(frozen=True)
class Sample:
    """One question. Samples with the same `image` share it; `label` holds the score in [0, 1] of every answer that counts.

    It can be pickled: workers in other processes are sent the samples of their chunks.
    """

    question_id: str
    image: str
    question: str
    label: Mapping[str, float]
    picture: Callable[[], ImageSource] = field(compare=False, repr=False)
    """Gives the image's file, which may be missing or broken, or the picture drawn."""
    truth: Callable[[int, int], Region | None] = field(default=unknown_region, compare=False, repr=False)
    """Gives the true region for so many rows and columns of patches; None where it is unknown, or where the answer rests on nothing."""


def by_image(samples: Sequence[Sample]) -> list[Sample]:
    """Sort the samples so that those of one image come side by side, images in order of their first sample."""
    groups: dict[str, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(sample.image, []).append(sample)
    return [sample for group in groups.values() for sample in group]
