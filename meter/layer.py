"""The post-norm transformer layer that RoBERTa and METER's cross-modal stacks share.

Parameter names are those of the checkpoint. Nothing is stored on a module: attention probabilities are returned.
"""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from xai.meter.attention import attend, attend_fused, merge_heads, split_heads


class Stream(NamedTuple):
    """One modality inside the network: features (B, T, width) and the bias (B, 1, 1, T) of its masked tokens."""

    x: Tensor
    bias: Tensor | None
    present: Tensor | None = None
    """(B, 1, 1, 1), 0 where no token is real, which the bias alone makes an even attention to padding; None where one always is."""


class LayerOutput(NamedTuple):
    """Features (B, T, width); attention probabilities (B, H, Tq, Tk), or None where they were not asked for."""

    x: Tensor
    self_attention: Tensor | None
    cross_attention: Tensor | None


class QueryKeyValue(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)


class DenseNorm(nn.Module):
    """Project, add to the residual stream, normalise."""

    def __init__(self, inner: int, width: int, eps: float) -> None:
        super().__init__()
        self.dense = nn.Linear(inner, width)
        self.LayerNorm = nn.LayerNorm(width, eps=eps)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        return self.LayerNorm(self.dense(x) + residual)


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, eps: float) -> None:
        super().__init__()
        self.heads = heads
        self.self = QueryKeyValue(width)
        self.output = DenseNorm(width, width, eps)

    def forward(self, x: Tensor, keys: Stream, with_maps: bool) -> tuple[Tensor, Tensor | None]:
        q = split_heads(self.self.query(x), self.heads)
        k = split_heads(self.self.key(keys.x), self.heads)
        v = split_heads(self.self.value(keys.x), self.heads)
        if with_maps:
            mixed, probabilities = attend(q, k, v, keys.bias, keys.present)
        else:
            mixed, probabilities = attend_fused(q, k, v, keys.bias), None
            mixed = mixed if keys.present is None else mixed * keys.present
        return self.output(merge_heads(mixed), x), probabilities


class Intermediate(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, inner)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.dense(x))


class TransformerLayer(nn.Module):
    """Self-attention, then cross-attention on the other stream where `cross`, then feed-forward; each adds and normalises."""

    def __init__(self, width: int, heads: int, inner: int, eps: float, cross: bool) -> None:
        super().__init__()
        self.attention = Attention(width, heads, eps)
        if cross:
            self.crossattention = Attention(width, heads, eps)
        self.intermediate = Intermediate(width, inner)
        self.output = DenseNorm(inner, width, eps)

    def forward(self, stream: Stream, other: Stream | None, with_maps: bool) -> LayerOutput:
        x, self_attention = self.attention(stream.x, stream, with_maps)
        cross_attention = None
        if other is not None:
            x, cross_attention = self.crossattention(x, other, with_maps)
        return LayerOutput(self.feed_forward(x), self_attention, cross_attention)

    def feed_forward(self, x: Tensor) -> Tensor:
        """(B, T, width), added and normalised."""
        return self.output(self.intermediate(x), x)
