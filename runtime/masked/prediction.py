"""What is asked without why, perhaps with patches or words left out, and what the model answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xai.base.errors import BadInput
from xai.runtime.description import Special
from xai.runtime.explanation import Answer, scored_places
from xai.runtime.inputs.boxes import BoxFeatures
from xai.runtime.inputs.decode import ImageSource
from xai.runtime.inputs.prepare import PreparedImage
from xai.runtime.inputs.question import EncodedQuestion


class Stays(NamedTuple):
    """The patches, and the tokens of the words, counted without the special ones, that are not left out."""

    patches: NDArray[np.int64]
    words: NDArray[np.int64]


class Asked(NamedTuple):
    """A question about an image, perhaps with tokens left out: booleans, True where a patch (h, w) or a word (words,) is."""

    image: ImageSource | BoxFeatures | PreparedImage
    question: str | EncodedQuestion
    without_patches: NDArray[np.bool_] | None = None
    without_words: NDArray[np.bool_] | None = None

    def kept(self, question: EncodedQuestion, patches: int, special: Special) -> Stays:
        """What stays of the question, which has so many special tokens, and of the patches. Raises `BadInput` where a mask does not fit."""
        without_patches = _mask(self.without_patches, patches, "without_patches", "patches")
        without_words = _mask(self.without_words, len(question.words), "without_words", "words")
        removed = [token for i in np.flatnonzero(without_words) for token in question.words[i].tokens]
        before, behind = special
        content = np.arange(before, len(question.tokens) - behind)
        return Stays(np.flatnonzero(~without_patches), np.setdiff1d(content, removed) - before)


def places(mask: NDArray[np.bool_] | None) -> tuple[int, ...]:
    """Where a mask is True, from 0."""
    return () if mask is None else tuple(int(i) for i in np.flatnonzero(mask))


def _mask(mask: NDArray[np.bool_] | None, count: int, name: str, what: str) -> NDArray[np.bool_]:
    if mask is None:
        return np.zeros(count, dtype=bool)
    if mask.dtype != bool or mask.size != count:
        raise BadInput(f"{name} has {mask.size} values of type {mask.dtype}: give one boolean for each of the {count} {what}")
    return mask.ravel()


@dataclass(frozen=True)
class Prediction:
    """An answer, perhaps with patches or words left out."""

    image_name: str
    image_size: tuple[int, int]
    """Width and height of the upright picture, in pixels."""
    crop: tuple[int, int, int, int]
    """Left, top, right, bottom of the square of it that the model saw."""
    question: EncodedQuestion
    answer: Answer
    top: tuple[Answer, ...]
    """The most probable answers, most probable first."""
    grid: tuple[int, int] | None
    """Rows and columns of patches; None where the picture has boxes."""
    without_patches: tuple[int, ...]
    """Patches left out, row by row from 0, or boxes."""
    without_words: tuple[int, ...]
    """Words left out, from 0."""
    session: str
    precision: str
    timings_ms: Mapping[str, float]
    boxes: NDArray[np.float32] | None = None
    """(N, 4), as of an explanation; None where the picture has patches."""

    def to_json(self) -> dict[str, Any]:
        """The JSON object of docs/formats.md, Prediction."""
        return {
            "schema_version": 1,
            "image": self.image_name,
            "image_size": list(self.image_size),
            "crop": list(self.crop),
            "question": self.question.text,
            "answer": asdict(self.answer),
            "top": [asdict(answer) for answer in self.top],
            "tokens": [token.text for token in self.question.tokens],
            "words": [{"text": word.text, "tokens": list(word.tokens)} for word in self.question.words],
            **scored_places(self.grid, self.boxes),
            "without_patches": list(self.without_patches),
            "without_words": list(self.without_words),
            "session": self.session,
            "precision": self.precision,
            "timings_ms": dict(self.timings_ms),
        }
