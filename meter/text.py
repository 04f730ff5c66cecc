"""RoBERTa's encoder, its embedding and its layers apart: the perturbation test drops tokens between them.

Parameter names are those of the checkpoint.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xai.meter.config import MeterConfig
from xai.meter.layer import TransformerLayer

ROBERTA_EPS = 1e-5
FIRST_POSITION = 2  # RoBERTa's padding_idx + 1


class TextEmbeddings(nn.Module):
    """Token ids (B, T) -> embeddings (B, T, width)."""

    def __init__(self, config: MeterConfig) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.text_width)
        self.position_embeddings = nn.Embedding(config.max_positions, config.text_width)
        self.token_type_embeddings = nn.Embedding(1, config.text_width)
        self.LayerNorm = nn.LayerNorm(config.text_width, eps=ROBERTA_EPS)

    def forward(self, ids: Tensor) -> Tensor:
        # Counted, not `arange`: a trace would keep the device that it was made on.
        positions = torch.ones_like(ids).cumsum(1) + (FIRST_POSITION - 1)
        x = self.word_embeddings(ids) + self.token_type_embeddings.weight[0] + self.position_embeddings(positions)
        return self.LayerNorm(x)


class TextLayers(nn.Module):
    def __init__(self, config: MeterConfig) -> None:
        super().__init__()
        sizes = (config.text_width, config.text_heads, config.text_mlp, ROBERTA_EPS)
        self.layer = nn.ModuleList(TransformerLayer(*sizes, cross=False) for _ in range(config.text_layers))


class TextModel(nn.Module):
    def __init__(self, config: MeterConfig) -> None:
        super().__init__()
        self.embeddings = TextEmbeddings(config)
        self.encoder = TextLayers(config)
