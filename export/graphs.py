"""The graphs of a bundle: what each takes and gives, and the module that computes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn

from xai.export.derived import DerivedGraph
from xai.export.evidence import EvidenceGraph
from xai.models.contract import Family
from xai.models.meter import MeterFamily
from xai.models.reduce import REDUCTIONS, WHOLE
from xai.runtime.bundle.manifest import GraphSpec, TensorSpec
from xai.runtime.description import Aspect, Boxes, Description, Square
from xai.runtime.evidence import FEATURES, FIEDLER, axes
from xai.runtime.methods import METHODS, Options

BATCH, TEXT, IMAGE, JOINT = "batch", "text", "image", "joint"
"""Names of the free axes: questions, text tokens, image tokens, and both behind each other."""
ROWS, COLUMNS = "rows", "columns"
"""Patches along the sides of a picture that keeps its shape; an axis of pixels is `16*rows`."""


def feature_names(description: Description) -> list[str]:
    """The output of every layer that a spectral method may cut."""
    return [f"{layer}/{FEATURES}" for layer in dict.fromkeys(layer for stream in description.streams for layer in stream.layers)]


def evidence_names(description: Description) -> list[str]:
    """Every output of the graph `evidence_all`."""
    sites = [f"{site.name}/{kind}" for site in description.sites for kind in REDUCTIONS]
    return ["logits", *feature_names(description), *sites]


def map_names(description: Description) -> list[str]:
    """Every output of the graph `maps`."""
    return ["logits", *feature_names(description), *(f"{site.name}/{kind}" for site in description.sites for kind in WHOLE)]


def default_evidence(description: Description) -> list[str]:
    """What any method reads at its default options, in the order of the whole evidence."""
    needed = {"logits"}
    for method in METHODS.values():
        for name in method.needs(description, Options()):
            needed.add(f"{name.split('/')[0]}/{FEATURES}" if name.endswith(f"/{FIEDLER}") else name)
    return [name for name in evidence_names(description) if name in needed]


def describe_graphs(description: Description, with_maps: bool) -> dict[str, GraphSpec]:
    """Every graph's inputs and outputs. Numbers are float32 whatever a graph computes in."""
    picture, image_length = describe_picture(description.picture)
    text_embeddings = TensorSpec("float32", (BATCH, TEXT, description.text_width))
    streams = {
        "image_tokens": TensorSpec("float32", (BATCH, IMAGE, description.image_width)),
        "image_mask": TensorSpec("bool", (BATCH, IMAGE)),
        "text_embeddings": text_embeddings,
        "text_mask": TensorSpec("bool", (BATCH, TEXT)),
    }
    explained = {**streams, "direction": TensorSpec("float32", (BATCH, description.answers))}

    def graph(names: Sequence[str]) -> GraphSpec:
        return GraphSpec(explained, {name: describe_output(name, description) for name in names})

    graphs = {
        "encode_image": GraphSpec(picture, {"image_tokens": TensorSpec("float32", (BATCH, image_length, description.image_width))}),
        "embed_text": GraphSpec({"ids": TensorSpec("int64", (BATCH, TEXT))}, {"text_embeddings": text_embeddings}),
        "answer": GraphSpec(streams, {"logits": describe_output("logits", description)}),
        "evidence": graph(default_evidence(description)),
        "evidence_all": graph(evidence_names(description)),
    }
    return graphs | {"maps": graph(map_names(description))} if with_maps else graphs


def describe_picture(recipe: Square | Aspect | Boxes) -> tuple[dict[str, TensorSpec], int | str]:
    """What `encode_image` takes, and how many tokens it gives."""
    match recipe:
        case Square(size=size, patch=patch):
            return {"pixels": TensorSpec("float32", (BATCH, 3, size, size))}, 1 + (size // patch) ** 2
        case Aspect(patch=patch):
            return {"pixels": TensorSpec("float32", (BATCH, 3, f"{patch}*{ROWS}", f"{patch}*{COLUMNS}"))}, IMAGE
        case Boxes(width=width):
            boxes = {"features": TensorSpec("float32", (BATCH, IMAGE, width)), "boxes": TensorSpec("float32", (BATCH, IMAGE, 4))}
            return boxes, IMAGE


def describe_output(name: str, description: Description) -> TensorSpec:
    """Type and axes of one output of the evidence graph."""
    if name == "logits":
        return TensorSpec("float32", (BATCH, description.answers))
    site, _, kind = name.rpartition("/")
    lengths = [stream if len(description.stream(stream).parts) == 1 else JOINT for stream in axes(name, description)]
    if kind == FEATURES:
        return TensorSpec("float32", (BATCH, *lengths, description.width))
    if kind in WHOLE:
        return TensorSpec("float32", (BATCH, description.site(site).heads, *lengths))
    return TensorSpec("float32", (BATCH, *lengths))


class Graph(NamedTuple):
    """One graph of a bundle: the module that computes it, and what it takes and gives."""

    module: nn.Module
    spec: GraphSpec


def evidence_graph(family: Family, outputs: Sequence[str]) -> nn.Module:
    """The graph that explains. METER's gradient is written by hand: it saves all but one row of the last layer, and can be lowered."""
    return EvidenceGraph(family.model, outputs) if isinstance(family, MeterFamily) else DerivedGraph(family, outputs)


def make_graphs(family: Family, specs: Mapping[str, GraphSpec]) -> dict[str, Graph]:
    """Every graph of `specs` with its module."""
    image = BoxesGraph if isinstance(family.description.picture, Boxes) else PixelsGraph
    simple: dict[str, nn.Module] = {"encode_image": image(family), "embed_text": TextGraph(family), "answer": AnswerGraph(family)}

    def module(name: str, spec: GraphSpec) -> nn.Module:
        return simple[name] if name in simple else evidence_graph(family, list(spec.outputs))

    return {name: Graph(module(name, spec), spec) for name, spec in specs.items()}


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

    def forward(self, pixels: Tensor) -> Tensor:
        with mixed(self.family):
            return self.family.encode_image(pixels.to(wide(self.family))).to(pixels.dtype)


class BoxesGraph(nn.Module):
    """`Family.encode_image` of boxes, float32 in and out."""

    def __init__(self, family: Family) -> None:
        super().__init__()
        self.family = family

    def forward(self, features: Tensor, boxes: Tensor) -> Tensor:
        dtype = wide(self.family)
        return self.family.encode_image(features.to(dtype), boxes.to(dtype)).to(features.dtype)


class TextGraph(nn.Module):
    """`Family.embed_text`, float32 out."""

    def __init__(self, family: Family) -> None:
        super().__init__()
        self.family = family

    def forward(self, ids: Tensor) -> Tensor:
        return self.family.embed_text(ids).to(torch.float32)


class AnswerGraph(nn.Module):
    """The answer alone, float32 in and out; products in bfloat16 where the weights are."""

    def __init__(self, family: Family) -> None:
        super().__init__()
        self.family = family

    def forward(self, image_tokens: Tensor, image_mask: Tensor, text_embeddings: Tensor, text_mask: Tensor) -> Tensor:
        dtype = wide(self.family)
        with mixed(self.family):
            fused = self.family.fuse(image_tokens.to(dtype), image_mask, text_embeddings.to(dtype), text_mask, record=False)
        return fused.logits.to(image_tokens.dtype)


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
            torch.randn(shape, generator=generator) if tensor.dtype == "float32" else torch.ones(shape, dtype=getattr(torch, tensor.dtype))
        )
    return found
