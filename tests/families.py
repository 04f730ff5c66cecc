"""The golden cases of the families that transformers implements, and random batches for their networks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xai.models.contract import Family
from xai.models.families import load_family

DATA = Path(__file__).parent / "data"
Inputs = dict[str, Tensor]


@dataclass(frozen=True)
class FamilyGolden:
    """A tiny network, and what its reference gives for its cases."""

    name: str
    folder: Path

    @cached_property
    def family(self) -> Family:
        return load_family(self.folder)

    @cached_property
    def content(self) -> dict[str, Any]:
        return json.loads((self.folder / "cases.json").read_text())

    @cached_property
    def plain(self) -> Family:
        """The network as it is exported unless relevance propagation is asked for."""
        return self.family.without_lrp()

    @property
    def cases(self) -> list[dict[str, Any]]:
        return self.content["cases"]

    @cached_property
    def expected(self) -> dict[str, NDArray]:
        with np.load(self.folder / "expected.npz") as arrays:
            return dict(arrays)

    def picture(self, case: int) -> dict[str, NDArray[np.float32]]:
        """The arrays of a case's picture, batch 1."""
        if self.name == "vilt_tiny":
            return {"pixels": self.expected[f"{case}/pixels"][None]}
        with np.load(self.folder / f"case{case}.npz") as arrays:
            return {name: arrays[name][None] for name in ("features", "boxes")}

    def inputs(self, cases: Sequence[int]) -> Inputs:
        """These cases as one batch, padded, for the top answers."""
        family = self.family
        with torch.no_grad():
            images = [family.encode_image(*map(torch.from_numpy, self.picture(c).values()))[0] for c in cases]
            texts = [family.embed_text(torch.tensor([self.cases[c]["ids"]]))[0] for c in cases]
        (image_tokens, image_mask), (text_embeddings, text_mask) = pad(images), pad(texts)
        direction = torch.zeros(len(cases), family.description.answers)
        return dict(
            image_tokens=image_tokens, image_mask=image_mask, text_embeddings=text_embeddings, text_mask=text_mask, direction=direction
        )


def pad(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Tensors (N, width) of unequal length -> (B, N, width), and the mask (B, N) of what is real; padding is not 0, so that it shows."""
    mask = torch.arange(max(len(row) for row in rows)) < torch.tensor([[len(row)] for row in rows])
    padded = torch.full((*mask.shape, rows[0].shape[1]), 0.5)
    for b, row in enumerate(rows):
        padded[b, : len(row)] = row
    return padded, mask


def make_inputs(family: Family, shape: tuple[int, int, int], padded: bool = False, seed: int = 0) -> Inputs:
    """Random tokens for B questions of T text and N image tokens, every other answer named; `padded` masks the ends of the last row."""
    batch, tokens, image = shape
    generator = torch.Generator().manual_seed(seed)
    description = family.description
    text_mask, image_mask = torch.ones(batch, tokens, dtype=torch.bool), torch.ones(batch, image, dtype=torch.bool)
    if padded:
        text_mask[-1, (tokens + 1) // 2 :] = False
        image_mask[-1, (image + 1) // 2 :] = False
    direction = torch.zeros(batch, description.answers)
    direction[::2, min(3, description.answers - 1)] = 1
    return {
        "image_tokens": torch.randn(batch, image, description.image_width, generator=generator),
        "image_mask": image_mask,
        "text_embeddings": torch.randn(batch, tokens, description.text_width, generator=generator),
        "text_mask": text_mask,
        "direction": direction,
    }


def error(found: Any, expected: Any) -> float:
    """Largest difference, relative to the largest expected value."""
    assert found.shape == expected.shape
    return float(abs(found - expected).max() / max(float(abs(expected).max()), 1e-30))
