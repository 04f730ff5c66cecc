"""Evidence of one attention, reduced over heads: at 576 px one whole map of METER is 81 MB."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor


class Attended(NamedTuple):
    """One attention with its gradient.

    A padded query has no gradient and a padded key no attention, so a mask is needed only where a key's gradient stands alone.
    """

    attention: Tensor
    """A (B, H, Nq, Nk)"""
    gradient: Tensor
    """G (B, H, Nq, Nk)"""
    queries: Tensor
    """(B, Nq), true where the token is real"""
    keys: Tensor
    """(B, Nk)"""


def mean_attention(site: Attended) -> Tensor:
    """mean_h A, (B, Nq, Nk)."""
    return site.attention.mean(1)


def mean_gradient(site: Attended) -> Tensor:
    """mean_h relu(G), (B, Nq, Nk)."""
    return site.gradient.relu().mean(1) * site.keys.to(site.gradient.dtype)[:, None, :]


def mean_product(site: Attended) -> Tensor:
    """C = mean_h relu(A * G), (B, Nq, Nk)."""
    return (site.attention * site.gradient).relu().mean(1)


def grad_cam(site: Attended) -> Tensor:
    """Row 0 of relu(mean_h(A * mean_qk(G))), (B, Nk); padding does not count in the mean."""
    keys = site.keys.to(site.gradient.dtype)
    pairs = (site.queries.sum(1) * site.keys.sum(1)).clamp(min=1).to(site.gradient.dtype)  # (B,)
    weight = (site.gradient.sum(2) * keys[:, None, :]).sum(-1) / pairs[:, None]  # (B, H)
    return (site.attention[:, :, 0] * weight[:, :, None]).mean(1).relu()


def whole_attention(site: Attended) -> Tensor:
    """A, (B, H, Nq, Nk)."""
    return site.attention


def whole_gradient(site: Attended) -> Tensor:
    """G, (B, H, Nq, Nk)."""
    return site.gradient * site.keys.to(site.gradient.dtype)[:, None, None, :]


REDUCTIONS: dict[str, Callable[[Attended], Tensor]] = {
    "attention": mean_attention,
    "gradient": mean_gradient,
    "product": mean_product,
    "grad-cam": grad_cam,
}
"""Kinds of evidence that methods read."""

WHOLE: dict[str, Callable[[Attended], Tensor]] = {"attn": whole_attention, "grad": whole_gradient}
"""Kinds of evidence that keep the heads apart."""


class Relevant(NamedTuple):
    """One attention's relevance, with its gradient."""

    relevance: Tensor
    """R (B, H, Nq, Nk)"""
    gradient: Tensor
    """G (B, H, Nq, Nk)"""


def mean_relevance(site: Relevant) -> Tensor:
    """mean_h R, (B, Nq, Nk)."""
    return site.relevance.mean(1)


def mean_relevance_product(site: Relevant) -> Tensor:
    """mean_h relu(R * G), (B, Nq, Nk)."""
    return (site.relevance * site.gradient).relu().mean(1)


LRP: dict[str, Callable[[Relevant], Tensor]] = {"lrp": mean_relevance, "lrp-product": mean_relevance_product}
"""Kinds of evidence that layer-wise relevance propagation gives."""
