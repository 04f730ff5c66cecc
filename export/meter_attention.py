"""Attention in the evidence graph: forward, keeping what the gradient needs, and backward, in three orders of products.

All three give the same but for rounding. A product of three matrices costs least where the smallest is multiplied first
(`xai.meter.answer`): where queries or keys are few, such as a question's tokens beside an image's, the long side is not projected.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from xai.meter.answer import multiply_heads
from xai.meter.attention import merge_heads, split_heads
from xai.meter.layer import Attention


class Norm(NamedTuple):
    """What the gradient of a LayerNorm needs: its input with mean 0 and variance 1, and 1 / standard deviation."""

    unit: Tensor  # (B, T, width)
    rstd: Tensor  # (B, T, 1)

    def first(self) -> Norm:
        return Norm(self.unit[:, :1], self.rstd[:, :1])


def normalise(u: Tensor, layer: nn.LayerNorm) -> tuple[Tensor, Norm]:
    """LayerNorm with statistics in float32 or better: half precision loses them, and ONNX stores them as float32."""
    wide = torch.promote_types(u.dtype, torch.float32)
    v = u.to(wide)
    y, mean, rstd = torch.native_layer_norm(v, layer.normalized_shape, layer.weight.to(wide), layer.bias.to(wide), layer.eps)
    return y.to(u.dtype), Norm((v - mean) * rstd, rstd)


def normalise_back(dy: Tensor, saved: Norm, layer: nn.LayerNorm) -> Tensor:
    """Gradient with respect to a LayerNorm's input, from that of its output, both (B, T, width)."""
    g = dy.to(saved.unit.dtype) * layer.weight.to(saved.unit.dtype)
    du = saved.rstd * (g - g.mean(-1, keepdim=True) - saved.unit * (g * saved.unit).mean(-1, keepdim=True))
    return du.to(dy.dtype)


def apply(layer: nn.Linear, x: Tensor) -> Tensor:
    """A linear layer in the type of its weights, which may be narrower than that of `x`."""
    return layer(x.to(layer.weight.dtype))


def apply_back(layer: nn.Linear, dy: Tensor) -> Tensor:
    """Gradient with respect to a linear layer's input."""
    return dy.to(layer.weight.dtype) @ layer.weight


class AttentionGradient(NamedTuple):
    """Gradients with respect to the queries' input, the keys' input and the probabilities."""

    x: Tensor  # (B, Nq, width)
    keys: Tensor  # (B, Nk, width)
    probabilities: Tensor  # (B, H, Nq, Nk)


class Attended(Protocol):
    """What an attention block keeps of its forward pass."""

    @property
    def probabilities(self) -> Tensor:
        """(B, H, Nq, Nk)"""

    def first(self) -> Attended:
        """The same, cut to the first query."""

    def back(self, block: Attention, dy: Tensor) -> AttentionGradient:
        """The gradients, of that of the block's output, `dy` (B, Nq, width)."""


class Whole(NamedTuple):
    """Queries, keys and values, all projected; `q` is already divided by sqrt(d)."""

    q: Tensor  # (B, H, Nq, d)
    k: Tensor  # (B, H, Nk, d)
    v: Tensor  # (B, H, Nk, d)
    keys: Tensor  # (B, Nk, width), what was projected
    probabilities: Tensor
    mixed: Tensor  # (B, H, Nq, d), probabilities @ v
    norm: Norm

    def first(self) -> FromFew:
        q, probabilities, mixed = (x[:, :, :1] for x in (self.q, self.probabilities, self.mixed))
        return FromFew(q, self.keys, probabilities, mixed, self.norm.first())

    def back(self, block: Attention, dy: Tensor) -> AttentionGradient:
        du = normalise_back(dy, self.norm, block.output.LayerNorm)
        d_mixed = split_heads(apply_back(block.output.dense, du), block.heads)
        gradient = d_mixed @ self.v.transpose(-1, -2)
        d_scores = softmax_back(self.probabilities, gradient, d_mixed, self.mixed).to(self.k.dtype)
        dq = d_scores @ self.k * self.k.shape[-1] ** -0.5
        dk = d_scores.transpose(-1, -2) @ self.q
        dv = self.probabilities.to(d_mixed.dtype).transpose(-1, -2) @ d_mixed
        d_keys = apply_back(block.self.key, merge_heads(dk)) + apply_back(block.self.value, merge_heads(dv))
        return AttentionGradient(du + apply_back(block.self.query, merge_heads(dq)), d_keys, gradient)


