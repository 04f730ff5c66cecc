"""Everything a reader sees about one answer."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xai.base.errors import BadInput
from xai.base.wording import one_line, percent
from xai.runtime.comparison import compare
from xai.runtime.inputs.question import EncodedQuestion, Token
from xai.runtime.inputs.resize import Crop
from xai.runtime.needs import EVERY
from xai.runtime.solver import SolverReport
from xai.runtime.target import Explains

SCHEMA_VERSION = 1

LONGEST = 60
"""Characters of a question that `repr` shows."""


@dataclass(frozen=True)
class Answer:
    """An answer; `probability` is its share of the softmax over all answers, None of a model that gives a score, which is the logit."""

    id: int
    text: str
    logit: float
    probability: float | None

    @property
    def shown(self) -> str:
        """What is written beside its name: its probability, or its score where it has none."""
        return f"score {self.logit:.3f}" if self.probability is None else percent(self.probability)


class LeftOut(NamedTuple):
    """What was taken from the model, whose relevance is then 0, and what it answers with everything."""

    words: tuple[int, ...]
    """By place, from 0."""
    patches: tuple[int, ...]
    """Row by row, from 0."""
    before: Answer


@dataclass(frozen=True, eq=False, repr=False)
class Explanation:
    """Why the model gave an answer: one method's relevance of every patch and token. Scores are raw, in the method's own
    scale; they are scaled when drawn.

    Two are equal where they say the same about the same picture: every pixel of it and every field but `timings_ms`, numbers to
    the last digit.
    """

    image_name: str
    picture: Image.Image
    """The whole picture, upright, RGB."""
    crop: Crop
    """The part of it that the model saw."""
    question: EncodedQuestion
    answer: Answer
    """What the model answered."""
    target: Answer
    """The answer that is explained: the model's own, unless another was asked for."""
    top: tuple[Answer, ...]
    """The most probable answers, most probable first."""
    method: str
    layers: str | None
    """`first` or `all` for the methods that choose layers, None for the others."""
    image_relevance: NDArray[np.floating]
    """(rows, columns) of patches, row 0 at the top of the crop, or (N,) of `boxes`."""
    text_relevance: NDArray[np.floating]
    """(tokens,), special tokens included."""
    solver: tuple[SolverReport, ...]
    """One report for each graph that the method used."""
    session: str
    precision: str
    timings_ms: Mapping[str, float]
    """Milliseconds by stage; stages that ran for several questions or methods at once are counted whole."""
    notes: tuple[str, ...]
    """What a reader should know before trusting this, such as a graph in several pieces."""
    versus: Answer | None = None
    """The answer that `target` is held against; None where there is no contrast."""
    explains: Explains | None = "answer"
    """Whose score the relevance speaks of: the target's, the difference of two, the sum of all; None where it depends on no answer."""
    signed: bool = False
    """Whether scores have signs: above 0 they speak for `target`, below for `versus`."""
    boxes: NDArray[np.float32] | None = None
    """(N, 4): x0, y0, x1, y1 as shares of the picture's width and height, of a model that takes boxes; None for patches."""
    word_regions: NDArray[np.floating] | None = None
    """(words, rows, columns), or (words, boxes): what goes with each word of the picture, its most relevant token's part; None where
    nobody asked."""
    word_regions_kind: Literal["relevance", "affinity"] | None = None
    """Whether these are the method's own relevance between the streams, or an affinity of features that knows nothing of the answer."""
    left_out: LeftOut | None = None
    """None where the model saw everything."""

    @property
    def region_words(self) -> NDArray[np.floating] | None:
        """The same the other way: (rows, columns, words), or (boxes, words), what goes with each region of the question."""
        return None if self.word_regions is None else np.moveaxis(self.word_regions, 0, -1)

    @property
    def tokens(self) -> tuple[Token, ...]:
        return self.question.tokens

    @property
    def word_relevance(self) -> NDArray[np.floating]:
        """(words,): relevance of `question.words`."""
        return self.question.word_relevance(self.text_relevance)

    @property
    def full_name(self) -> str:
        """The method with its choice of layers, as a row of `METHODS` is called: `dsmi-grad`, `dsmi-grad@all`."""
        return f"{self.method}@all" if self.layers == "all" else self.method

    def to_json(self) -> dict[str, Any]:
        """The documented JSON object (docs/formats.md, Explanation) with this as its only explanation."""
        return to_json([self])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Explanation):
            return NotImplemented
        pictures = self.picture.size == other.picture.size and self.picture.tobytes() == other.picture.tobytes()
        return pictures and self._said() == other._said()

    def __hash__(self) -> int:
        return hash((self.image_name, self.question, self.target, self.versus, self.method, self.layers))

    def _said(self) -> dict[str, Any]:
        return {key: value for key, value in self.to_json().items() if key != "timings_ms"}

    def __repr__(self) -> str:
        """One line: what was asked, what the model answered, which answer is explained and how."""
        asked = self.question.text if len(self.question.text) <= LONGEST else f"{self.question.text[: LONGEST - 3]}..."
        explained = "" if self.target == self.answer else f", explained: {self.target.text!r}"
        explained += f", versus {self.versus.text!r}" if self.versus else ""
        method = f"{self.method}, {self.layers} layers" if self.layers == EVERY else self.method
        answer = f"{self.answer.text!r} ({self.answer.shown})"
        return one_line(f"<Explanation of {self.image_name}, {asked!r}: {answer}{explained}, by {method}>")

    def save(self, path: str | Path) -> None:
        """Write a picture, a page or data, as the suffix says (`show/save.py`). Raises `XaiError` on another one or a failed write."""
        from xai.runtime.show.save import save

        if not isinstance(path, str | os.PathLike):
            raise BadInput(f"the file to save is of type {type(path).__name__}: give a path")
        save([self], Path(path))

    def _repr_html_(self) -> str:
        """Show the explanation in a notebook: part of a page, without scripts."""
        from xai.runtime.show.save import notebook

        return notebook(self)


