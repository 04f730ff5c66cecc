"""What every room must know of a model: its sizes, and how a target is named. Plain data, no network."""

from __future__ import annotations

from dataclasses import dataclass

TOP_ANSWER = -1
"""As a target: whatever answer scores highest."""

HEADS_FROM = ("checkpoint", "option", "published")
"""Who says how many heads attend across modalities: the checkpoint, whoever loads it, or the published model of that width."""


COLOURS = ("image_mean", "image_std")
"""Of a model's sizes, those that are stored for each colour."""


@dataclass(frozen=True)
class Heads:
    """How many heads attend across modalities, and who says so, one of `HEADS_FROM`: no tensor tells, and many checkpoints do not."""

    cross_modal: int
    said_by: str


@dataclass(frozen=True)
class ModelDescription:
    """The sizes of a model that explaining works with, as a bundle's manifest stores them. Lengths count pixels, patches or tokens."""

    image_size: int
    """Side of the input image."""
    grid: int
    """Patches along one side of the image."""
    image_mean: tuple[float, float, float]
    image_std: tuple[float, float, float]
    max_text_tokens: int
    """Longest question, special tokens included."""
    vocab_size: int
    text_layers: int
    """Layers of the text encoder."""
    layers: int
    """Cross-modal layer pairs."""
    answers: int
    """Rows of the answer classifier."""

    @property
    def counts(self) -> dict[str, int]:
        """Every size that is one number, by name."""
        return {name: value for name, value in vars(self).items() if name not in COLOURS}

    def differences(self, other: ModelDescription) -> list[str]:
        """In which sizes another model differs, such as `layers 3, not 6`."""
        pairs = ((name, value, getattr(other, name)) for name, value in vars(self).items())
        return [f"{name} {value}, not {wanted}" for name, value, wanted in pairs if value != wanted]
