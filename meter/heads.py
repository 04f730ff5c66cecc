"""What METER answers with: a head for each task, found by the names of its weights (docs/methods.md, Variants of METER)."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn

from xai.base.errors import XaiError

HEAD_EPS = 1e-5
TWO_PICTURES = "nlvr2_classifier.3.weight"
"""In a file that was fine-tuned to compare two pictures."""


class AnswerHead(NamedTuple):
    """One task's head."""

    module: str
    """What its weights' names begin with."""
    last: str
    """The weight of its last layer: a row for each answer."""
    answers: tuple[str, ...] | None
    """What the rows stand for, None where a list tells that."""
    score: bool = False
    """Whether it gives one number to rank pairs by, which is no answer among others and has no probability."""

    @property
    def is_classifier(self) -> bool:
        """Whether it has a hidden layer; the others are one linear layer."""
        return self.last.endswith(".3.weight")


HEADS = {
    "vqa": AnswerHead("vqa_classifier", "vqa_classifier.3.weight", None),
    "snli-ve": AnswerHead("snli_classifier", "snli_classifier.3.weight", ("contradiction", "neutral", "entailment")),
    "retrieval": AnswerHead("rank_output", "rank_output.weight", ("match",), score=True),
    "matching": AnswerHead("itm_score", "itm_score.fc.weight", ("no match", "match")),
}
"""In the order in which they are looked for: a fine-tuned file may keep the matching head of its pre-training."""


class MatchingHead(nn.Module):
    """One linear layer, under the name that the pre-training gave it."""

    def __init__(self, width: int, answers: int) -> None:
        super().__init__()
        self.fc = nn.Linear(width, answers)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x)


def find_head(names: Collection[str], path: Path) -> str:
    """The head of a file with weights of these names, as `HEADS` calls it.

    Raises `XaiError` where it has none, and where it compares two pictures.
    """
    found = next((name for name, head in HEADS.items() if head.last in names), None)
    if TWO_PICTURES in names and found not in ("vqa", "snli-ve"):
        raise XaiError(f"{path} was fine-tuned for NLVR2, which asks about two pictures at once: not supported; {_supported()}")
    if found is None:
        raise XaiError(f"{path} is not a METER checkpoint: it lacks {HEADS['vqa'].last}, and any other head; {_supported()}")
    return found


def build_head(name: str, width: int, answers: int) -> nn.Module:
    """The head of that name over both pooled streams, (B, width) -> (B, answers)."""
    head = HEADS[name]
    if head.is_classifier:
        return nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width, eps=HEAD_EPS), nn.GELU(), nn.Linear(width, answers))
    return MatchingHead(width, answers) if head.last.endswith(".fc.weight") else nn.Linear(width, answers)


def _supported() -> str:
    return "supported are visual question answering, SNLI-VE, image-text matching and retrieval"
