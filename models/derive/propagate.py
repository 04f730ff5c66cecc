"""Relevance of every attention of a network for its answer, in float64: in float32 it would be off by a few per cent of its largest
value, because relevance is divided by sums that nearly cancel."""

from __future__ import annotations

import torch
from torch import Tensor

from xai.models.contract import Family, choose
from xai.models.derive.relevance import RELEVANCE
from xai.models.derive.tape import Tape
from xai.models.derive.wide import Widened
from xai.models.reduce import Relevant


def propagate(
    family: Family, image_tokens: Tensor, image_mask: Tensor, text_embeddings: Tensor, text_mask: Tensor, direction: Tensor
) -> tuple[Tensor, dict[str, Relevant]]:
    """Logits, and relevance and gradient (B, H, Nq, Nk) of every attention that the answer depends on, by its site's name; all float64.

    Relevance starts as the weights of `direction` (`xai.models.contract.choose`) that are above 0; gradients are those of
    sum(logits * direction). Raises `NoRule` where the network does something that has no rule of relevance, or of gradients.
    """
    relevance, gradient = Tape(RELEVANCE), Tape()
    image_tokens, text_embeddings = image_tokens.double(), text_embeddings.double()
    with torch.no_grad(), Widened(text_embeddings):
        for tape in (relevance, gradient):
            tape.watch(image_tokens, text_embeddings)
        with relevance, gradient:
            fused = family.fuse(image_tokens, image_mask, text_embeddings, text_mask, record=True)
        direction = choose(fused.logits, direction.double())
        found = relevance.gradients(fused.logits, direction.clamp(min=0), fused.attention)
        gradients = gradient.gradients(fused.logits, direction, fused.attention)
    sites = zip(family.description.sites, found, gradients, strict=True)
    return fused.logits, {site.name: Relevant(r, g) for site, r, g in sites if r is not None and g is not None}
