"""The published procedure on METER, step by step, to compare with: slow on purpose, and sharing no formula with `xai.runtime`.

One question, method, modality and sign at a time: the image is encoded, the answer's gradient is taken by autograd with
every parameter's gradient beside it, matrices are dense, the Fiedler vector comes from `scipy`'s `eigs`, the image is
encoded again and the model answers each of the nine steps. Needs PyTorch; import this module late.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse.linalg import eigs
from torch import Tensor

from xai.bench.perturb.plan import STEPS

_EIGENVECTORS = 5
_SHIFT = -0.5


class ReferenceFails(Exception):
    """The published code raises here: a graph of fewer than four nodes."""


@dataclass(frozen=True)
class Recorded:
    """One question's logits (answers,), and attention A, gradient G (H, Nq, Nk) and features by their names in `Evidence`."""

    logits: NDArray[np.float32]
    attention: Mapping[str, Tensor]
    gradient: Mapping[str, Tensor]
    features: Mapping[str, Tensor]
    encoder_layers: int
    layers: int

    def product(self, site: str) -> Tensor:
        """Compute C = mean_h relu(A * G)."""
        return (self.attention[site] * self.gradient[site]).clamp(min=0).mean(0)


@dataclass(frozen=True)
class PublishedRun:
    """One run of the procedure: relevance of the modality's tokens (n,), what each step keeps, and its logits (steps, answers)."""

    relevance: NDArray[np.float32]
    kept: tuple[NDArray[np.int64], ...]
    logits: NDArray[np.float32]


@contextmanager
def with_parameter_gradients(model: Any) -> Iterator[None]:
    """Let parameters ask for gradients, as the published code leaves them; they are as before afterwards."""
    model.requires_grad_(True)
    try:
        yield
    finally:
        model.requires_grad_(False)
        model.zero_grad(set_to_none=True)


class Hooks:
    """Records in `found` what leaves these modules while the block runs, in the order of the calls; with `retain` its gradient is kept."""

    def __init__(self, modules: Iterable[torch.nn.Module], retain: bool = False) -> None:
        self.found: list[Any] = []
        self._modules, self._retain, self._handles = list(modules), retain, []  # type: ignore[var-annotated]  # torch's handles

    def __enter__(self) -> Hooks:
        self._handles = [module.register_forward_hook(self._keep) for module in self._modules]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _keep(self, _module: torch.nn.Module, _inputs: object, out: Any) -> None:
        if self._retain:
            out.retain_grad()
        self.found.append(out)


def run_steps(scores: Tensor, sign: str, answer: Callable[[Tensor], Tensor]) -> PublishedRun:
    """Answer each of the nine steps; `scores` (n,) are those of the tokens that can be removed, `answer` takes the tokens kept."""
    with torch.no_grad():
        kept = [keep_tokens(scores, sign, step) for step in STEPS]
        logits = [answer(tokens) for tokens in kept]
    return PublishedRun(scores.numpy(), tuple(tokens.numpy() for tokens in kept), torch.stack(logits).numpy())


def run_published(model: Any, pixels: Tensor, ids: Tensor, method: str, layers: str | None, modality: str, sign: str) -> PublishedRun:
    """Do one of the published table's runs on one question; `model` is an `xai.meter.model.Meter`, `method` a reference name.

    `pixels` (1, 3, S, S), `ids` (1, T). Raises `ReferenceFails` where the published code fails.
    """
    text, image = published_relevance(record(model, pixels, ids), method, layers)
    scores = image if modality == "image" else text[1:-1]
    with torch.no_grad():
        image_tokens, embeddings = model.encode_image(pixels), model.embed_text(ids)
    return run_steps(scores, sign, partial(answer_kept, model, image_tokens, embeddings, modality))


