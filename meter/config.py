"""Sizes of a METER network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from xai.base.description import Heads

HEAD_WIDTH = 64
"""Width of one attention head in CLIP and RoBERTa of any size: both are defined by it, and their checkpoints store no head counts."""

PUBLISHED_HEADS = {768: 12}
"""Cross-modal heads by width of the published METERs: as many as make heads of `HEAD_WIDTH`. Of another width none was published."""

MAX_GRID = 128
"""Patches along a side; attention over more would need hundreds of gigabytes."""

MAX_WINDOW = 32
"""The same of a Swin encoder, which keeps a table of its window's pairs for every block."""

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

LayerOrder = Literal["parallel", "sequential"]
"""What the image layer of a pair reads of the text: what the pair before gave, as its text layer does, or what its text layer gave."""


class SwinSizes(NamedTuple):
    """Sizes of a Swin encoder: width and pixels of its first patches, and of each stage the blocks and heads."""

    width: int
    patch: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]


@dataclass(frozen=True)
class MeterConfig:
    """Every size that the network needs; `sizes.read_config` reads them from a file's tensors.

    Widths and lengths count channels, tokens or pixels. Layer counts are those that run: `vision_layers`
    is CLIP's count less one, because METER leaves CLIP's last block out (docs/methods.md, Model). `heads` are those across
    modalities, `heads_from` is who said how many (`base.description.HEADS_FROM`). With `swin`, patches are those of its last stage,
    `vision_mlp` is the first stage's, and the answer reads the mean of the image's tokens, of which none is a class token. `head` is
    one of `heads.HEADS`; `bert` says that the text encoder is BERT's, not RoBERTa's.
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
    fit: Literal["crop", "squash"] = "crop"
    heads_from: str = "option"
    head: str = "vqa"
    swin: SwinSizes | None = None
    bert: bool = False
    order: LayerOrder = "parallel"

    def __post_init__(self) -> None:
        if self.image_size % self.patch_size:
            below = max(1, self.image_size // self.patch_size) * self.patch_size
            raise ValueError(
                f"image size {self.image_size} is not a multiple of the patch size {self.patch_size}: use {below}, for example"
            )
        most = MAX_GRID if self.swin is None else MAX_WINDOW
        if self.grid > most:
            raise ValueError(f"image size {self.image_size} gives {self.grid} patches a side; {most * self.patch_size} is the largest")
        for name, width in (("vision", self.vision_width), ("text", self.text_width)):
            if name == "vision" and self.swin is not None:
                continue  # its heads are known
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
        """Longest question in tokens, special tokens included."""
        return self.max_positions - self.first_position

    @property
    def first_position(self) -> int:
        """Of a question's first token: RoBERTa's is its padding_idx + 1, BERT's is 0."""
        return 0 if self.bert else 2

    @property
    def head_count(self) -> Heads:
        """The cross-modal heads with who said how many."""
        return Heads(self.heads, self.heads_from)
