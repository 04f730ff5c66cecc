"""Sizes of a METER network."""

from __future__ import annotations

from dataclasses import dataclass

from xai.base.description import Heads

HEAD_WIDTH = 64
"""Width of one attention head in CLIP and RoBERTa of any size: both are defined by it, and their checkpoints store no head counts."""

PUBLISHED_HEADS = {768: 12}
"""Cross-modal heads by width of the published METERs: as many as make heads of `HEAD_WIDTH`. Of another width none was published."""

MAX_GRID = 128
"""Patches along a side; attention over more would need hundreds of gigabytes."""

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class MeterConfig:
    """Every size that the network needs; `checkpoint.read_config` reads them from a file's tensors.

    Widths and lengths count channels, tokens or pixels. Layer counts are those that run: `vision_layers`
    is CLIP's count less one, because METER leaves CLIP's last block out (docs/methods.md, Model). `heads` are those across
    modalities, `heads_from` is who said how many (`base.description.HEADS_FROM`).
    """

    image_size: int
    patch_size: int
    vision_width: int
    vision_layers: int
    vision_mlp: int
    vocab_size: int
    max_positions: int
    text_width: int
    text_layers: int
    text_mlp: int
    hidden: int
    heads: int
    layers: int
    mlp: int
    answers: int
    image_mean: tuple[float, float, float] = CLIP_MEAN
    image_std: tuple[float, float, float] = CLIP_STD
    heads_from: str = "option"

    def __post_init__(self) -> None:
        if self.image_size % self.patch_size:
            below = max(1, self.image_size // self.patch_size) * self.patch_size
            raise ValueError(
                f"image size {self.image_size} is not a multiple of the patch size {self.patch_size}: use {below}, for example"
            )
        if self.grid > MAX_GRID:
            raise ValueError(f"image size {self.image_size} gives {self.grid} patches a side; {MAX_GRID * self.patch_size} is the largest")
        for name, width in (("vision", self.vision_width), ("text", self.text_width)):
            if width < 1 or width % HEAD_WIDTH:
                raise ValueError(f"{name} width {width} does not divide into attention heads of {HEAD_WIDTH}")
        if self.heads < 1 or self.hidden % self.heads:
            raise ValueError(f"hidden width {self.hidden} does not divide into {self.heads} attention heads")

    @property
    def grid(self) -> int:
        """Patches along one side of the image."""
        return self.image_size // self.patch_size

    @property
    def vision_heads(self) -> int:
        return self.vision_width // HEAD_WIDTH

    @property
    def text_heads(self) -> int:
        return self.text_width // HEAD_WIDTH

    @property
    def max_text_tokens(self) -> int:
        """Longest question in tokens, special tokens included; RoBERTa's first position is 2."""
        return self.max_positions - 2

    @property
    def head_count(self) -> Heads:
        """The cross-modal heads with who said how many."""
        return Heads(self.heads, self.heads_from)
