"""What is explained: a direction in the space of answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xai.base.description import TOP_ANSWER
from xai.spectral.arrays import Array, to_numpy


class Contrast(NamedTuple):
    """The score of one answer less that of another; `TOP_ANSWER` is no answer here."""

    answer: int
    versus: int


EVERY_ANSWER = -2
"""As a target: the sum of all scores, which LXMERT's spectral methods were published with."""

Target = int | Contrast
"""An answer's id, `TOP_ANSWER` (found in the same pass), `EVERY_ANSWER`, or a contrast."""


def directions(targets: Sequence[Target], answers: int) -> NDArray[np.float32]:
    """(B, answers): the weight of each answer's score; a row of 0 stands for the top answer."""
    found = np.zeros((len(targets), answers), np.float32)
    for row, target in zip(found, targets, strict=True):
        if isinstance(target, Contrast):
            row[target.answer] = 1
            row[target.versus] -= 1
        elif target == EVERY_ANSWER:
            row[:] = 1
        elif target != TOP_ANSWER:
            row[target] = 1
    return found


def explained_answers(targets: Sequence[Target], logits: Array) -> list[int]:
    """The answer that each explanation is about: the one named, else the top one (the first of equals, as the graphs choose it)."""
    top = to_numpy(logits).argmax(-1)
    named = [target.answer if isinstance(target, Contrast) else target for target in targets]
    return [answer if answer >= 0 else int(best) for answer, best in zip(named, top, strict=True)]
