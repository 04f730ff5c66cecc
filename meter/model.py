"""METER with the head of its task (docs/methods.md, Model).

The network is cut where the perturbation test drops tokens: `encode_image` and `embed_text` run once per image and
question, `fuse` as often as somebody asks what the model would say without some of the tokens.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from xai.meter.attention import key_bias
from xai.meter.config import MeterConfig
from xai.meter.heads import HEADS, build_head
from xai.meter.layer import LayerOutput, Stream, TransformerLayer
from xai.meter.swin import build_swin
from xai.meter.text import TextModel
from xai.meter.vision import VisionModel

CROSS_MODAL_EPS = 1e-12


class Fusion(NamedTuple):
    """Answer logits (B, answers) and every layer's output, in order."""

    logits: Tensor
    encoder: list[LayerOutput]
    text: list[LayerOutput]
    image: list[LayerOutput]


def mean_token(x: Tensor, mask: Tensor | None) -> Tensor:
    """(B, N, width) -> (B, 1, width), the mean of the tokens that are real, 0 where none is."""
    if mask is None:
        return x.mean(1, keepdim=True)
    real = mask.to(x.dtype)[:, :, None]
    return (x * real).sum(1, keepdim=True) / real.sum(1, keepdim=True).clamp(min=1)


class Pooler(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.dense(x[:, 0]))


class Meter(nn.Module):
    """METER with one head; parameter names are those of the published checkpoints (of Swin: timm's own, `swin.fit_swin`)."""

    def __init__(self, config: MeterConfig) -> None:
        super().__init__()
        self.config = config
        self.vit_model = VisionModel(config) if config.swin is None else build_swin(config)
        self.text_transformer = TextModel(config)
        self.cross_modal_text_transform = nn.Linear(config.text_width, config.hidden)
        self.cross_modal_image_transform = nn.Linear(config.vision_width, config.hidden)
        self.token_type_embeddings = nn.Embedding(2, config.hidden)
        layer = (config.hidden, config.heads, config.mlp, CROSS_MODAL_EPS)
        self.cross_modal_image_layers = nn.ModuleList(TransformerLayer(*layer, cross=True) for _ in range(config.layers))
        self.cross_modal_text_layers = nn.ModuleList(TransformerLayer(*layer, cross=True) for _ in range(config.layers))
        self.cross_modal_image_pooler = Pooler(config.hidden)
        self.cross_modal_text_pooler = Pooler(config.hidden)
        self.add_module(HEADS[config.head].module, build_head(config.head, 2 * config.hidden, config.answers))

    @property
    def head(self) -> nn.Module:
        """What answers, under whatever name."""
        return self.get_submodule(HEADS[self.config.head].module)

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Normalised pixels (B, 3, S, S) -> image tokens (B, 1 + P, vision width), class token first; Swin has none."""
        tokens = self.vit_model(pixels)
        return tokens if self.config.swin is None else tokens.flatten(1, 2)

    def embed_text(self, ids: Tensor) -> Tensor:
        """Token ids (B, T) -> embeddings (B, T, text width)."""
        return self.text_transformer.embeddings(ids)

    def fuse(
        self,
        image_tokens: Tensor,
        image_mask: Tensor | None,
        text_embeddings: Tensor,
        text_mask: Tensor | None,
        with_maps: bool = False,
    ) -> Fusion:
        """Answer from image tokens (B, N, vision width) and text embeddings (B, T, text width).

        Masks (B, N) and (B, T) are true where a token is real; None means that all are. Each pair of cross-modal
        layers reads the outputs of the pair before it; in sequential order the image layer reads the text layer of its own pair.
        """
        config = self.config
        text_bias = None if text_mask is None else key_bias(text_mask, text_embeddings.dtype)
        image_bias = None if image_mask is None else key_bias(image_mask, image_tokens.dtype)
        encoder = self.encode_text(text_embeddings, text_bias, with_maps)
        x, y = self.project(encoder[-1].x, image_tokens)
        # A picture without a class token may be left without a token.
        present = None if config.swin is None or image_mask is None else image_mask.any(1).to(y.dtype)[:, None, None, None]
        text: list[LayerOutput] = []
        image: list[LayerOutput] = []
        for text_layer, image_layer in zip(self.cross_modal_text_layers, self.cross_modal_image_layers, strict=True):
            seen = Stream(y, image_bias, present)
            text.append(text_layer(Stream(x, text_bias), seen, with_maps))
            read = text[-1].x if config.order == "sequential" else x
            image.append(image_layer(seen, Stream(read, text_bias), with_maps))
            x, y = text[-1].x, image[-1].x
        return Fusion(self.classify(x, y if config.swin is None else mean_token(y, image_mask)), encoder, text, image)

    def encode_text(self, text_embeddings: Tensor, bias: Tensor | None, with_maps: bool) -> list[LayerOutput]:
        """The output of every layer of the text encoder."""
        found: list[LayerOutput] = []
        x = text_embeddings
        for layer in self.text_transformer.encoder.layer:
            found.append(layer(Stream(x, bias), None, with_maps))
            x = found[-1].x
        return found

    def project(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Encoded text (B, T, text width) and image (B, N, vision width) -> what the first cross-modal pair reads, `hidden` wide."""
        types = self.token_type_embeddings.weight
        return self.cross_modal_text_transform(x) + types[0], self.cross_modal_image_transform(y) + types[1]

    def classify(self, x: Tensor, y: Tensor) -> Tensor:
        """Logits (B, answers) from token 0 of each stream (B, any, hidden)."""
        return self.head(torch.cat([self.cross_modal_text_pooler(x), self.cross_modal_image_pooler(y)], -1))

    def forward(self, pixels: Tensor, ids: Tensor, text_mask: Tensor | None = None) -> Tensor:
        """Answer logits (B, answers)."""
        return self.fuse(self.encode_image(pixels), None, self.embed_text(ids), text_mask).logits
