"""One question with its picture and its true answers: what every data set is read into."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from xai.bench.data.regions import Cells, Region
from xai.runtime.inputs.decode import ImageSource

Progress = Callable[[int, int], None]
"""Hears of what is done, and of how much there is in all."""


def unknown_region(_: Cells) -> None:
    """Know nothing: the `truth` of a sample that does not say where its answer lies."""


def unknown_words(_: Cells) -> dict[int, Region]:
    """Know nothing: the `words` of a sample that does not say which objects its question names."""
    return {}


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
    truth: Callable[[Cells], Region | None] = field(default=unknown_region, compare=False, repr=False)
    """Gives what the answer rests on, as the share of each patch or box; None where that is unknown, nothing, or not in the cells."""
    words: Callable[[Cells], Mapping[int, Region]] = field(default=unknown_words, compare=False, repr=False)
    """Gives the region of the object that a word names, by the word's place in the question split at spaces, from 0; without the words
    that name none, or none in the cells."""


def by_image(samples: Sequence[Sample]) -> list[Sample]:
    """Sort the samples so that those of one image come side by side, images in order of their first sample."""
    groups: dict[str, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(sample.image, []).append(sample)
    return [sample for group in groups.values() for sample in group]
