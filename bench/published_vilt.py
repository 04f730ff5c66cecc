"""The perturbation test's procedure on ViLT, by transformers' own modules, to compare with; nothing was published, the forms are those
that Chefer et al. (2021) use for one stream (docs/methods.md, Other families).

As `xai.bench.published`: slow on purpose, and sharing no formula with `xai.runtime`. Needs PyTorch; import this module late.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from xai.bench.published import Hooks, PublishedRun, arpack_fiedler, run_steps, set_first_to_zero

_EVERY_PATCH = -1
"""The library's own `max_image_length` that drops none."""


@dataclass(frozen=True)
class Joint:
    """One question: attention A and gradient G (H, T + N, T + N), and features (T + N, d), of each layer; T text tokens come first."""

    attention: list[Tensor]
    gradient: list[Tensor]
    features: list[Tensor]
    text_tokens: int

    def split(self, row: Tensor) -> tuple[Tensor, Tensor]:
        """A row of relevance in its parts: text (T,) with entry 0 set to 0, and patches (P,) without the class token."""
        return set_first_to_zero(row[: self.text_tokens]), row[self.text_tokens + 1 :]

    def products(self) -> list[Tensor]:
        """C = mean_h relu(A * G) of each layer."""
        return [(a * g).clamp(min=0).mean(0) for a, g in zip(self.attention, self.gradient, strict=True)]

    @property
    def blocks(self) -> tuple[slice, slice]:
        """Where words and patches lie."""
        return slice(1, self.text_tokens - 1), slice(self.text_tokens + 1, None)


def run_vilt(model: Any, picture: tuple[Tensor, ...], ids: Tensor, method: str, modality: str, sign: str) -> PublishedRun:
    """Do one run on one question; `model` is a `ViltForQuestionAnswering`, `picture` its pixels (1, 3, h, w), `ids` (1, T), `method` one
    of `METHODS`. Raises `ReferenceFails` where a graph is too small.
    """
    text, image = METHODS[method](record_vilt(model, picture, ids))
    return run_steps(image if modality == "image" else text[1:-1], sign, partial(answer_vilt, model, picture, ids, modality))


def record_vilt(model: Any, picture: tuple[Tensor, ...], ids: Tensor) -> Joint:
    """Answer once and go back from the top answer's logit through the whole network."""
    model.zero_grad()
    layers = model.vilt.encoder.layer
    with Hooks([layer.attention.attention.dropout for layer in layers], retain=True) as maps, Hooks(layers) as outputs:
        logits = _forward(model, picture[0], ids, None)
        logits[0, logits[0].argmax()].backward()
    features = [out[0].detach()[0] for out in outputs.found]
    return Joint([a.detach()[0] for a in maps.found], [a.grad[0] for a in maps.found], features, ids.shape[1])


def answer_vilt(model: Any, picture: tuple[Tensor, ...], ids: Tensor, modality: str, kept: Tensor) -> Tensor:
    """Answer, as logits (answers,), with only `kept` of the modality's tokens, special ones aside, dropped behind the embeddings."""
    tokens, first = ids.shape[1], torch.zeros(1, dtype=torch.int64)

    def keep(image_tokens: int) -> Tensor:
        text, image = torch.arange(tokens), torch.arange(image_tokens)
        if modality == "image":
            image = torch.cat([first, kept + 1])
        else:
            text = torch.cat([first, kept + 1, first + tokens - 1])
        return torch.cat([text, tokens + image])

    return _forward(model, picture[0], ids, keep)[0]


def _forward(model: Any, pixels: Tensor, ids: Tensor, keep: Callable[[int], Tensor] | None) -> Tensor:
    """Logits (1, answers) by the library's forward pass; `keep` gives the places of the tokens that stay, from the number of image tokens.

    The library draws patches in a random order: here they are put in theirs.
    """
    mask = torch.ones(1, *pixels.shape[2:], dtype=torch.int64)
    x, _, (index, (_, columns)) = model.vilt.embeddings.visual_embed(pixels, mask, max_image_length=_EVERY_PATCH)
    order = (index[0, :, 0] * columns + index[0, :, 1]).argsort()
    x = torch.cat([x[:, :1], x[:, 1:][:, order]], 1)

    def drop(_module: Any, _inputs: Any, out: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        places = slice(None) if keep is None else keep(x.shape[1])
        return out[0][:, places], out[1][:, places]

    hook = model.vilt.embeddings.register_forward_hook(drop)
    try:
        given = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": torch.zeros_like(ids)}
        logits: Tensor = model(**given, image_embeds=x, pixel_mask=torch.ones(1, x.shape[1], dtype=torch.int64)).logits
    finally:
        hook.remove()
    return logits


def _raw_attention(found: Joint) -> tuple[Tensor, Tensor]:
    return found.split(found.attention[-1].mean(0)[0])


def _grad_cam(found: Joint) -> tuple[Tensor, Tensor]:
    weight = found.gradient[-1].mean((1, 2), keepdim=True)
    return found.split((found.attention[-1] * weight).mean(0).clamp(min=0)[0])


def _rollout(found: Joint) -> tuple[Tensor, Tensor]:
    product = torch.eye(found.attention[0].shape[-1])
    for attention in found.attention:
        mixed = attention.mean(0) + torch.eye(len(product))
        product = mixed / mixed.sum(-1, keepdim=True) @ product
    return found.split(product[0])


def _attribution(found: Joint) -> tuple[Tensor, Tensor]:
    total = torch.eye(found.attention[0].shape[-1])
    for c in found.products():
        total = total + c @ total
    return found.split(total[0])


def _spectral(found: Joint, weights: Callable[[Joint], list[Tensor]] | None) -> tuple[Tensor, Tensor]:
    """Per block |v| of the last layer's features, or the sum over layers of | M |v| | with weights M of each."""

    def total(block: slice) -> Tensor:
        if weights is None:
            return arpack_fiedler(found.features[-1][block])
        pairs = zip(weights(found), found.features, strict=True)
        return torch.stack([(m[block, block] @ arpack_fiedler(features[block])).abs() for m, features in pairs]).sum(0)

    zero = torch.zeros(1)
    text, image = found.blocks
    return torch.cat([zero, total(text), zero]), total(image)


def _mean_gradients(found: Joint) -> list[Tensor]:
    return [gradient.clamp(min=0).mean(0) for gradient in found.gradient]


METHODS: dict[str, Callable[[Joint], tuple[Tensor, Tensor]]] = {
    "dsm": partial(_spectral, weights=None),
    "dsm_grad": partial(_spectral, weights=_mean_gradients),
    "dsm_grad_cam": partial(_spectral, weights=Joint.products),
    "dsm_grad@all": partial(_spectral, weights=_mean_gradients),
    "dsm_grad_cam@all": partial(_spectral, weights=Joint.products),
    "rm": _attribution,
    "transformer_attr": _attribution,
    "raw_attn": _raw_attention,
    "attn_gradcam": _grad_cam,
    "rollout": _rollout,
}
"""By reference name; all layers count, whichever are asked for. With one stream, relevance maps are transformer attribution."""
