"""Which METER a file holds, and its sizes: from the shapes of its tensors, and what little the file says besides."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from xai.base.errors import XaiError
from xai.meter.config import (
    CLIP_MEAN,
    CLIP_STD,
    IMAGENET_MEAN,
    IMAGENET_STD,
    MAX_WINDOW,
    PUBLISHED_HEADS,
    LayerOrder,
    MeterConfig,
    SwinSizes,
)
from xai.meter.heads import HEADS, find_head
from xai.meter.swin import PREFIX as SWIN
from xai.meter.swin import TABLE, window_of

CLIP = "vit_model.visual."
TEXT = "text_transformer."
POSITIONS = f"{CLIP}positional_embedding"
SWIN_PATCHES = f"{SWIN}patch_embed.proj.weight"
"""In a file with a Swin encoder."""
MIN_POSITIONS = 5
"""Text positions for one word between two special tokens; RoBERTa's first is 2."""
COLOURS = {"clip": (CLIP_MEAN, CLIP_STD), "imagenet": (IMAGENET_MEAN, IMAGENET_STD)}
"""Mean and standard deviation that pictures are normalised with, by the name in METER's own configuration."""


@dataclass(frozen=True)
class Checkpoint:
    """Tensors by name, and what the file gives as the number of cross-modal heads and as the transform of its pictures, None where
    nothing; either may be nonsense."""

    tensors: dict[str, Tensor]
    heads: object
    transform: object = None


class Shapes:
    """The shapes of a file's tensors, or an `XaiError` that names the file."""

    def __init__(self, tensors: Mapping[str, Tensor], path: Path) -> None:
        self.tensors = tensors
        self.path = path

    def shape(self, name: str, rank: int) -> tuple[int, ...]:
        """The shape of a tensor. Raises `XaiError` where it is missing or has another rank."""
        if name not in self.tensors:
            raise XaiError(f"{self.path} is not a METER checkpoint: it lacks {name}")
        if self.tensors[name].dim() != rank:
            raise XaiError(f"{self.path} is not a METER checkpoint: {name} has shape {list(self.tensors[name].shape)}")
        return tuple(self.tensors[name].shape)

    def count(self, pattern: str) -> int:
        """How many numbers stand in the one group of a pattern that names begin with."""
        return len({m[1] for m in (re.match(pattern, name) for name in self.tensors) if m})


def read_config(
    checkpoint: Checkpoint,
    path: Path,
    image_size: int | None = None,
    heads: int | None = None,
    *,
    order: LayerOrder = "parallel",
    squash: bool = False,
) -> MeterConfig:
    """Sizes from the shapes of the tensors (docs/methods.md, Model); head counts are not in the tensors.

    `squash` says that pictures are squashed to a square, `order` in which order a pair's layers run. Raises `XaiError` where the file
    holds no METER, or one that is not supported.
    """
    shapes = Shapes(checkpoint.tensors, path)
    vision = _swin_sizes(shapes) if SWIN_PATCHES in checkpoint.tensors else _clip_sizes(shapes)
    positions = shapes.shape(f"{TEXT}embeddings.position_embeddings.weight", 2)[0]
    if positions < MIN_POSITIONS or vision["patch_size"] < 1 or vision["image_size"] < 1:
        raise XaiError(
            f"{path} is not a METER checkpoint: patches of {vision['patch_size']} pixels, {vision['rows']} image positions and "
            f"{positions} text positions are no square grid with a class token and a question"
        )
    del vision["rows"]
    if image_size is not None:
        vision["image_size"] = image_size
    vocab_size, text_width = shapes.shape(f"{TEXT}embeddings.word_embeddings.weight", 2)
    hidden = shapes.shape("cross_modal_text_transform.weight", 2)[0]
    cross_modal, heads_from = _count_heads(checkpoint.heads, heads, hidden, path)
    head = find_head(checkpoint.tensors, path)
    mean, std = COLOURS[_colours(checkpoint.transform, vision["swin"] is not None, path)]
    try:
        return MeterConfig(
            **vision,
            vocab_size=vocab_size,
            max_positions=positions,
            text_width=text_width,
            text_layers=shapes.count(r"text_transformer\.encoder\.layer\.(\d+)\."),
            text_mlp=shapes.shape(f"{TEXT}encoder.layer.0.intermediate.dense.weight", 2)[0],
            hidden=hidden,
            heads=cross_modal,
            heads_from=heads_from,
            layers=shapes.count(r"cross_modal_image_layers\.(\d+)\."),
            mlp=shapes.shape("cross_modal_image_layers.0.intermediate.dense.weight", 2)[0],
            answers=shapes.shape(HEADS[head].last, 2)[0],
            image_mean=mean,
            image_std=std,
            fit="squash" if squash else "crop",
            head=head,
            bert=shapes.shape(f"{TEXT}embeddings.token_type_embeddings.weight", 2)[0] == 2,
            order=order,
        )
    except ValueError as error:
        raise XaiError(f"{path}: {error}") from error


