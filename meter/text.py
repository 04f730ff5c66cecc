"""RoBERTa's or BERT's encoder, its embedding and its layers apart: the perturbation test drops tokens between them.

Parameter names are those of the checkpoint.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xai.meter.config import MeterConfig
from xai.meter.layer import TransformerLayer

ROBERTA_EPS, BERT_EPS = 1e-5, 1e-12


def norm_eps(config: MeterConfig) -> float:
    """LayerNorm's epsilon of the text encoder."""
    return BERT_EPS if config.bert else ROBERTA_EPS


class TextEmbeddings(nn.Module):
    """Token ids (B, T) -> embeddings (B, T, width)."""

    def __init__(self, config: MeterConfig) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.text_width)
        self.position_embeddings = nn.Embedding(config.max_positions, config.text_width)
        self.token_type_embeddings = nn.Embedding(2 if config.bert else 1, config.text_width)
        self.LayerNorm = nn.LayerNorm(config.text_width, eps=norm_eps(config))
        self.first_position = config.first_position

    def forward(self, ids: Tensor) -> Tensor:
        # Counted, not `arange`: a trace would keep the device that it was made on.
        positions = torch.ones_like(ids).cumsum(1) + (self.first_position - 1)
        x = self.word_embeddings(ids) + self.token_type_embeddings.weight[0] + self.position_embeddings(positions)
        return self.LayerNorm(x)


class TextLayers(nn.Module):
    def __init__(self, config: MeterConfig) -> None:
        super().__init__()
        sizes = (config.text_width, config.text_heads, config.text_mlp, norm_eps(config))
        self.layer = nn.ModuleList(TransformerLayer(*sizes, cross=False) for _ in range(config.text_layers))


class TextModel(nn.Module):
    def __init__(self, config: MeterConfig) -> None:
        super().__init__()
        self.embeddings = TextEmbeddings(config)
        self.encoder = TextLayers(config)
