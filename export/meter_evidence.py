"""The evidence graph: METER's answer and its gradients in one forward module, without autograd.

Exporters cannot record `autograd.grad`, so the backward pass is written out in plain tensor operations. It computes what
`xai.models.eager.differentiate` computes, which is the test's oracle, and names its outputs as `EagerSession` does.
This module is the single source of every exported graph that explains.

Only token 0 of each stream is pooled, so in the last layer gradients exist for one query row: that row is computed,
the others are zeros. Between the streams products are taken in the order that does not project the image's tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xai.export.meter_attention import (
    Attended,
    Norm,
    apply,
    apply_back,
    attend,
    attend_from_few,
    attend_to_few,
    normalise,
    normalise_back,
)
from xai.meter.attention import key_bias
from xai.meter.layer import Attention, TransformerLayer
from xai.meter.model import Meter, Pooler
from xai.models.contract import choose


class Cross(NamedTuple):
    """What a layer's cross-attention looks at, and in which order of products."""

    attend: Callable[[Attention, Tensor, Tensor, Tensor], tuple[Tensor, Attended]]
    keys: Tensor  # (B, N of the other stream, width)
    bias: Tensor  # (B, 1, 1, N of the other stream)


class Record(NamedTuple):
    """One transformer layer's output and what its gradient needs."""

    x: Tensor  # (B, N, width)
    own: Attended
    other: Attended | None
    inner: Tensor  # (B, N, mlp), before the GELU
    norm: Norm


class Site(NamedTuple):
    """One attention with its gradient; unless `full`, only the first row of the gradient is not zero, and is all that it holds."""

    attention: Tensor  # (B, H, Nq, Nk)
    gradient: Tensor  # (B, H, Nq or 1, Nk)
    full: bool
    queries: Tensor  # (B, Nq), true where the token is real
    keys: Tensor  # (B, Nk)


def gelu_slope(a: Tensor) -> Tensor:
    """Derivative of the erf form of GELU: the normal distribution's cdf + a * pdf."""
    return 0.5 * (1 + torch.erf(a * math.sqrt(0.5))) + a * torch.exp(-0.5 * a * a) * (1 / math.sqrt(2 * math.pi))


def run_layer(layer: TransformerLayer, x: Tensor, bias: Tensor, cross: Cross | None = None) -> Record:
    """`TransformerLayer.forward`, keeping what the gradient needs."""
    own: Attended
    x, own = attend(layer.attention, x, x, bias)
    crossed = None
    if cross is not None:
        x, crossed = cross.attend(layer.crossattention, x, cross.keys, cross.bias)
    inner = apply(layer.intermediate.dense, x)
    x, norm = normalise(apply(layer.output.dense, F.gelu(inner)) + x, layer.output.LayerNorm)
    return Record(x, own, crossed, inner, norm)


class LayerGradient(NamedTuple):
    """Gradients with respect to the layer's own input, the other stream's, and both attentions' probabilities."""

    x: Tensor  # (B, N, width)
    other: Tensor | None  # (B, N of the other stream, width)
    own: Tensor  # (B, H, N or 1, N)
    crossed: Tensor | None
    full: bool  # whether `own` and `crossed` have all rows


def layer_back(layer: TransformerLayer, record: Record, dy: Tensor, first_row_only: bool) -> LayerGradient:
    """`dy` (B, N, width), or (B, 1, width) where all rows but the first have none."""
    own, crossed, inner, norm = record.own, record.other, record.inner, record.norm
    if first_row_only:
        own, crossed, inner, norm = own.first(), crossed.first() if crossed else None, inner[:, :1], norm.first()
    du = normalise_back(dy, norm, layer.output.LayerNorm)
    dx = du + apply_back(layer.intermediate.dense, gelu_slope(inner.to(du.dtype)) * apply_back(layer.output.dense, du))
    d_other, cross_gradient = None, None
    if crossed is not None:
        dx, d_other, cross_gradient = crossed.back(layer.crossattention, dx)
    dx, d_keys, gradient = own.back(layer.attention, dx)
    dx = fill_rows(dx, record.x.shape[1]) if first_row_only else dx
    return LayerGradient(dx + d_keys, d_other, gradient, cross_gradient, not first_row_only)


def fill_rows(x: Tensor, rows: int) -> Tensor:
    """Append rows of zeros to (..., R, width) until it has `rows`."""
    return F.pad(x, (0, 0, 0, rows - x.shape[-2]))


def pool(pooler: Pooler, x: Tensor) -> Tensor:
    """(B, N, width) -> (B, width)."""
    return torch.tanh(apply(pooler.dense, x[:, 0]))


def pool_back(pooler: Pooler, pooled: Tensor, dy: Tensor) -> Tensor:
    """-> (B, 1, width), the gradient of token 0."""
    return apply_back(pooler.dense, dy * (1 - pooled * pooled))[:, None]


def find_sites(layer: str, record: Record, back: LayerGradient, own_mask: Tensor, other_mask: Tensor) -> dict[str, Site]:
    """The attentions of one layer by name; every gradient of a layer has the same number of rows."""
    found = {}
    for kind, attended, gradient, keys in (("self", record.own, back.own, own_mask), ("cross", record.other, back.crossed, other_mask)):
        if attended is not None and gradient is not None:
            found[f"{layer}/{kind}"] = Site(attended.probabilities, gradient, back.full, own_mask, keys)
    return found