def record(model: Any, pixels: Tensor, ids: Tensor) -> Recorded:
    """Answer once and go back from the top answer's logit through the whole network."""
    model.zero_grad()
    fusion = model.fuse(model.encode_image(pixels), None, model.embed_text(ids), None, with_maps=True)
    maps = {
        f"{stream}{i}/{kind}": attention
        for stream, outputs in (("encoder", fusion.encoder), ("text", fusion.text), ("image", fusion.image))
        for i, output in enumerate(outputs)
        for kind, attention in (("self", output.self_attention), ("cross", output.cross_attention))
        if attention is not None
    }
    for attention in maps.values():
        attention.retain_grad()
    fusion.logits[0, fusion.logits[0].argmax()].backward()
    streams = (("text", fusion.text), ("image", fusion.image))
    return Recorded(
        fusion.logits[0].detach().numpy(),
        {name: attention.detach()[0] for name, attention in maps.items()},
        {name: attention.grad[0] for name, attention in maps.items()},
        {f"{stream}{i}": output.x.detach()[0] for stream, outputs in streams for i, output in enumerate(outputs)},
        len(fusion.encoder),
        len(fusion.text),
    )


def keep_tokens(scores: Tensor, sign: str, step: float) -> Tensor:
    """Choose the tokens kept at one step, ascending; which of equal scores is torch's choice."""
    scaled = (scores - scores.min()) / (scores.max() - scores.min())
    chosen = (-scaled if sign == "positive" else scaled).topk(int((1 - step) * len(scores))).indices
    return chosen.sort().values


def answer_kept(model: Any, image_tokens: Tensor, embeddings: Tensor, modality: str, kept: Tensor) -> Tensor:
    """Answer, as logits (answers,), with only `kept` of the modality's tokens, special ones aside."""
    special = torch.zeros(1, dtype=torch.int64)
    if modality == "image":
        image_tokens = image_tokens[:, torch.cat([special, kept + 1])]
    else:
        embeddings = embeddings[:, torch.cat([special, kept + 1, special + embeddings.shape[1] - 1])]
    logits: Tensor = model.fuse(image_tokens, None, embeddings, None).logits[0]
    return logits


def published_relevance(found: Recorded, method: str, layers: str | None) -> tuple[Tensor, Tensor]:
    """Compute text (T,) and image (P,) relevance by the method of that reference name."""
    if method == "dsm":
        return _spectral(found, range(found.layers - 1, found.layers), None)
    if method in _WEIGHTS:
        return _spectral(found, range(found.layers if layers == "all" else 1), _WEIGHTS[method])
    return _METHODS[method](found)


def _raw_attention(found: Recorded) -> tuple[Tensor, Tensor]:
    last = found.layers - 1
    return _rows(found.attention[f"text{last}/self"].mean(0), found.attention[f"image{last}/self"].mean(0))


def _grad_cam(found: Recorded) -> tuple[Tensor, Tensor]:
    def cam(site: str) -> Tensor:
        weight = found.gradient[site].mean((1, 2), keepdim=True)
        return (found.attention[site] * weight).mean(0).clamp(min=0)

    last = found.layers - 1
    return _rows(cam(f"text{last}/self"), cam(f"text{last}/cross"))


def _rollout(found: Recorded) -> tuple[Tensor, Tensor]:
    def roll(names: list[str]) -> Tensor:
        product = torch.eye(found.attention[names[0]].shape[-1])
        for name in names:
            mixed = found.attention[name].mean(0) + torch.eye(len(product))
            product = mixed / mixed.sum(-1, keepdim=True) @ product
        return product

    return _rows(*map(roll, _self_attentions(found)))


def _transformer_attribution(found: Recorded) -> tuple[Tensor, Tensor]:
    def attribute(names: list[str]) -> Tensor:
        total = torch.eye(found.attention[names[0]].shape[-1])
        for name in names:
            total = total + found.product(name) @ total
        return total

    return _rows(*map(attribute, _self_attentions(found)))


