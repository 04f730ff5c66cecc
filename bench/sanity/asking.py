"""The questions of a sanity check, prepared once, and the maps that a network gives for them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xai.bench.data.boxes import BoxSource
from xai.bench.data.sample import Sample
from xai.runtime.description import IMAGE
from xai.runtime.explainer import Explainer
from xai.runtime.explanation import Explanation
from xai.runtime.inputs.prepare import PreparedImage
from xai.runtime.inputs.question import EncodedQuestion
from xai.runtime.sessions.memory import session_memory

TOGETHER = 4
"""Questions that are explained in one batch, where they fit into a run."""


class Asked(NamedTuple):
    """One question, the answer whose score is explained, and the seed of what is random; questions of one `group` share their image."""

    image: PreparedImage
    question: EncodedQuestion
    target: int
    seed: int
    group: int


class Maps(NamedTuple):
    """What one method gives for one question: relevance of patches (rows, columns) or boxes (N,), and of words (W,)."""

    image: NDArray[np.floating]
    words: NDArray[np.floating]

    def parts(self) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Both, as vectors."""
        return self.image.ravel(), self.words


class Found(NamedTuple):
    """The maps of one question by every method, and what the network answered."""

    maps: tuple[Maps, ...]
    answer: int


def ask(explainer: Explainer, samples: Sequence[Sample], boxes: BoxSource | None, seed: int) -> list[Asked]:
    """Prepare the samples, each to explain the network's own answer. Raises `BadInput` where one cannot be used."""
    groups: dict[str, int] = {}
    asked = []
    for i, sample in enumerate(samples):
        image = explainer.prepare(sample.picture(), None if boxes is None else boxes.read(sample.image))
        question = explainer.check(sample.question)
        target = explainer.answer(image, question).answer.id
        asked.append(Asked(image, question, target, (seed << 32) + i, groups.setdefault(sample.image, len(groups))))
    return asked


def explain(explainer: Explainer, asked: Sequence[Asked], methods: Sequence[str], together: int = TOGETHER) -> Iterator[Found]:
    """Explain every question by every method, at most `together` of them in a batch."""
    memory, special = session_memory(explainer.session), sum(explainer.session.description.special[IMAGE])
    patches, words = (max(sizes) for sizes in zip(*((math.prod(a.image.shape), len(a.question.ids)) for a in asked), strict=True))
    together = min(together, memory.evidence(patches + special, words))
    for start in range(0, len(asked), together):
        part = asked[start : start + together]
        pairs = [(one.image, one.question) for one in part]
        for each in explainer.explain_batch(pairs, methods, [one.target for one in part], seed=[one.seed for one in part], top_k=1):
            yield Found(tuple(map(_maps, each)), each[0].answer.id)


def _maps(explanation: Explanation) -> Maps:
    return Maps(explanation.image_relevance, explanation.word_relevance)