def _clip_sizes(shapes: Shapes) -> dict[str, Any]:
    """Those of `MeterConfig` that are about CLIP's encoder, with the rows of its position table; `image_size` 0 where it is no square."""
    width, _, patch, _ = shapes.shape(f"{CLIP}conv1.weight", 4)
    rows = shapes.shape(POSITIONS, 2)[0]
    grid = math.isqrt(max(rows - 1, 0))
    return {
        "rows": rows,
        "image_size": grid * patch if rows == 1 + grid**2 else 0,
        "patch_size": patch,
        "vision_width": width,
        "vision_layers": shapes.count(r"vit_model\.visual\.transformer\.resblocks\.(\d+)\."),
        "vision_mlp": shapes.shape(f"{CLIP}transformer.resblocks.0.mlp.c_fc.weight", 2)[0],
        "swin": None,
    }


def _swin_sizes(shapes: Shapes) -> dict[str, Any]:
    """The same of a Swin encoder, whose window is the grid of its last stage. Raises `XaiError` where its stages do not fit each other."""
    width, _, patch, _ = shapes.shape(SWIN_PATCHES, 4)
    stages = shapes.count(r"vit_model\.layers\.(\d+)\.")
    tables = [f"{SWIN}layers.{stage}.blocks.0.attn{TABLE}" for stage in range(stages)]
    rows = shapes.shape(f"{SWIN}layers.0.blocks.0.attn{TABLE}", 2)[0]
    heads = tuple(shapes.shape(table, 2)[1] for table in tables)
    depths = tuple(shapes.count(rf"vit_model\.layers\.{stage}\.blocks\.(\d+)\.") for stage in range(stages))
    window, mlp = window_of(shapes.tensors[tables[0]]), shapes.shape(f"{SWIN}layers.0.blocks.0.mlp.fc1.weight", 2)[0]
    if window > MAX_WINDOW or width < 1 or mlp < 1 or any(count < 1 or (width << stage) % count for stage, count in enumerate(heads)):
        raise XaiError(f"{shapes.path} is not a METER checkpoint: its Swin encoder has a width of {width}, heads {heads}, window {window}")
    return {
        "rows": rows,
        "image_size": window * (patch << (stages - 1)),
        "patch_size": patch << (stages - 1),
        "vision_width": width << (stages - 1),
        "vision_layers": sum(depths),
        "vision_mlp": mlp,
        "swin": SwinSizes(width, patch, depths, heads),
    }


def _colours(transform: object, swin: bool, path: Path) -> str:
    """How pictures are normalised: as METER's configuration in the file says, or as the published files with that encoder were.

    Raises `XaiError` where the file says something else than the two that were published.
    """
    if not isinstance(transform, list | tuple) or not transform:
        return "imagenet" if swin else "clip"
    name = str(transform[0]).removesuffix("_randaug")
    if name not in COLOURS:
        raise XaiError(f"{path} was trained on pictures normalised by {name[:40]!r}: supported are {' and '.join(COLOURS)}")
    return name


def _count_heads(stored: object, given: int | None, hidden: int, path: Path) -> tuple[int, str]:
    """The number of cross-modal heads, and who says it (`base.description.HEADS_FROM`). Raises `XaiError` where nobody can."""
    if type(stored) is int and 1 <= stored <= hidden:
        if given not in (None, stored):
            raise XaiError(f"{path} has {stored} cross-modal heads, as it says itself, not the {given} that are asked for")
        return stored, "checkpoint"
    if given is not None:
        return given, "option"
    if stored is not None:
        kind = "an integer out of range" if type(stored) is int else f"of the type {type(stored).__name__}"
        raise XaiError(f"{path} has a num_heads that is no number of heads but {kind}: say how many with --heads N")
    if hidden not in PUBLISHED_HEADS:
        raise XaiError(
            f"{path} does not say how many heads attend across modalities, and no METER of width {hidden} was published: "
            "say how many with --heads N"
        )
    heads = PUBLISHED_HEADS[hidden]
    warnings.warn(
        f"{path} does not say how many heads attend across modalities: {heads} are assumed, as the published METER of width {hidden} "
        "has; --heads N says another number",
        stacklevel=4,
    )
    return heads, "published"
