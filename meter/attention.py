"""Multi-head attention as the three parts of METER use it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

MASKED = -1e4
"""Added to the score of a masked key: its probability underflows to exactly 0 and a fully masked row stays finite."""


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(B, T, H * d) -> (B, H, T, d)."""
    return x.reshape(x.shape[0], x.shape[1], heads, x.shape[2] // heads).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """(B, H, T, d) -> (B, T, H * d)."""
    x = x.transpose(1, 2)
    return x.reshape(x.shape[0], x.shape[1], x.shape[2] * x.shape[3])


def key_bias(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """(B, T) mask, true where a token is real -> (B, 1, 1, T) to add to attention scores."""
    return ((~mask.bool()).to(dtype) * MASKED)[:, None, None, :]


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, present: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Attention that also returns its probabilities (B, H, Tq, Tk), so that they can be differentiated; `present` (B, 1, 1, 1) is
    their factor, 0 where there is no key."""
    scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    if bias is not None:
        scores = scores + bias
    probabilities = scores.softmax(-1)
    if present is not None:
        probabilities = probabilities * present
    return probabilities @ v, probabilities


def attend_fused(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    """The same attention where nobody asks for its probabilities."""
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
