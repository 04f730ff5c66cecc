"""What is explained: a direction in the space of answers, how it is named, and what is to be said of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xai.base.description import TOP_ANSWER
from xai.base.errors import BadInput
from xai.runtime.answers import Answers
from xai.runtime.description import Description
from xai.runtime.methods import Method
from xai.runtime.needs import EVERY
from xai.spectral.arrays import Array, to_numpy


class Contrast(NamedTuple):
    """The score of one answer, which may be `TOP_ANSWER`, less that of another."""

    answer: int
    versus: int

    @property
    def opposite(self) -> Contrast:
        """The same difference, seen from the other side."""
        return Contrast(self.versus, self.answer)


EVERY_ANSWER = -2
"""As a target: the sum of all scores, which LXMERT's spectral methods were published with."""

Target = int | Contrast
"""An answer's id, `TOP_ANSWER` (found in the same pass), `EVERY_ANSWER`, or a contrast."""

Named = str | int | None
"""An answer as people name it, by its name or id; None stands for the model's own as a target, for no contrast as versus."""

Explains = Literal["answer", "difference", "sum"]
"""Whose score a relevance speaks of: the target's, the target's less another's, or the sum of all."""


def find_target(answers: Answers, target: Named, versus: Named) -> Target:
    """What is meant by two names. Raises `BadInput` where an answer is unknown, or both are the same."""
    answer = TOP_ANSWER if target is None else answers.find(target)
    if versus is None:
        return answer
    other = answers.find(versus, "versus")
    if other == answer:
        raise BadInput(f"target and versus are both {answers.names[other]!r}: name two answers that differ")
    return Contrast(answer, other)


def check_contrast(methods: Sequence[Method]) -> None:
    """Raises `BadInput` where no method can tell two answers apart."""
    if all(method.dependence == "none" for method in methods):
        names = ", ".join(method.name for method in methods)
        raise BadInput(f"versus says nothing to {names}: no answer makes a difference there; name a method that reads gradients")


def published_with_sum(method: Method, description: Description) -> bool:
    """Whether the figures that were published for the model explain the sum of all scores by this method."""
    return method.layers is not None and description.published.target == "all"


def check_published(methods: Sequence[Method], description: Description, targets: Sequence[Named], versus: Sequence[Named]) -> None:
    """Raises `BadInput` for what was not published: another answer than the model's own, a contrast, layers of another choice."""
    if any(one is not None for one in (*targets, *versus)):
        raise BadInput("as published, the model's own answer is explained: leave out target and versus")
    if other := [method for method in methods if method.layers == EVERY and description.published.layers != EVERY]:
        raise BadInput(f"{other[0].name} was not published for {description.family}: name {other[0].base}")


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


def named_contrasts(targets: Sequence[Target], logits: Array) -> list[Target]:
    """The same with the top answer named in every contrast. Raises `BadInput` where that is the answer it is held against."""
    found: list[Target] = list(targets)
    for b, answer in enumerate(explained_answers(targets, logits)):
        target = targets[b]
        if isinstance(target, Contrast):
            if answer == target.versus:
                raise BadInput("versus names the model's own answer: name another one, or a target to hold against it")
            found[b] = Contrast(answer, target.versus)
    return found


def dependence_note(method: Method, explains: Explains | None, target: str, versus: str, named: bool) -> str:
    """What a reader should know of a method that does not, or not wholly, speak of the answer, if that was `named`; empty for others."""
    if explains == "sum":
        return "this explains the sum of all answers' scores, as it was published for this model"
    if not named:
        return ""
    if explains is None:
        return "this method does not depend on the answer: it gives the same for each"
    if explains == "difference" and method.dependence != "linear":
        return f"this method has no signs: it shows what speaks for {target} over {versus}; exchange the two for what speaks against it"
    return ""


def explained_by(method: Method, target: Target) -> Explains | None:
    """Whose score the relevance by a method speaks of; None where it depends on no answer."""
    if method.dependence == "none":
        return None
    if isinstance(target, Contrast):
        return "difference"
    return "sum" if target == EVERY_ANSWER else "answer"
