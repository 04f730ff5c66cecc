"""VisualBERT for visual question answering, as transformers implements it (Li et al. 2019)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from transformers import VisualBertForQuestionAnswering

from xai.base.errors import XaiError
from xai.meter.attention import key_bias
from xai.models.contract import Family, Fused, last_words, recorded
from xai.models.pretrained import load_pretrained
from xai.runtime.description import Boxes, Description, Published, Site, Special, Stream


class VisualBert(Family):
    """One stream of T text tokens and N boxes; the answer is read from the question's last word. Cut before the only encoder, where
    nothing has mixed. A box is its features: the network does not look at the corners, and boxes have no order.
    """

    def __init__(self, model: VisualBertForQuestionAnswering) -> None:
        super().__init__()
        self.model = model.eval().requires_grad_(False)
        config = model.config
        layers = tuple(f"joint{i}" for i in range(config.num_hidden_layers))
        self.description = Description(
            family="visualbert",
            sites=tuple(Site(layer, "self", "joint", "joint", config.num_attention_heads) for layer in layers),
            streams=(Stream("joint", ("text", "image"), "last", layers),),
            special={"text": Special(1, 1), "image": Special(0, 0)},
            picture=Boxes(config.visual_embedding_dim),
            max_text_tokens=config.max_position_embeddings,
            vocab_size=config.vocab_size,
            answers=len(config.id2label or ()),
            image_width=config.hidden_size,
            text_width=config.hidden_size,
            width=config.hidden_size,
            published=Published(layers="all", target="answer", normalised=False, lrp=False),
        )

    def encode_image(self, *picture: Tensor) -> Tensor:
        """Features (B, N, D) and boxes (B, N, 4), which are not looked at -> (B, N, width)."""
        features, _ = picture
        parts = self.model.visual_bert.embeddings
        # Without an alignment with words every box has the first position and the second type.
        kind = parts.visual_position_embeddings.weight[0] + parts.visual_token_type_embeddings.weight[1]
        return parts.LayerNorm(parts.visual_projection(features) + kind)

    def embed_text(self, ids: Tensor) -> Tensor:
        parts = self.model.visual_bert.embeddings
        positions = torch.ones_like(ids[:1]).cumsum(1) - 1  # the library's own would fix the length of an exported graph
        return parts.LayerNorm(parts.word_embeddings(ids) + parts.token_type_embeddings.weight[0] + parts.position_embeddings(positions))

    def fuse(self, image_tokens: Tensor, image_mask: Tensor, text_embeddings: Tensor, text_mask: Tensor, record: bool) -> Fused:
        layers = self.model.visual_bert.encoder.layer
        x = torch.cat([text_embeddings, image_tokens], 1)
        bias = key_bias(torch.cat([text_mask, image_mask], 1), x.dtype)
        features: dict[str, Tensor] = {}
        with recorded([layer.attention.self.dropout for layer in layers] if record else []) as attention:
            for i, layer in enumerate(layers):
                x = layer(x, bias)[0]
                features[f"joint{i}"] = x
        row = last_words(self.description, text_mask)[:, None, None]
        read = x.gather(1, row.expand(-1, 1, x.shape[2]))[:, 0]
        return Fused(self.model.cls(read), attention, features)

    def example(self) -> tuple[Tensor, ...]:
        generator = torch.Generator().manual_seed(0)
        features = torch.rand(1, 3, self.model.config.visual_embedding_dim, generator=generator)
        return features.to(self.dtype), torch.rand(1, 3, 4, generator=generator).to(self.dtype)

    def run_library(self, picture: tuple[Tensor, ...], ids: Tensor) -> Tensor:
        return self.model(input_ids=ids, attention_mask=torch.ones_like(ids), visual_embeds=picture[0]).logits


def load_visual_bert(folder: Path) -> VisualBert:
    """The network of a folder that `save_pretrained` wrote. Raises `XaiError` where something is missing or does not fit."""
    model = load_pretrained(VisualBertForQuestionAnswering, folder)
    if model.config.bypass_transformer:
        raise XaiError(f"{folder} holds a VisualBERT whose boxes bypass its encoder (bypass_transformer): not supported")
    return VisualBert(model)
