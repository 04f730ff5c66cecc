"""The graphs of a bundle, listed once for every writer: a name, the module that computes it, what it takes and gives."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn

from xai.base.description import ModelDescription
from xai.export.evidence import EvidenceGraph
from xai.meter.answer import answer
from xai.meter.model import Meter
from xai.runtime.bundle.graphs import BATCH, Widths, describe_graphs, evidence_names
from xai.runtime.bundle.manifest import GraphSpec
from xai.runtime.evidence import IMAGE, TEXT, depth_of, from_model
from xai.runtime.methods import AS_PUBLISHED, METHODS


class Graph(NamedTuple):
    """`module` takes what `spec` names, in that order, and returns a tuple in the order of the outputs."""

    name: str
    module: nn.Module
    spec: GraphSpec


def list_graphs(model: Meter, with_maps: bool) -> list[Graph]:
    """Every graph of a bundle of that model; all share its weights."""
    config = model.config
    widths = Widths(config.vision_width, config.text_width, config.hidden, config.heads, config.text_heads)
    modules = {"encode_image": ImageGraph(model), "embed_text": TextGraph(model), "answer": AnswerGraph(model)}
    specs = describe_graphs(config.description, widths, default_evidence(config.description), with_maps)
    return [
        Graph(name, modules[name] if name in modules else EvidenceGraph(model, list(spec.outputs)), spec) for name, spec in specs.items()
    ]


def default_evidence(model: ModelDescription) -> list[str]:
    """What any method reads as published, in the order of the whole evidence."""
    read = {name for method in AS_PUBLISHED for name in from_model(METHODS[method].needs(depth_of(model)))}
    return [name for name in evidence_names(model) if name in {"logits", "target"} | read]


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

    def forward(self, pixels: Tensor) -> tuple[Tensor]:
        with mixed(self.model):
            return (self.model.encode_image(pixels.to(self.model.token_type_embeddings.weight.dtype)).to(pixels.dtype),)


class TextGraph(nn.Module):
    """`Meter.embed_text`, float32 out."""

    def __init__(self, model: Meter) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> tuple[Tensor]:
        return (self.model.embed_text(ids).to(torch.float32),)


class AnswerGraph(nn.Module):
    """`answer`, float32 in and out; products in bfloat16 where the weights are."""

    def __init__(self, model: Meter) -> None:
        super().__init__()
        self.model = model

    def forward(self, image_tokens: Tensor, image_mask: Tensor, text_embeddings: Tensor, text_mask: Tensor) -> tuple[Tensor]:
        dtype = self.model.token_type_embeddings.weight.dtype
        with mixed(self.model):
            logits = answer(self.model, image_tokens.to(dtype), image_mask, text_embeddings.to(dtype), text_mask)
        return (logits.to(image_tokens.dtype),)


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
