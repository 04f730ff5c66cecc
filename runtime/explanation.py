"""Everything a reader sees about one answer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xai.runtime.comparison import compare
from xai.runtime.engine import SolverReport
from xai.runtime.inputs.pixels import Crop
from xai.runtime.inputs.question import EncodedQuestion, Token

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Answer:
    """An answer; `probability` is its share of the softmax over all answers."""

    id: int
    text: str
    logit: float
    probability: float


@dataclass(frozen=True)
class Explanation:
    """Why the model gave an answer: one method's relevance of every patch and token. Scores are raw, in the method's own
    scale; they are scaled when drawn."""

    image_name: str
    picture: Image.Image
    """The whole picture, upright, RGB."""
    crop: Crop
    """The square of it that the model saw."""
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
    """(grid, grid), row 0 at the top of the crop."""
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

    @property
    def tokens(self) -> tuple[Token, ...]:
        return self.question.tokens

    @property
    def word_relevance(self) -> NDArray[np.floating]:
        """(words,): relevance of `question.words`."""
        return self.question.word_relevance(self.text_relevance)

    def to_json(self) -> dict[str, Any]:
        """The documented JSON object (README, JSON output) with this as its only explanation."""
        return to_json([self])

    def save(self, path: str | Path) -> None:
        """Write a picture, a page or data, as the suffix says (`show/save.py`). Raises `XaiError` on another one or a failed write."""
        from xai.runtime.show.save import save

        save([self], Path(path))

    def _repr_html_(self) -> str:
        """Show the explanation in a notebook: part of a page, without scripts."""
        from xai.runtime.show.save import notebook

        return notebook(self)


def comparison(explanations: Sequence[Explanation]) -> dict[str, Any]:
    """How far every two of several methods agree on the same answer, as `compare` gives it."""
    return compare({e.method: e.image_relevance for e in explanations}, {e.method: e.word_relevance for e in explanations})


def to_json(explanations: Sequence[Explanation]) -> dict[str, Any]:
    """One JSON object for explanations of the same answer by several methods; numbers that are not finite become null.

    Only with several methods it has a `comparison` of them.
    """
    first = explanations[0]
    rows, columns = first.image_relevance.shape
    return {
        "schema_version": SCHEMA_VERSION,
        "image": first.image_name,
        "image_size": list(first.picture.size),
        "crop": list(first.crop.box),
        "question": first.question.text,
        "answer": asdict(first.answer),
        "target": asdict(first.target),
        "top": [asdict(answer) for answer in first.top],
        "tokens": [token.text for token in first.tokens],
        "raw_tokens": [token.raw for token in first.tokens],
        "token_ids": [token.id for token in first.tokens],
        "words": [{"text": word.text, "tokens": list(word.tokens)} for word in first.question.words],
        "grid": [rows, columns],
        "explanations": [
            {
                "method": e.method,
                "layers": e.layers,
                "image_relevance": [float(v) for v in e.image_relevance.ravel()],
                "text_relevance": [float(v) for v in e.text_relevance],
                "solver": [{key: _finite(value) for key, value in asdict(report).items()} for report in e.solver],
                "notes": list(e.notes),
            }
            for e in explanations
        ],
        **({"comparison": comparison(explanations)} if len(explanations) > 1 else {}),
        "session": first.session,
        "precision": first.precision,
        "timings_ms": dict(first.timings_ms),
    }


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
