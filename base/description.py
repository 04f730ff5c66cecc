"""What every room must know of a model: its heads, and how a target is named. Plain data, no network."""

from __future__ import annotations

from dataclasses import dataclass

TOP_ANSWER = -1
"""As a target: whatever answer scores highest."""

HEADS_FROM = ("checkpoint", "option", "published")
"""Who says how many heads attend across modalities: the checkpoint, whoever loads it, or the published model of that width."""


@dataclass(frozen=True)
class Heads:
    """How many heads attend across modalities, and who says so, one of `HEADS_FROM`: no tensor tells, and many checkpoints do not."""

    cross_modal: int
    said_by: str
