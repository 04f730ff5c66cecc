"""LXMERT for visual question answering, as transformers implements it (Tan and Bansal 2019)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from transformers import LxmertForQuestionAnswering

from xai.meter.attention import key_bias
from xai.models.contract import Family, Fused, recorded
from xai.models.pretrained import load_pretrained
from xai.runtime.description import Boxes, Description, Published, Site, Special, Stream


class Lxmert(Family):
    """Two streams, each with an encoder of its own before the cross-modal layers; the answer is read from the text's first token.

    Cut at the embeddings, before both encoders. A box is a token; there is no class token and no order of boxes.
    """

    def __init__(self, model: LxmertForQuestionAnswering) -> None:
        super().__init__()
        self.model = model.eval().requires_grad_(False)
        config = model.config
        heads, last = config.num_attention_heads, config.x_layers - 1
        sites = [Site(f"encoder{i}", "self", "text", "text", heads) for i in range(config.l_layers)]
        sites += [Site(f"vision{i}", "self", "image", "image", heads) for i in range(config.r_layers)]
        for i in range(config.x_layers):  # in the order in which a layer runs them
            sites += [
                Site(f"text{i}", "cross", "text", "image", heads),
                Site(f"image{i}", "cross", "image", "text", heads, reached=i < last),
                Site(f"text{i}", "self", "text", "text", heads),
                Site(f"image{i}", "self", "image", "image", heads, reached=i < last),
            ]
        self.description = Description(
            family="lxmert",
            sites=tuple(sites),
            streams=(
                Stream("text", ("text",), "first", tuple(f"text{i}" for i in range(config.x_layers))),
                Stream("image", ("image",), None, tuple(f"image{i}" for i in range(last))),
            ),
            special={"text": Special(1, 1), "image": Special(0, 0)},
            picture=Boxes(config.visual_feat_dim),
            max_text_tokens=config.max_position_embeddings,
            vocab_size=config.vocab_size,
            answers=config.num_qa_labels,
            image_width=config.hidden_size,
            text_width=config.hidden_size,
            width=config.hidden_size,
            published=Published(layers="all", target="all", normalised=True, lrp=True, positions="anew"),
        )

    def encode_image(self, *picture: Tensor) -> Tensor:
        """Features (B, N, D) and boxes (B, N, 4) -> (B, N, width)."""
        features, boxes = picture
        return self.model.lxmert.encoder.visn_fc(features, boxes)

    def embed_text(self, ids: Tensor) -> Tensor:
        parts = self.model.lxmert.embeddings
        positions = torch.ones_like(ids[:1]).cumsum(1) - 1  # the library's own would fix the device of a traced graph
        return parts.LayerNorm(parts.word_embeddings(ids) + parts.position_embeddings(positions) + parts.token_type_embeddings.weight[0])

    def fuse(self, image_tokens: Tensor, image_mask: Tensor, text_embeddings: Tensor, text_mask: Tensor, record: bool) -> Fused:
        encoder = self.model.lxmert.encoder
        x, y = text_embeddings, image_tokens
        text_bias, image_bias = key_bias(text_mask, x.dtype), key_bias(image_mask, y.dtype)
        features: dict[str, Tensor] = {}
        any_box = image_mask.any(1).to(x.dtype)[:, None, None, None]
        sites = self.description.sites

        def change(n: int, probabilities: Tensor) -> Tensor:
            # A softmax over masked keys is even: without a single box, attention to boxes must give nothing.
            return probabilities * any_box if sites[n].kind == "cross" and sites[n].keys == "image" else probabilities

        attentions = [layer.attention.self for layer in (*encoder.layer, *encoder.r_layers)]
        for layer in encoder.x_layers:
            attentions += [layer.visual_attention.att, layer.lang_self_att.self, layer.visn_self_att.self]
        with recorded([attention.dropout for attention in attentions], change) as found:
            for layer in encoder.layer:
                x = layer(x, text_bias)[0]
            for layer in encoder.r_layers:
                y = layer(y, image_bias)[0]
            for i, layer in enumerate(encoder.x_layers):
                x, y = layer(x, text_bias, y, image_bias)[:2]
                features[f"text{i}"] = x
                if i < len(encoder.x_layers) - 1:  # nothing reads the last layer's boxes
                    features[f"image{i}"] = y
        return Fused(self.model.answer_head(self.model.lxmert.pooler(x)), found, features)

    def example(self) -> tuple[Tensor, ...]:
        generator = torch.Generator().manual_seed(0)
        features = torch.rand(1, 3, self.model.config.visual_feat_dim, generator=generator)
        return features.to(self.dtype), torch.rand(1, 3, 4, generator=generator).to(self.dtype)

    def run_library(self, picture: tuple[Tensor, ...], ids: Tensor) -> Tensor:
        return self.model(input_ids=ids, visual_feats=picture[0], visual_pos=picture[1]).question_answering_score


def load_lxmert(folder: Path) -> Lxmert:
    """The network of a folder that `save_pretrained` wrote. Raises `XaiError` where something is missing or does not fit."""
    return Lxmert(load_pretrained(LxmertForQuestionAnswering, folder))
