"""What a method reads about one question."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from xai.spectral.arrays import Array


class Depth(NamedTuple):
    """Number of text-encoder layers and of cross-modal layer pairs."""

    encoder: int
    cross: int


@dataclass(frozen=True)
class Evidence:
    """Arrays of one question, without padding, under the names of the evidence graph's outputs:

    - `encoderL/self/KIND` (T, T): layer L of the text encoder;
    - `textL/self/KIND` (T, T), `textL/cross/KIND` (T, N), `imageL/self/KIND` (N, N), `imageL/cross/KIND` (N, T):
      cross-modal layer L, with KIND `attention` (mean_h A), `gradient` (mean_h relu(G)) or `product` (mean_h relu(A * G));
    - `textL/SITE/grad-cam`: the one row that Grad-CAM reads, (T,) or (N,);
    - `textL/fiedler` (T - 2,), `imageL/fiedler` (N - 1,): |v| of that layer's features without special tokens.

    T counts text tokens with the two special ones, N the image tokens with the class token.
    """

    arrays: Mapping[str, Array]
    depth: Depth
    seed: int = 0
    """Feeds the method `random` and nothing else."""

    def __getitem__(self, name: str) -> Array:
        return self.arrays[name]