def _relevance_maps(found: Recorded) -> tuple[Tensor, Tensor]:
    tokens, patches = found.attention["text0/cross"].shape[-2:]
    tt, ii, ti, it = torch.eye(tokens), torch.eye(patches), torch.zeros(tokens, patches), torch.zeros(patches, tokens)
    for i in range(found.encoder_layers):
        c = found.product(f"encoder{i}/self")
        tt, ti = tt + c @ tt, ti + c @ ti
    for i in range(found.layers):
        c, x = found.product(f"image{i}/self"), found.product(f"image{i}/cross")
        ii, it = ii + c @ ii, it + c @ it
        it, ii = it + ii.T @ (x @ tt), ii + x @ ti
        c, x = found.product(f"text{i}/self"), found.product(f"text{i}/cross")
        tt, ti = tt + c @ tt, ti + c @ ti
        ti, tt = ti + tt.T @ (x @ ii), tt + x @ it
    return _rows(tt, ii)


def _self_attentions(found: Recorded) -> tuple[list[str], list[str]]:
    """Names of the self-attentions of text, from its encoder on, and image."""
    encoder = [f"encoder{i}/self" for i in range(found.encoder_layers)]
    text, image = ([f"{stream}{i}/self" for i in range(found.layers)] for stream in ("text", "image"))
    return encoder + text, image


def _rows(text: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
    """Row 0 of both: of the text with entry 0 set to 0, of the image without it."""
    return set_first_to_zero(text[0]), image[0, 1:]


def set_first_to_zero(row: Tensor) -> Tensor:
    """A copy of the row of text (T,) with entry 0 set to 0."""
    row = row.clone()
    row[0] = 0
    return row


def _mean_gradient(found: Recorded, site: str) -> Tensor:
    return found.gradient[site].clamp(min=0).mean(0)


def _spectral(found: Recorded, layers: range, weight: Callable[[Recorded, str], Tensor] | None) -> tuple[Tensor, Tensor]:
    """Sum over layers of |M |v||, or |v| itself without a weight M."""

    def total(stream: str, inner: slice) -> Tensor:
        parts = []
        for i in layers:
            vector = arpack_fiedler(found.features[f"{stream}{i}"][inner])
            parts.append(vector if weight is None else (weight(found, f"{stream}{i}/self")[inner, inner] @ vector).abs())
        return torch.stack(parts).sum(0)

    zero = torch.zeros(1)
    return torch.cat([zero, total("text", slice(1, -1)), zero]), total("image", slice(1, None))


_METHODS: dict[str, Callable[[Recorded], tuple[Tensor, Tensor]]] = {
    "raw_attn": _raw_attention,
    "attn_gradcam": _grad_cam,
    "rollout": _rollout,
    "transformer_attr": _transformer_attribution,
    "rm": _relevance_maps,
}
_WEIGHTS: dict[str, Callable[[Recorded, str], Tensor]] = {"dsm_grad": _mean_gradient, "dsm_grad_cam": Recorded.product}

REFERENCE_NAMES = ("dsm", *_WEIGHTS, *(f"{name}@all" for name in _WEIGHTS), *_METHODS)
"""Of the methods; `@all` sums over all layers, the others of that name take the first."""


def arpack_fiedler(features: Tensor) -> Tensor:
    """Compute |v| (n,) of the features (n, d) by shift-invert on dense matrices. Raises `ReferenceFails` for n < 4."""
    n = len(features)
    if n < 4:
        raise ReferenceFails
    unit = torch.nn.functional.normalize(features, dim=-1)
    affinity = (unit @ unit.T).clamp(min=0)
    weights = (affinity / affinity.max()).numpy().astype(np.float64)
    sums = weights.sum(1)
    degrees = np.diag(np.where(sums < 1e-12, 1, sums))
    values, vectors = eigs(degrees - weights, k=min(_EIGENVECTORS, n - 2), M=degrees, sigma=_SHIFT, which="LM", v0=np.ones(n))
    vector = vectors[:, np.argsort(values.real)[1]].real
    return torch.from_numpy(np.abs(vector / np.sqrt(vector @ degrees @ vector)).astype(np.float32))