class FromFew(NamedTuple):
    """Few queries: keys and values are not projected."""

    q: Tensor  # (B, H, Nq, d), divided by sqrt(d)
    keys: Tensor  # (B, Nk, width)
    probabilities: Tensor
    mixed: Tensor  # (B, H, Nq, d)
    norm: Norm

    def first(self) -> FromFew:
        q, probabilities, mixed = (x[:, :, :1] for x in (self.q, self.probabilities, self.mixed))
        return FromFew(q, self.keys, probabilities, mixed, self.norm.first())

    def back(self, block: Attention, dy: Tensor) -> AttentionGradient:
        key, value, heads = block.self.key, block.self.value, block.heads
        du = normalise_back(dy, self.norm, block.output.LayerNorm)
        d_mixed = split_heads(apply_back(block.output.dense, du), heads)
        q, d_mixed_through = multiply_heads(self.q, by_head(key, heads)), multiply_heads(d_mixed, by_head(value, heads))
        keys = self.keys.to(d_mixed.dtype)
        shift = d_mixed @ value.bias.reshape(heads, -1, 1)
        gradient = (join_heads(d_mixed_through) @ keys.transpose(-1, -2)).reshape(self.probabilities.shape) + shift
        d_scores = softmax_back(self.probabilities, gradient, d_mixed, self.mixed).to(keys.dtype)
        # The key's bias would add its product with the sum of a row of `d_scores`, which is zero.
        through = (join_heads(d_scores) @ keys).reshape(q.shape)
        dq = multiply_heads(through, by_head(key, heads).transpose(1, 2)) * self.q.shape[-1] ** -0.5
        weights = torch.cat([join_heads(d_scores), join_heads(self.probabilities.to(keys.dtype))], 1)
        d_keys = weights.transpose(-1, -2) @ torch.cat([join_heads(q), join_heads(d_mixed_through)], 1)
        return AttentionGradient(du + apply_back(block.self.query, merge_heads(dq)), d_keys, gradient)


class ToFew(NamedTuple):
    """Few keys: queries and what is mixed are not projected; `k` is divided by sqrt(d)."""

    x: Tensor  # (B, Nq, width)
    k: Tensor  # (B, H, Nk, d)
    v: Tensor  # (B, H, Nk, d)
    probabilities: Tensor
    norm: Norm

    def first(self) -> ToFew:
        return ToFew(self.x[:, :1], self.k, self.v, self.probabilities[:, :, :1], self.norm.first())

    def back(self, block: Attention, dy: Tensor) -> AttentionGradient:
        query, dense, heads = block.self.query, block.output.dense, block.heads
        du = normalise_back(dy, self.norm, block.output.LayerNorm)
        narrow = du.to(dense.weight.dtype)
        output = by_head_out(dense, heads)
        k, v = join_heads(multiply_heads(self.k, by_head(query, heads))), join_heads(multiply_heads(self.v, output))
        gradient = split_keys(narrow @ v.transpose(-1, -2), heads)
        d_scores = self.probabilities * (gradient - (self.probabilities * gradient).sum(-1, keepdim=True))
        d_scores, probabilities = (join_keys(m).to(narrow.dtype) for m in (d_scores, self.probabilities))
        shape = (*self.k.shape[:3], -1)
        dk = multiply_heads(
            (d_scores.transpose(-1, -2) @ self.x.to(narrow.dtype)).reshape(shape), by_head(query, heads).transpose(1, 2)
        ) + d_scores.sum(1).reshape(*self.k.shape[:3], 1) * query.bias.reshape(heads, 1, -1)
        dv = multiply_heads((probabilities.transpose(-1, -2) @ narrow).reshape(shape), output.transpose(1, 2))
        d_keys = apply_back(block.self.key, merge_heads(dk * self.k.shape[-1] ** -0.5)) + apply_back(block.self.value, merge_heads(dv))
        return AttentionGradient(du + d_scores @ k, d_keys, gradient)


def softmax_back(probabilities: Tensor, gradient: Tensor, d_mixed: Tensor, mixed: Tensor) -> Tensor:
    """Gradient of the scores (B, H, Nq, Nk) from that of the probabilities."""
    # The softmax's row sum of P * G equals this sum over d, which is shorter.
    return probabilities * (gradient - (d_mixed * mixed).sum(-1, keepdim=True))


