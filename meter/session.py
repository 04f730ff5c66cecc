"""The eager reference: evidence by autograd, against which every exported graph is checked.

Implements the session protocol of the runtime (`run(graph, inputs, outputs)`), so that an explainer takes it as it takes
an exported bundle. Graphs, inputs and outputs carry the names that bundles use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xai.base.description import TOP_ANSWER
from xai.meter.answer import answer
from xai.meter.layer import LayerOutput
from xai.meter.model import Meter


class Site(NamedTuple):
    """One attention of the network: its evidence's name, probabilities A and gradient G (B, H, Nq, Nk), and its masks."""

    name: str
    attention: Tensor
    gradient: Tensor
    valid: Tensor  # (B, 1, Nq, Nk), true where query and key are both real


class Explained(NamedTuple):
    """Logits (B, answers), the explained answer (B,), every attention site, every stream's features (B, N, hidden)."""

    logits: Tensor
    target: Tensor
    sites: list[Site]
    features: dict[str, Tensor]


def differentiate(
    model: Meter, image_tokens: Tensor, image_mask: Tensor, text_embeddings: Tensor, text_mask: Tensor, target: Tensor
) -> Explained:
    """Gradients of each question's target logit with respect to every attention map (docs/methods.md, Evidence).

    Only paths that lead to attention maps are followed: none to a parameter, none into the vision encoder.
    `target` (B,) holds answer ids, or `TOP_ANSWER`.
    """
    with torch.enable_grad():
        # The inputs ask for a gradient so that every map becomes part of the graph; none is computed for them.
        fusion = model.fuse(
            image_tokens.detach().requires_grad_(), image_mask, text_embeddings.detach().requires_grad_(), text_mask, with_maps=True
        )
        target = torch.where(target == TOP_ANSWER, fusion.logits.argmax(-1), target)
        names, maps, valid = [], [], []
        for name, attention, queries, keys in _maps(fusion.encoder, fusion.text, fusion.image, text_mask, image_mask):
            names.append(name)
            maps.append(attention)
            valid.append(queries.bool()[:, None, :, None] & keys.bool()[:, None, None, :])
        score = fusion.logits.gather(-1, target[:, None]).sum()
        gradients = torch.autograd.grad(score, maps)
    sites = [Site(n, a.detach(), g, v) for n, a, g, v in zip(names, maps, gradients, valid, strict=True)]
    streams = {"text": fusion.text, "image": fusion.image}
    features = {f"{s}{i}/features": out.x.detach() for s, layers in streams.items() for i, out in enumerate(layers)}
    return Explained(fusion.logits.detach(), target, sites, features)


def _maps(
    encoder: list[LayerOutput], text: list[LayerOutput], image: list[LayerOutput], text_mask: Tensor, image_mask: Tensor
) -> list[tuple[str, Tensor, Tensor, Tensor]]:
    found = []
    for stream, layers, own, other in (
        ("encoder", encoder, text_mask, text_mask),
        ("text", text, text_mask, image_mask),
        ("image", image, image_mask, text_mask),
    ):
        for i, layer in enumerate(layers):
            for kind, attention, keys in (("self", layer.self_attention, own), ("cross", layer.cross_attention, other)):
                if attention is not None:
                    found.append((f"{stream}{i}/{kind}", attention, own, keys))
    return found


# Evidence of one site, reduced over heads (docs/design.md, The way of the data).


def mean_attention(site: Site) -> Tensor:
    """mean_h A, (B, Nq, Nk)."""
    return site.attention.mean(1)


def mean_gradient(site: Site) -> Tensor:
    """mean_h relu(G), (B, Nq, Nk)."""
    return (site.gradient.relu() * site.valid).mean(1)


def mean_product(site: Site) -> Tensor:
    """C = mean_h relu(A * G), (B, Nq, Nk)."""
    return (site.attention * site.gradient).relu().mean(1)


def grad_cam(site: Site) -> Tensor:
    """Row 0 of relu(mean_h(A * mean_qk(G))), (B, Nk); padding does not count in the mean."""
    weight = (site.gradient * site.valid).sum((2, 3)) / site.valid.sum((2, 3))  # (B, H)
    return (site.attention[:, :, 0] * weight[:, :, None]).mean(1).relu()


REDUCTIONS: dict[str, Callable[[Site], Tensor]] = {
    "attention": mean_attention,
    "gradient": mean_gradient,
    "product": mean_product,
    "grad-cam": grad_cam,
}


class EagerSession:
    """Runs a `Meter` with autograd. Graphs:

    - `encode_image`: pixels (B, 3, S, S) -> image_tokens
    - `embed_text`: ids (B, T) -> text_embeddings
    - `answer`: image_tokens, image_mask, text_embeddings, text_mask -> logits
    - `evidence`: the same and target (B,) -> logits, target, `STREAMn/features` and `STREAMn/SITE/REDUCTION`
    - `maps`: the same -> logits, target, `STREAMn/SITE/attn` and `.../grad` (B, H, Nq, Nk) in full

    `source` is what messages call the model: the name of its file.
    """

    name = "eager"
    provider = "cpu"
    precision = "float32"
    device = "cpu"

    def __init__(self, model: Meter, source: str = "the model") -> None:
        self.model = model
        self.source = source
        self.description = model.config.description

    def run(self, graph: str, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        """Run a graph; `outputs` names what to return, all of it where None."""
        tensors = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in inputs.items()}
        with torch.no_grad():
            match graph:
                case "encode_image":
                    found = {"image_tokens": self.model.encode_image(tensors["pixels"])}
                case "embed_text":
                    found = {"text_embeddings": self.model.embed_text(tensors["ids"])}
                case "answer":
                    found = {"logits": answer(self.model, **tensors)}
                case "evidence" | "maps":
                    explained = differentiate(self.model, **tensors)
                    found = {"logits": explained.logits, "target": explained.target}
                    found |= _evidence(explained, outputs) if graph == "evidence" else _full_maps(explained)
                case _:
                    raise ValueError(f"no graph is called {graph}")
        return {name: found[name].numpy() for name in (outputs if outputs is not None else found)}


def _evidence(explained: Explained, outputs: Sequence[str] | None) -> dict[str, Tensor]:
    found = dict(explained.features)
    for site in explained.sites:
        for kind, reduce in REDUCTIONS.items():
            name = f"{site.name}/{kind}"
            if outputs is None or name in outputs:
                found[name] = reduce(site)
    return found


def _full_maps(explained: Explained) -> dict[str, Tensor]:
    found = dict(explained.features)
    for site in explained.sites:
        found[f"{site.name}/attn"] = site.attention
        found[f"{site.name}/grad"] = site.gradient * site.valid
    return found