def comparison(explanations: Sequence[Explanation]) -> dict[str, Any]:
    """How far every two of several methods agree on the same answer, as `compare` gives it."""
    names = [e.full_name for e in explanations]
    return compare(names, [e.image_relevance.ravel() for e in explanations], [e.word_relevance for e in explanations])


def to_json(explanations: Sequence[Explanation]) -> dict[str, Any]:
    """One JSON object for explanations of the same answer by several methods; numbers that are not finite become null.

    Only with several methods it has a `comparison` of them.
    """
    first = explanations[0]
    return {
        "schema_version": SCHEMA_VERSION,
        "image": first.image_name,
        "image_size": list(first.picture.size),
        "crop": list(first.crop.box),
        "question": first.question.text,
        "answer": asdict(first.answer),
        "target": asdict(first.target),
        "versus": asdict(first.versus) if first.versus else None,
        "top": [asdict(answer) for answer in first.top],
        "tokens": [token.text for token in first.tokens],
        "raw_tokens": [token.raw for token in first.tokens],
        "token_ids": [token.id for token in first.tokens],
        "words": [{"text": word.text, "tokens": list(word.tokens)} for word in first.question.words],
        **scored_places(first.image_relevance.shape, first.boxes),
        **({} if first.left_out is None else _left_out(first.left_out)),
        "explanations": [
            {
                "method": e.method,
                "layers": e.layers,
                "explains": e.explains,
                "signed": e.signed,
                "image_relevance": [float(v) for v in e.image_relevance.ravel()],
                "text_relevance": [float(v) for v in e.text_relevance],
                "solver": [{key: _finite(value) for key, value in asdict(report).items()} for report in e.solver],
                "notes": list(e.notes),
                **({} if e.word_regions is None else {"word_regions_kind": e.word_regions_kind, "word_regions": e.word_regions.tolist()}),
            }
            for e in explanations
        ],
        **({"comparison": comparison(explanations)} if len(explanations) > 1 else {}),
        "session": first.session,
        "precision": first.precision,
        "timings_ms": dict(first.timings_ms),
    }


def _left_out(left_out: LeftOut) -> dict[str, Any]:
    words, patches, before = left_out
    return {"without_words": list(words), "without_patches": list(patches), "answer_before": asdict(before)}


def scored_places(grid: Sequence[int] | None, boxes: NDArray[np.float32] | None) -> dict[str, Any]:
    """The key that says where the scores of a picture lie: in a grid, or in boxes (N, 4)."""
    return {"grid": list(grid or ())} if boxes is None else {"boxes": [[float(corner) for corner in box] for box in boxes]}


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