def attend(block: Attention, x: Tensor, keys: Tensor, bias: Tensor) -> tuple[Tensor, Whole]:
    """Attention of `x` (B, Nq, width) on `keys` (B, Nk, width), added to `x` and normalised."""
    q = split_heads(apply(block.self.query, x), block.heads)
    q = q * q.shape[-1] ** -0.5
    k = split_heads(apply(block.self.key, keys), block.heads)
    v = split_heads(apply(block.self.value, keys), block.heads)
    # Scores keep the type of `x` where products are narrower: the softmax turns their rounding into a factor.
    probabilities = (q.to(x.dtype) @ k.to(x.dtype).transpose(-1, -2) + bias).softmax(-1)
    mixed = probabilities.to(v.dtype) @ v
    y, norm = normalise(apply(block.output.dense, merge_heads(mixed)) + x, block.output.LayerNorm)
    return y, Whole(q, k, v, keys, probabilities, mixed, norm)


def attend_from_few(block: Attention, x: Tensor, keys: Tensor, bias: Tensor) -> tuple[Tensor, FromFew]:
    """`attend` where queries are few."""
    heads = block.heads
    q = split_heads(apply(block.self.query, x), heads)
    q = q * q.shape[-1] ** -0.5
    # The key's bias adds the same to every score of a query, which the softmax takes away again.
    through = join_heads(multiply_heads(q, by_head(block.self.key, heads)))
    scores = through.to(x.dtype) @ keys.transpose(-1, -2)
    probabilities = (scores.reshape(*q.shape[:3], -1) + bias).softmax(-1)
    mixed = (join_heads(probabilities.to(q.dtype)) @ keys.to(q.dtype)).reshape(*q.shape[:3], -1)
    mixed = multiply_heads(mixed, by_head(block.self.value, heads).transpose(1, 2)) + block.self.value.bias.reshape(heads, 1, -1)
    y, norm = normalise(apply(block.output.dense, merge_heads(mixed)) + x, block.output.LayerNorm)
    return y, FromFew(q, keys, probabilities, mixed, norm)


def attend_to_few(block: Attention, x: Tensor, keys: Tensor, bias: Tensor) -> tuple[Tensor, ToFew]:
    """`attend` where keys are few."""
    query, dense, heads = block.self.query, block.output.dense, block.heads
    k = split_heads(apply(block.self.key, keys), heads)
    k = k * k.shape[-1] ** -0.5
    v = split_heads(apply(block.self.value, keys), heads)
    shift = (k @ query.bias.reshape(heads, -1, 1)).transpose(-1, -2) + bias  # (B, H, 1, Nk)
    through = join_heads(multiply_heads(k, by_head(query, heads)))
    probabilities = (split_keys(x @ through.to(x.dtype).transpose(-1, -2), heads) + shift).softmax(-1)
    mixed = join_keys(probabilities).to(v.dtype) @ join_heads(multiply_heads(v, by_head_out(dense, heads)))
    y, norm = normalise(mixed + dense.bias + x, block.output.LayerNorm)
    return y, ToFew(x, k, v, probabilities, norm)


def by_head(layer: nn.Linear, heads: int) -> Tensor:
    """Weights of a projection to queries, keys or values, (H, d, width)."""
    return layer.weight.reshape(heads, -1, layer.in_features)


def by_head_out(layer: nn.Linear, heads: int) -> Tensor:
    """Weights of the projection of what was mixed, (H, d, width)."""
    return layer.weight.reshape(layer.out_features, heads, -1).permute(1, 2, 0)


def join_heads(x: Tensor) -> Tensor:
    """(B, H, N, width) -> (B, H * N, width)."""
    return x.reshape(x.shape[0], x.shape[1] * x.shape[2], x.shape[3])


def join_keys(x: Tensor) -> Tensor:
    """(B, H, Nq, Nk) -> (B, Nq, H * Nk)."""
    return x.transpose(1, 2).reshape(x.shape[0], x.shape[2], x.shape[1] * x.shape[3])


def split_keys(x: Tensor, heads: int) -> Tensor:
    """(B, Nq, H * Nk) -> (B, H, Nq, Nk)."""
    return x.reshape(x.shape[0], x.shape[1], heads, -1).transpose(1, 2)
