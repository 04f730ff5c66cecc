"""The graphs of a bundle, listed once for every writer: a name, the module that computes it, what it takes and gives."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn

from xai.export.derived import DerivedGraph, RelevanceGraph
from xai.export.meter_evidence import EvidenceGraph
from xai.models.contract import Family
from xai.models.derive.wide import embed_text, encode_image
from xai.models.meter import MeterFamily
from xai.runtime.bundle.manifest import GraphSpec
from xai.runtime.bundle.signatures import BATCH, COLUMNS, IMAGE, ROWS, TEXT, describe_graphs, evidence_names
from xai.runtime.description import Boxes, Description
from xai.runtime.evidence import from_model
from xai.runtime.methods import find_methods


class Graph(NamedTuple):
    """`module` takes what `spec` names, in that order, and returns a tuple in the order of the outputs."""

    name: str
    module: nn.Module
    spec: GraphSpec


def list_graphs(family: Family, with_maps: bool) -> list[Graph]:
    """Every graph of a bundle of that network; all share its weights."""
    image = BoxesGraph if isinstance(family.description.picture, Boxes) else PixelsGraph
    modules: dict[str, nn.Module] = {"encode_image": image(family), "embed_text": TextGraph(family), "answer": AnswerGraph(family)}
    specs = describe_graphs(family.description, default_evidence(family.description), with_maps)
    if "lrp" in specs:
        modules["lrp"] = RelevanceGraph(family, list(specs["lrp"].outputs))
    return [
        Graph(name, modules[name] if name in modules else evidence_graph(family, list(spec.outputs)), spec) for name, spec in specs.items()
    ]


def evidence_graph(family: Family, outputs: Sequence[str]) -> EvidenceGraph | DerivedGraph:
    """The graph that explains. METER's gradient is written by hand: it saves all but one row of the last layer, and can be lowered.
    Those of its variants with another encoder, order or head are derived."""
    if isinstance(family, MeterFamily) and family.written_out:
        return EvidenceGraph(family.model, outputs)
    return DerivedGraph(family, outputs)


def default_evidence(model: Description) -> list[str]:
    """What `all` reads but for relevance propagation, in the order of the whole evidence."""
    read = {name for method in find_methods("all") for name in from_model(method.needs(model))}
    return [name for name in evidence_names(model) if name in {"logits"} | read]


def wide(family: Family) -> torch.dtype:
    """The type of what is normalised and added up, where products are narrower; else the family's own."""
    return family.model.token_type_embeddings.weight.dtype if isinstance(family, MeterFamily) else family.dtype


def mixed(family: Family) -> AbstractContextManager[object]:
    """PyTorch's own mixing of types, around a METER whose products are narrower than the rest."""
    if not isinstance(family, MeterFamily) or family.model.cross_modal_text_transform.weight.dtype == wide(family):
        return nullcontext()
    return torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=False)


class PixelsGraph(nn.Module):
    """`Family.encode_image` of pixels, float32 in and out; products in bfloat16 where the weights are."""

    def __init__(self, family: Family) -> None:
        super().__init__()
        self.family = family

    def forward(self, pixels: Tensor) -> tuple[Tensor]:
        with mixed(self.family):
            return (self.family.encode_image(pixels.to(wide(self.family))).to(pixels.dtype),)


class BoxesGraph(nn.Module):
    """`Family.encode_image` of boxes, float32 in, out in the type of the description's tokens."""

    def __init__(self, family: Family) -> None:
        super().__init__()
        self.family = family

    def forward(self, features: Tensor, boxes: Tensor) -> tuple[Tensor]:
        dtype = wide(self.family)
        tokens = encode_image(self.family, features.to(dtype), boxes.to(dtype))
        return (tokens.to(getattr(torch, self.family.description.token_type)),)


class TextGraph(nn.Module):
    """`Family.embed_text`, out in the type of the description's tokens."""

    def __init__(self, family: Family) -> None:
        super().__init__()
        self.family = family

    def forward(self, ids: Tensor) -> tuple[Tensor]:
        return (embed_text(self.family, ids).to(getattr(torch, self.family.description.token_type)),)


class AnswerGraph(nn.Module):
    """The answer alone, float32 out; products in bfloat16 where the weights are."""

    def __init__(self, family: Family) -> None:
        super().__init__()
        self.family = family

    def forward(self, image_tokens: Tensor, image_mask: Tensor, text_embeddings: Tensor, text_mask: Tensor) -> tuple[Tensor]:
        dtype = wide(self.family)
        with mixed(self.family):
            fused = self.family.fuse(image_tokens.to(dtype), image_mask, text_embeddings.to(dtype), text_mask, record=False)
        return (fused.logits.to(torch.float32),)


def axis_length(axis: int | str) -> int:
    """The length of an axis in the inputs that a graph is traced with."""
    if isinstance(axis, int):
        return axis
    factor, _, name = axis.rpartition("*")
    return int(factor or 1) * {BATCH: 2, TEXT: 5, IMAGE: 7, ROWS: 3, COLUMNS: 4}[name]


def example_inputs(spec: GraphSpec) -> dict[str, Tensor]:
    """Inputs to trace a graph with: no axis has length 1 and no two have the same, or a tracer would take one for the other."""
    generator = torch.Generator().manual_seed(0)
    found = {}
    for name, tensor in spec.inputs.items():
        shape = [axis_length(axis) for axis in tensor.axes]
        found[name] = (
            torch.randn(shape, generator=generator, dtype=getattr(torch, tensor.dtype))
            if tensor.dtype.startswith("float")
            else torch.ones(shape, dtype=getattr(torch, tensor.dtype))
        )
    return found
