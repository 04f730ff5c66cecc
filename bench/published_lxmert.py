"""The published procedure on LXMERT, by transformers' own modules, to compare with (docs/methods.md, Other families).

As `xai.bench.published`: slow on purpose, and sharing no formula with `xai.runtime`; matrices are whole. Needs PyTorch; import this module
late.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from xai.bench.published import Hooks, PublishedRun, arpack_fiedler, run_steps, set_first_to_zero


@dataclass(frozen=True)
class Crossed:
    """One question: attention A and gradient G (H, Nq, Nk) by their names in `Evidence`, an attention that no answer depends on with a
    gradient of 0, and the features of the cross-modal layers, `textL` and `imageL`."""

    attention: Mapping[str, Tensor]
    gradient: Mapping[str, Tensor]
    features: Mapping[str, Tensor]
    encoder: list[str]
    vision: list[str]
    layers: int

    def product(self, site: str) -> Tensor:
        """C = mean_h relu(A * G)."""
        return (self.attention[site] * self.gradient[site]).clamp(min=0).mean(0)

    @property
    def text(self) -> list[str]:
        """The self-attentions of the text, in their order."""
        return self.encoder + [f"text{i}/self" for i in range(self.layers)]

    @property
    def last(self) -> str:
        """The last attention from the text to the boxes."""
        return f"text{self.layers - 1}/cross"


def run_lxmert(model: Any, picture: tuple[Tensor, ...], ids: Tensor, method: str, modality: str, sign: str) -> PublishedRun:
    """Do one of the published table's runs on one question; `model` is a `LxmertForQuestionAnswering`, `picture` its features (1, N, D) and
    boxes (1, N, 4), `ids` (1, T), `method` one of `METHODS`. Raises `ReferenceFails` where the published code fails.
    """
    return _run(model, picture, record_lxmert(model, picture, ids, torch.max), method, modality, sign, ids)


def run_as_published(model: Any, picture: tuple[Tensor, ...], ids: Tensor, method: str, modality: str, sign: str) -> PublishedRun:
    """The same of what the published figures explained: by the spectral methods the sum of all scores."""
    scalar = torch.sum if method in SUMMED else torch.max
    return _run(model, picture, record_lxmert(model, picture, ids, scalar), method, modality, sign, ids)


def _run(model: Any, picture: tuple[Tensor, ...], found: Crossed, method: str, modality: str, sign: str, ids: Tensor) -> PublishedRun:
    text, image = METHODS[method](found)
    return run_steps(image if modality == "image" else text[1:-1], sign, partial(answer_lxmert, model, picture, ids, modality))


def record_lxmert(model: Any, picture: tuple[Tensor, ...], ids: Tensor, scalar: Callable[[Tensor], Tensor]) -> Crossed:
    """Answer once and go back from a scalar of the logits (answers,) through the whole network."""
    model.zero_grad()
    encoder = model.lxmert.encoder
    names, modules = [], []
    for i, layer in enumerate(encoder.layer):
        names.append(f"encoder{i}/self")
        modules.append(layer.attention.self.dropout)
    for i, layer in enumerate(encoder.r_layers):
        names.append(f"vision{i}/self")
        modules.append(layer.attention.self.dropout)
    for i, layer in enumerate(encoder.x_layers):  # one module attends across in both directions, from the text first
        names += [f"text{i}/cross", f"image{i}/cross", f"text{i}/self", f"image{i}/self"]
        modules += [layer.visual_attention.att.dropout, layer.lang_self_att.self.dropout, layer.visn_self_att.self.dropout]
    with Hooks(modules, retain=True) as maps, Hooks(encoder.x_layers) as outputs:
        logits = _forward(model, picture, ids)[0]
        scalar(logits).backward()
    features = {f"{s}{i}": x.detach()[0] for i, pair in enumerate(outputs.found) for s, x in zip(("text", "image"), pair, strict=False)}
    return Crossed(
        {name: a.detach()[0] for name, a in zip(names, maps.found, strict=True)},
        {name: torch.zeros_like(a[0]) if a.grad is None else a.grad[0] for name, a in zip(names, maps.found, strict=True)},
        features,
        [name for name in names if name.startswith("encoder")],
        [name for name in names if name.startswith("vision")],
        len(encoder.x_layers),
    )


def answer_lxmert(model: Any, picture: tuple[Tensor, ...], ids: Tensor, modality: str, kept: Tensor) -> Tensor:
    """Answer, as logits (answers,), with only `kept` of the boxes, or of the words between the special tokens, given to the network."""
    if modality == "text":
        ids = torch.cat([ids[:, :1], ids[:, 1:-1][:, kept], ids[:, -1:]], 1)
        return _forward(model, picture, ids)[0]
    if len(kept):
        features, boxes = picture
        return _forward(model, (features[:, kept], boxes[:, kept]), ids)[0]
    # The library takes no picture without a box: a blank one is given, and whatever attends to it is set to nothing.
    across = [layer.visual_attention.att.dropout for layer in model.lxmert.encoder.x_layers]
    hooks = [module.register_forward_hook(_nothing) for module in across]
    try:
        return _forward(model, (torch.zeros_like(picture[0][:, :1]), torch.zeros_like(picture[1][:, :1])), ids)[0]
    finally:
        for hook in hooks:
            hook.remove()


def _nothing(_module: Any, _inputs: Any, probabilities: Tensor) -> Tensor:
    return torch.zeros_like(probabilities)


def _forward(model: Any, picture: tuple[Tensor, ...], ids: Tensor) -> Tensor:
    logits: Tensor = model(input_ids=ids, visual_feats=picture[0], visual_pos=picture[1]).question_answering_score
    return logits


def _raw_attention(found: Crossed) -> tuple[Tensor, Tensor]:
    return set_first_to_zero(found.attention[found.text[-1]].mean(0)[0]), found.attention[found.last].mean(0)[0]


def _grad_cam(found: Crossed) -> tuple[Tensor, Tensor]:
    def cam(site: str) -> Tensor:
        weight = found.gradient[site].mean((1, 2), keepdim=True)
        return (found.attention[site] * weight).mean(0).clamp(min=0)[0]

    return set_first_to_zero(cam(found.text[-1])), cam(found.last)


def _rollout(found: Crossed) -> tuple[Tensor, Tensor]:
    def roll(names: list[str]) -> Tensor:
        product = torch.eye(found.attention[names[0]].shape[-1])
        for name in names:
            mixed = found.attention[name].mean(0) + torch.eye(len(product))
            product = mixed / mixed.sum(-1, keepdim=True) @ product
        return product

    boxes = roll(found.vision + [f"image{i}/self" for i in range(found.layers - 1)])
    image = roll(found.text[:-1]).T @ found.attention[found.last].mean(0) @ boxes
    return set_first_to_zero(roll(found.text)[0]), image[0]


def _attribution(found: Crossed) -> tuple[Tensor, Tensor]:
    total = torch.eye(found.attention[found.text[0]].shape[-1])
    for name in found.text:
        total = total + found.product(name) @ total
    return set_first_to_zero(total[0]), found.product(found.last)[0]


def _normalised(r: Tensor) -> Tensor:
    """I and the rows of R - I, each divided by its sum; of a row of zeros I alone (Chefer et al. 2021, eq. 8 and 9)."""
    identity = torch.eye(len(r))
    rest = r - identity
    sums = rest.sum(-1, keepdim=True)
    return identity + torch.where(sums == 0, torch.zeros_like(rest), rest / sums)


def _relevance_maps(found: Crossed) -> tuple[Tensor, Tensor]:
    tokens, boxes = found.attention[found.last].shape[-2:]
    # In float64: R - I is a small difference, which float32 would lose.
    tt, ii = torch.eye(tokens, dtype=torch.float64), torch.eye(boxes, dtype=torch.float64)
    ti, it = torch.zeros(tokens, boxes, dtype=torch.float64), torch.zeros(boxes, tokens, dtype=torch.float64)
    for name in found.encoder:
        c = found.product(name).double()
        tt, ti = tt + c @ tt, ti + c @ ti
    for name in found.vision:
        c = found.product(name).double()
        ii, it = ii + c @ ii, it + c @ it
    for i in range(found.layers):
        x, y = (found.product(f"{stream}{i}/cross").double() for stream in ("text", "image"))
        nt, ni = _normalised(tt), _normalised(ii)
        tt, ti, ii, it = tt + x @ it, ti + nt.T @ (x @ ni), ii + y @ ti, it + ni.T @ (y @ nt)
        c, d = (found.product(f"{stream}{i}/self").double() for stream in ("text", "image"))
        tt, ti = tt + c @ tt, ti + c @ ti
        ii, it = ii + d @ ii, it + d @ it
    return set_first_to_zero(tt[0].float()), ti[0].float()


def _spectral(found: Crossed, weight: Callable[[Crossed, str], Tensor] | None) -> tuple[Tensor, Tensor]:
    """|v| of the last layer that an answer depends on, or the sum over these layers of | M |v| | with weights M."""

    def total(stream: str, layers: int, inner: slice) -> Tensor:
        if weight is None:
            return arpack_fiedler(found.features[f"{stream}{layers - 1}"][inner])
        vectors = [arpack_fiedler(found.features[f"{stream}{i}"][inner]) for i in range(layers)]
        return torch.stack([(weight(found, f"{stream}{i}/self")[inner, inner] @ v).abs() for i, v in enumerate(vectors)]).sum(0)

    zero = torch.zeros(1)
    text, image = total("text", found.layers, slice(1, -1)), total("image", found.layers - 1, slice(None))
    return torch.cat([zero, text, zero]), image


def _mean_gradient(found: Crossed, site: str) -> Tensor:
    return found.gradient[site].clamp(min=0).mean(0)


METHODS: dict[str, Callable[[Crossed], tuple[Tensor, Tensor]]] = {
    "dsm": partial(_spectral, weight=None),
    "dsm_grad": partial(_spectral, weight=_mean_gradient),
    "dsm_grad_cam": partial(_spectral, weight=Crossed.product),
    "dsm_grad@all": partial(_spectral, weight=_mean_gradient),
    "dsm_grad_cam@all": partial(_spectral, weight=Crossed.product),
    "rm": _relevance_maps,
    "transformer_attr": _attribution,
    "raw_attn": _raw_attention,
    "attn_gradcam": _grad_cam,
    "rollout": _rollout,
}
"""By reference name; all layers count, whichever are asked for."""

SUMMED = ("dsm_grad", "dsm_grad_cam", "dsm_grad@all", "dsm_grad_cam@all")
"""Whose published figures explain the sum of all scores, not the answer."""
