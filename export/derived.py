"""The evidence graph of any family: its forward pass, and the gradient that the tape derives from it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from xai.models.contract import Family, choose, stream_masks
from xai.models.derive.propagate import propagate
from xai.models.derive.tape import Tape
from xai.models.reduce import LRP, REDUCTIONS, WHOLE, Attended


class DerivedGraph(nn.Module):
    """Image tokens (B, N, image width), their mask, text embeddings (B, T, text width), their mask, and the direction (B, answers)
    that is explained, 0 for the top answer -> the outputs named, in that order (`xai.models.eager.EagerSession`).

    Shares the family's weights. Raises `NoRule` where the family does what the tape knows no gradient of.
    """

    def __init__(self, family: Family, outputs: Sequence[str]) -> None:
        super().__init__()
        self.family = family
        self.outputs = tuple(outputs)

    def giving(self, outputs: Sequence[str]) -> DerivedGraph:
        """The same network's graph with other outputs."""
        return DerivedGraph(self.family, outputs)

    def forward(
        self, image_tokens: Tensor, image_mask: Tensor, text_embeddings: Tensor, text_mask: Tensor, direction: Tensor
    ) -> tuple[Tensor, ...]:
        tape, dtype = Tape(), self.family.dtype
        image_tokens, text_embeddings = image_tokens.to(dtype), text_embeddings.to(dtype)
        with torch.no_grad():
            with tape:
                tape.watch(image_tokens, text_embeddings)
                fused = self.family.fuse(image_tokens, image_mask, text_embeddings, text_mask, record=True)
            direction = choose(fused.logits, direction)
            gradients = tape.gradients(fused.logits, direction, fused.attention)
            masks = stream_masks(self.family.description, image_mask, text_mask)
            found = {"logits": fused.logits}
            found |= {f"{layer}/features": x for layer, x in fused.features.items()}
            for site, a, g in zip(self.family.description.sites, fused.attention, gradients, strict=True):
                attended = Attended(a, torch.zeros_like(a) if g is None else g, masks[site.queries], masks[site.keys])
                for kind, reduce in (REDUCTIONS | WHOLE).items():
                    if f"{site.name}/{kind}" in self.outputs:
                        found[f"{site.name}/{kind}"] = reduce(attended)
        return tuple(found[name] for name in self.outputs)


class RelevanceGraph(nn.Module):
    """The inputs of `DerivedGraph` -> `SITE/lrp` and `SITE/lrp-product` as named, float32, computed in float64."""

    def __init__(self, family: Family, outputs: Sequence[str]) -> None:
        super().__init__()
        self.family = family
        self.outputs = tuple(outputs)

    def forward(
        self, image_tokens: Tensor, image_mask: Tensor, text_embeddings: Tensor, text_mask: Tensor, direction: Tensor
    ) -> tuple[Tensor, ...]:
        _, sites = propagate(self.family, image_tokens, image_mask, text_embeddings, text_mask, direction)
        found = {f"{name}/{kind}": reduce(site) for name, site in sites.items() for kind, reduce in LRP.items()}
        return tuple(found[name].float() for name in self.outputs)
