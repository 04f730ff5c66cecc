"""The graphs of a bundle: what each takes and gives, and the module that computes it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from xai.export.evidence import evidence_names, map_names
from xai.meter.answer import answer
from xai.meter.config import MeterConfig
from xai.meter.model import Meter
from xai.runtime.bundle.manifest import BundleModel, GraphSpec, TensorSpec
from xai.runtime.methods import METHODS, Depth, Options

BATCH, TEXT, IMAGE = "batch", "text", "image"
"""Names of the free axes: questions, text tokens, image tokens."""


def describe_model(config: MeterConfig) -> BundleModel:
    """What the runtime must know of a METER."""
    return BundleModel(
        image_size=config.image_size,
        grid=config.grid,
        image_mean=config.image_mean,
        image_std=config.image_std,
        max_text_tokens=config.max_text_tokens,
        vocab_size=config.vocab_size,
        text_layers=config.text_layers,
        layers=config.layers,
        answers=config.answers,
    )


def default_evidence(config: MeterConfig) -> list[str]:
    """What any method reads at its default options, in the order of the whole evidence."""
    depth = Depth(config.text_layers, config.layers)
    needed = {name for method in METHODS.values() for name in method.needs(depth, Options())}
    needed = {name.replace("/fiedler", "/features") for name in needed} | {"logits", "target"}
    return [name for name in evidence_names(config) if name in needed]


def describe_graphs(config: MeterConfig, with_maps: bool) -> dict[str, GraphSpec]:
    """Every graph's inputs and outputs. Numbers are float32 whatever a graph computes in."""
    image_tokens = TensorSpec("float32", (BATCH, IMAGE, config.vision_width))
    text_embeddings = TensorSpec("float32", (BATCH, TEXT, config.text_width))
    streams = {
        "image_tokens": image_tokens,
        "image_mask": TensorSpec("bool", (BATCH, IMAGE)),
        "text_embeddings": text_embeddings,
        "text_mask": TensorSpec("bool", (BATCH, TEXT)),
    }
    explained = {**streams, "target": TensorSpec("int64", (BATCH,))}

    def graph(names: Sequence[str]) -> GraphSpec:
        return GraphSpec(explained, {name: describe_output(name, config) for name in names})

    graphs = {
        "encode_image": GraphSpec(
            {"pixels": TensorSpec("float32", (BATCH, 3, config.image_size, config.image_size))},
            {"image_tokens": TensorSpec("float32", (BATCH, 1 + config.grid**2, config.vision_width))},
        ),
        "embed_text": GraphSpec({"ids": TensorSpec("int64", (BATCH, TEXT))}, {"text_embeddings": text_embeddings}),
        "answer": GraphSpec(streams, {"logits": describe_output("logits", config)}),
        "evidence": graph(default_evidence(config)),
        "evidence_all": graph(evidence_names(config)),
    }
    return graphs | {"maps": graph(map_names(config))} if with_maps else graphs


def describe_output(name: str, config: MeterConfig) -> TensorSpec:
    """Type and axes of one output of the evidence graph."""
    if name == "logits":
        return TensorSpec("float32", (BATCH, config.answers))
    if name == "target":
        return TensorSpec("int64", (BATCH,))
    layer, *rest = name.split("/")
    own, other = (IMAGE, TEXT) if layer.startswith("image") else (TEXT, IMAGE)
    if rest == ["features"]:
        return TensorSpec("float32", (BATCH, own, config.hidden))
    site, kind = rest
    keys = own if site == "self" else other
    if kind == "grad-cam":
        return TensorSpec("float32", (BATCH, keys))
    if kind in ("attn", "grad"):
        heads = config.text_heads if layer.startswith("encoder") else config.heads
        return TensorSpec("float32", (BATCH, heads, own, keys))
    return TensorSpec("float32", (BATCH, own, keys))


def mixed(model: Meter) -> AbstractContextManager[object]:
    """PyTorch's own mixing of types, around a model whose products are narrower than the rest."""
    if model.cross_modal_text_transform.weight.dtype == model.token_type_embeddings.weight.dtype:
        return nullcontext()
    return torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=False)


class ImageGraph(nn.Module):
    """`Meter.encode_image`, float32 in and out; products in bfloat16 where the weights are."""

    def __init__(self, model: Meter) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        with mixed(self.model):
            return self.model.encode_image(pixels.to(self.model.token_type_embeddings.weight.dtype)).to(pixels.dtype)


class TextGraph(nn.Module):
    """`Meter.embed_text`, float32 out."""

    def __init__(self, model: Meter) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> Tensor:
        return self.model.embed_text(ids).to(torch.float32)


class AnswerGraph(nn.Module):
    """`answer`, float32 in and out; products in bfloat16 where the weights are."""

    def __init__(self, model: Meter) -> None:
        super().__init__()
        self.model = model

    def forward(self, image_tokens: Tensor, image_mask: Tensor, text_embeddings: Tensor, text_mask: Tensor) -> Tensor:
        dtype = self.model.token_type_embeddings.weight.dtype
        with mixed(self.model):
            logits = answer(self.model, image_tokens.to(dtype), image_mask, text_embeddings.to(dtype), text_mask)
        return logits.to(image_tokens.dtype)


def example_inputs(spec: GraphSpec) -> dict[str, Tensor]:
    """Inputs to trace a graph with: no axis has length 1 and no two have the same, or a tracer would take one for the other."""
    lengths = {BATCH: 2, TEXT: 5, IMAGE: 7}
    generator = torch.Generator().manual_seed(0)
    found = {}
    for name, tensor in spec.inputs.items():
        shape = [lengths[axis] if isinstance(axis, str) else axis for axis in tensor.axes]
        found[name] = (
            torch.randn(shape, generator=generator) if tensor.dtype == "float32" else torch.ones(shape, dtype=getattr(torch, tensor.dtype))
        )
    return found
