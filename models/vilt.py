"""ViLT for visual question answering, as transformers implements it (Kim et al. 2021)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import ViltForQuestionAnswering

from xai.base.errors import XaiError
from xai.meter.attention import key_bias
from xai.models.contract import Family, Fused, recorded
from xai.models.pretrained import load_pretrained
from xai.runtime.description import Aspect, Description, Published, Site, Special, Stream

PREPROCESSOR = "preprocessor_config.json"
LONGEST = 1333 / 800
"""The longer side may have this many times the pixels of the shorter one; a constant of ViLT's own preprocessing."""


class Vilt(Family):
    """One stream of T text tokens and N image tokens, a class token before its patches. Cut before the only encoder, where nothing
    has mixed. Patches keep their order: the library shuffles them, which no answer minds and every map would.
    """

    def __init__(self, model: ViltForQuestionAnswering, picture: Aspect) -> None:
        super().__init__()
        self.model = model.eval().requires_grad_(False)
        config = model.config
        layers = tuple(f"joint{i}" for i in range(config.num_hidden_layers))
        self.description = Description(
            family="vilt",
            sites=tuple(Site(layer, "self", "joint", "joint", config.num_attention_heads) for layer in layers),
            streams=(Stream("joint", ("text", "image"), "first", layers),),
            special={"text": Special(1, 1), "image": Special(1, 0)},
            picture=picture,
            max_text_tokens=config.max_position_embeddings,
            vocab_size=config.vocab_size,
            answers=cast(nn.Linear, model.classifier[-1]).out_features,
            image_width=config.hidden_size,
            text_width=config.hidden_size,
            width=config.hidden_size,
            published=Published(layers="all", target="answer", normalised=False, lrp=False),
        )

    def encode_image(self, *picture: Tensor) -> Tensor:
        """Pixels (B, 3, h, w), h and w whole patches -> (B, 1 + patches, width); the position table is interpolated to the grid."""
        (pixels,) = picture
        parts = self.model.vilt.embeddings
        patches = parts.patch_embeddings.projection(pixels)  # (B, width, rows, columns)
        side = self.model.config.image_size // self.model.config.patch_size
        table = parts.position_embeddings[:, 1:].transpose(1, 2).reshape(1, -1, side, side)
        # Also where the grid is the table's own: a branch would fix the size of an exported graph.
        positions = F.interpolate(table, size=patches.shape[2:], mode="bilinear", align_corners=True)
        first = (parts.cls_token + parts.position_embeddings[:, :1]).expand(pixels.shape[0], -1, -1)
        tokens = torch.cat([first, (patches + positions).flatten(2).transpose(1, 2)], 1)
        return tokens + parts.token_type_embeddings.weight[1]

    def embed_text(self, ids: Tensor) -> Tensor:
        parts = self.model.vilt.embeddings
        positions = torch.ones_like(ids[:1]).cumsum(1) - 1  # the library's own would fix the length, or the device, of an exported graph
        words = parts.text_embeddings(input_ids=ids, token_type_ids=torch.zeros_like(ids), position_ids=positions)
        return words + parts.token_type_embeddings.weight[0]

    def fuse(self, image_tokens: Tensor, image_mask: Tensor, text_embeddings: Tensor, text_mask: Tensor, record: bool) -> Fused:
        layers = self.model.vilt.encoder.layer
        x = torch.cat([text_embeddings, image_tokens], 1)
        bias = key_bias(torch.cat([text_mask, image_mask], 1), x.dtype)
        features: dict[str, Tensor] = {}
        with recorded([layer.attention.attention.dropout for layer in layers] if record else []) as attention:
            for i, layer in enumerate(layers):
                # As the layer's own forward, which would fix the device of a traced graph.
                x = layer.attention(layer.layernorm_before(x), bias)[0] + x
                x = layer.output(layer.intermediate(layer.layernorm_after(x)), x)
                features[f"joint{i}"] = x
        pooled = self.model.vilt.pooler(self.model.vilt.layernorm(x))
        return Fused(self.model.classifier(pooled), attention, features)

    def example(self) -> tuple[Tensor, ...]:
        patch = self.model.config.patch_size
        pixels = torch.randn(1, 3, 2 * patch, 3 * patch, generator=torch.Generator().manual_seed(0))
        return (pixels.to(self.dtype),)

    def run_library(self, picture: tuple[Tensor, ...], ids: Tensor) -> Tensor:
        return self.model(
            input_ids=ids, attention_mask=torch.ones_like(ids), token_type_ids=torch.zeros_like(ids), pixel_values=picture[0]
        ).logits


def load_vilt(folder: Path) -> Vilt:
    """The network of a folder that `save_pretrained` wrote. Raises `XaiError` where something is missing or does not fit."""
    return Vilt(load_pretrained(ViltForQuestionAnswering, folder), read_picture(folder / PREPROCESSOR))


def read_answers(folder: Path) -> list[str]:
    """The names of the answers, which the network's own configuration holds."""
    names = json.loads((folder / "config.json").read_text(encoding="utf-8"))["id2label"]
    return [names[str(i)] for i in range(len(names))]


def read_picture(path: Path) -> Aspect:
    """How ViLT's image processor sizes and normalises a picture. Raises `XaiError` where its file is missing or says something else."""
    if not path.is_file():
        raise XaiError(f"{path.parent} has no {PREPROCESSOR}, which says how pictures are scaled: copy it from the model's repository")
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        size, divisor = content["size"], int(content["size_divisor"])
        shorter = int(size["shortest_edge"] if isinstance(size, dict) else size)
        mean, std = (tuple(map(float, content[name])) for name in ("image_mean", "image_std"))
        resample = content.get("resample", 3)
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise XaiError(f"{path} cannot be read as ViLT's: {error!r}; copy it from the model's repository") from error
    if len(mean) != 3 or len(std) != 3 or min(shorter, divisor) < 1 or resample != 3:
        raise XaiError(f"{path} asks for pictures that ViLT's processor does not make: three channels, bicubic, a positive size")
    return Aspect(shorter, int(LONGEST * shorter), divisor, (mean[0], mean[1], mean[2]), (std[0], std[1], std[2]))