def reduce(site: Site, kind: str) -> Tensor:
    """One kind of evidence (`xai.runtime.bundle.signatures`: `REDUCED` and `WHOLE`).

    A padded query has no gradient and a padded key no attention, so a mask is needed only where a key's gradient stands alone.
    """

    def whole(x: Tensor) -> Tensor:
        return x if site.full else fill_rows(x, site.queries.shape[1])

    keys = site.keys.to(site.gradient.dtype)
    match kind:
        case "attn":
            return site.attention
        case "grad":
            return whole(site.gradient * keys[:, None, None, :])
        case "attention":
            return site.attention.mean(1)
        case "gradient":
            return whole(site.gradient.relu().mean(1) * keys[:, None, :])
        case "product":
            attention = site.attention if site.full else site.attention[:, :, :1]
            return whole((attention * site.gradient.relu()).mean(1))
        case "grad-cam":
            pairs = (site.queries.sum(1) * site.keys.sum(1)).to(site.gradient.dtype)  # (B,)
            weight = (site.gradient.sum(2) * keys[:, None, :]).sum(-1) / pairs[:, None]  # (B, H)
            return (site.attention[:, :, 0] * weight[:, :, None]).mean(1).relu()
    raise ValueError(f"no evidence is called {kind}")


def typed_layers(stack: nn.ModuleList) -> list[TransformerLayer]:
    """The stack's layers, under their type."""
    return cast(list[TransformerLayer], list(stack))


class EvidenceGraph(nn.Module):
    """Image tokens (B, N, vision width), text embeddings (B, T, text width), their masks (B, N) and (B, T), which are true
    where a token is real, and the direction (B, answers) that is explained (`xai.models.eager.choose`) -> the outputs named.

    Each product is computed in the type of its weights, the rest in the type of the embeddings and of what is normalised, which
    may be wider; outputs have the type of `image_tokens`. Shares the model's weights.
    """

    def __init__(self, model: Meter, outputs: Sequence[str]) -> None:
        super().__init__()
        self.model = model
        self.outputs = tuple(outputs)

    def giving(self, outputs: Sequence[str]) -> EvidenceGraph:
        """The same network's graph with other outputs."""
        return EvidenceGraph(self.model, outputs)

    def forward(
        self, image_tokens: Tensor, image_mask: Tensor, text_embeddings: Tensor, text_mask: Tensor, direction: Tensor
    ) -> tuple[Tensor, ...]:
        model = self.model
        types = model.token_type_embeddings.weight
        encoder_layers = typed_layers(model.text_transformer.encoder.layer)
        text_layers, image_layers = typed_layers(model.cross_modal_text_layers), typed_layers(model.cross_modal_image_layers)
        first, hidden_layer_norm, _, last = cast(tuple[nn.Linear, nn.LayerNorm, nn.GELU, nn.Linear], tuple(model.head.children()))
        text_bias, image_bias = key_bias(text_mask, types.dtype), key_bias(image_mask, types.dtype)

        encoder: list[Record] = []
        x = text_embeddings.to(types.dtype)
        for layer in encoder_layers:
            encoder.append(run_layer(layer, x, text_bias))
            x = encoder[-1].x
        x = apply(model.cross_modal_text_transform, x) + types[0]
        y = apply(model.cross_modal_image_transform, image_tokens) + types[1]
        text: list[Record] = []
        image: list[Record] = []
        for text_layer, image_layer in zip(text_layers, image_layers, strict=True):
            text.append(run_layer(text_layer, x, text_bias, Cross(attend_from_few, y, image_bias)))
            image.append(run_layer(image_layer, y, image_bias, Cross(attend_to_few, x, text_bias)))
            x, y = text[-1].x, image[-1].x

        text_pooled, image_pooled = pool(model.cross_modal_text_pooler, x), pool(model.cross_modal_image_pooler, y)
        hidden, hidden_norm = normalise(apply(first, torch.cat([text_pooled, image_pooled], -1)), hidden_layer_norm)
        logits = apply(last, F.gelu(hidden))
        direction = choose(logits, direction.to(logits.dtype))

        dh = normalise_back(gelu_slope(hidden) * (direction @ last.weight), hidden_norm, hidden_layer_norm)
        d_text, d_image = apply_back(first, dh).chunk(2, -1)
        dx = pool_back(model.cross_modal_text_pooler, text_pooled, d_text)
        dy = pool_back(model.cross_modal_image_pooler, image_pooled, d_image)
        sites: dict[str, Site] = {}
        for i in reversed(range(len(text))):
            top = i == len(text) - 1
            back = layer_back(text_layers[i], text[i], dx, top)
            image_back = layer_back(image_layers[i], image[i], dy, top)
            sites |= find_sites(f"text{i}", text[i], back, text_mask, image_mask)
            sites |= find_sites(f"image{i}", image[i], image_back, image_mask, text_mask)
            dx, dy = back.x + cast(Tensor, image_back.other), image_back.x + cast(Tensor, back.other)
        dx = apply_back(model.cross_modal_text_transform, dx).to(types.dtype)
        for i in reversed(range(len(encoder))):
            back = layer_back(encoder_layers[i], encoder[i], dx, False)
            sites |= find_sites(f"encoder{i}", encoder[i], back, text_mask, text_mask)
            dx = back.x

        features = {f"text{i}/features": record.x for i, record in enumerate(text)}
        features |= {f"image{i}/features": record.x for i, record in enumerate(image)}
        found = []
        for name in self.outputs:
            if name == "logits":
                value = logits
            elif name in features:
                value = features[name]
            else:
                site, kind = name.rsplit("/", 1)
                value = reduce(sites[site], kind)
            found.append(value.to(image_tokens.dtype))
        return tuple(found)
