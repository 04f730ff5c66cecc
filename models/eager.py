"""The eager reference: evidence by autograd, against which every exported graph is checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from xai.models.contract import Family, choose, read_rows, stream_masks
from xai.models.derive.propagate import propagate
from xai.models.derive.wide import embed_text, encode_image
from xai.models.reduce import LRP, REDUCTIONS, WHOLE, Attended
from xai.runtime.description import picture_inputs
from xai.runtime.sessions.tensors import check_device, to_array, to_tensor
from xai.spectral.arrays import Array


class Explained(NamedTuple):
    """Logits (B, answers), each site's attention and gradient, each layer's features (B, N, width)."""

    logits: Tensor
    attention: list[Tensor]
    gradients: list[Tensor | None]
    """None where the answer does not depend on a site."""
    features: dict[str, Tensor]


def differentiate(
    family: Family, image_tokens: Tensor, image_mask: Tensor, text_embeddings: Tensor, text_mask: Tensor, direction: Tensor
) -> Explained:
    """Gradients of sum(logits * direction) of each question with respect to every attention, by autograd.

    Only paths that lead to attention are followed: none to a parameter, none beyond the cut. `direction` as in `choose`.
    """
    with torch.enable_grad():
        # The inputs ask for a gradient so that every attention becomes part of the graph; none is computed for them.
        inputs = image_tokens.detach().requires_grad_(), image_mask, text_embeddings.detach().requires_grad_(), text_mask
        fused = family.fuse(*inputs, record=True)
        direction = choose(fused.logits.detach(), direction)
        gradients = torch.autograd.grad((fused.logits * direction).sum(), fused.attention, allow_unused=True)
    return Explained(
        fused.logits.detach(),
        [a.detach() for a in fused.attention],
        list(gradients),
        {layer: x.detach() for layer, x in fused.features.items()},
    )


def find_sites(family: Family, explained: Explained, image_mask: Tensor, text_mask: Tensor) -> dict[str, Attended]:
    """Every attention by its site's name; a gradient that does not exist is 0."""
    masks = stream_masks(family.description, image_mask, text_mask)
    return {
        site.name: Attended(
            a,
            torch.zeros_like(a) if g is None else g,
            masks[site.queries],
            masks[site.keys],
            read_rows(family.description, site, text_mask),
        )
        for site, a, g in zip(family.description.sites, explained.attention, explained.gradients, strict=True)
    }


class EagerSession:
    """Runs a `Family` with autograd (`runtime.sessions.protocol.Session`). Graphs:

    - `encode_image`: the picture's arrays (`runtime.description.picture_inputs`) -> image_tokens
    - `embed_text`: ids (B, T) -> text_embeddings
    - `answer`: image_tokens, image_mask, text_embeddings, text_mask -> logits
    - `evidence`: the same and direction (B, answers) -> logits, `LAYER/features` and `SITE/REDUCTION`
    - `maps`: the same -> logits, `LAYER/features`, `SITE/attn` and `SITE/grad` (B, H, Nq, Nk) in full
    - `lrp`: the same -> `SITE/lrp` and `SITE/lrp-product`, of a model that has relevance propagation

    `source` is what messages call the model: the name of its file. `provider` is where it runs, `cpu` or `cuda`: the family is moved
    there, and arrays come as they were given, NumPy's or CuPy's. Raises `XaiError` where PyTorch or CuPy cannot use that device.
    """

    name = "eager"
    precision = "float32"

    def __init__(self, family: Family, source: str = "the model", provider: str = "cpu") -> None:
        check_device(self.name, provider)
        self.device = self.provider = provider
        self.family = family.to(provider)
        self.source = source
        self.model = cast(Any, family).model  # the network that is adapted
        self.description = family.description

    def run(self, graph: str, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """Run a graph; `outputs` names what to return, all of it where None."""
        tensors = {name: to_tensor(value, self.device) for name, value in inputs.items()}
        # By default cuDNN would round the factors of float32 convolutions to TF32.
        with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            match graph:
                case "encode_image":
                    picture = [tensors[name] for name in picture_inputs(self.description.picture)]
                    found = {"image_tokens": encode_image(self.family, *picture)}
                case "embed_text":
                    found = {"text_embeddings": embed_text(self.family, tensors["ids"])}
                case "answer":
                    found = {"logits": self.family.fuse(**self._own(tensors), record=False).logits}
                case "evidence" | "maps":
                    found = self._explain(self._own(tensors), outputs, whole=graph == "maps")
                case "lrp" if self.description.published.lrp:
                    found = self._propagate(tensors)
                case _:
                    raise ValueError(f"no graph is called {graph}")
        return {name: to_array(found[name], inputs.values()) for name in (outputs if outputs is not None else found)}

    def load_ahead(self, graphs: Sequence[str]) -> None:
        """All of them are loaded."""

    def release(self) -> None:
        """Keep the network: it is one, not several graphs."""

    def _own(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Tokens in the network's own type."""
        tokens = ("image_tokens", "text_embeddings")
        return {name: x.to(self.family.dtype) if name in tokens else x for name, x in tensors.items()}

    def _propagate(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        _, sites = propagate(self.family, **tensors)
        return {f"{name}/{kind}": reduce(site).float() for name, site in sites.items() for kind, reduce in LRP.items()}

    def _explain(self, tensors: dict[str, Tensor], outputs: Sequence[str] | None, whole: bool) -> dict[str, Tensor]:
        explained = differentiate(self.family, **tensors)
        sites = find_sites(self.family, explained, tensors["image_mask"], tensors["text_mask"])
        found = {"logits": explained.logits}
        found |= {f"{layer}/features": x for layer, x in explained.features.items()}
        for name, site in sites.items():
            for kind, reduce in (WHOLE if whole else REDUCTIONS).items():
                if outputs is None or f"{name}/{kind}" in outputs:
                    found[f"{name}/{kind}"] = reduce(site)
        return found
