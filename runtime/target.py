"""What is explained: a direction in the space of answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xai.spectral.arrays import Array, to_numpy


class Target(NamedTuple):
    """The score of one answer, None for the top one, which is found in the same pass; less that of `versus`, where one is named; or,
    with `every`, the sum of all scores."""

    answer: int | None = None
    versus: int | None = None
    every: bool = False


TOP = Target()
EVERY = Target(every=True)


def directions(targets: Sequence[Target], answers: int) -> NDArray[np.float32]:
    """(B, answers): the weight of each answer's score; a row of 0 stands for the top answer."""
    found = np.zeros((len(targets), answers), np.float32)
    for row, target in zip(found, targets, strict=True):
        if target.every:
            row[:] = 1
        elif target.answer is not None:
            row[target.answer] = 1
            if target.versus is not None:
                row[target.versus] -= 1
    return found


def explained_answers(targets: Sequence[Target], logits: Array) -> list[int]:
    """The answer that each explanation is about: the one named, else the top one (the first of equals, as the graphs choose it)."""
    top = to_numpy(logits).argmax(-1)
    return [int(top[b]) if target.answer is None else target.answer for b, target in enumerate(targets)]
