"""What each graph of a bundle takes and gives: it follows from the model's description, so a manifest that says otherwise is false."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from xai.base.errors import XaiError
from xai.runtime.bundle.manifest import GraphSpec, TensorSpec
from xai.runtime.description import Aspect, Boxes, Description, Square
from xai.runtime.evidence import FEATURES, LRP, token_axes

BATCH, TEXT, IMAGE, JOINT = "batch", "text", "image", "joint"
"""Names of the free axes: questions, text tokens, image tokens, and both one behind the other."""

ROWS, COLUMNS = "rows", "columns"
"""Patches along the sides of a picture that keeps its shape; an axis of pixels is `16*rows`."""

REDUCED = ("attention", "gradient", "product", "grad-cam")
"""Kinds of evidence that leave a graph reduced over heads."""

WHOLE = ("attn", "grad")
"""Kinds of evidence that keep the heads apart."""

OPTIONAL = "maps"
"""The graph that a bundle may lack."""


def feature_names(model: Description) -> list[str]:
    """The output of every layer that a spectral method may cut."""
    return [f"{layer}/{FEATURES}" for layer in dict.fromkeys(layer for stream in model.streams for layer in stream.layers)]


def evidence_names(model: Description) -> list[str]:
    """Every output of the graph `evidence_all`."""
    return ["logits", *feature_names(model), *(f"{site.name}/{kind}" for site in model.sites for kind in REDUCED)]


def relevance_names(model: Description) -> list[str]:
    """Every output of the graph `lrp`."""
    return [f"{site.name}/{kind}" for site in model.sites if site.reached for kind in LRP]


def map_names(model: Description) -> list[str]:
    """Every output of the graph `maps`."""
    return ["logits", *feature_names(model), *(f"{site.name}/{kind}" for site in model.sites for kind in WHOLE)]


def describe_graphs(model: Description, evidence: Sequence[str], with_maps: bool) -> dict[str, GraphSpec]:
    """Every graph's inputs and outputs, `evidence` those of the smaller one that explains. Numbers are float32 whatever it computes in,
    tokens `Description.token_type`."""
    picture, length = describe_picture(model)
    text_embeddings = TensorSpec(model.token_type, (BATCH, TEXT, model.text_width))
    streams = {
        "image_tokens": TensorSpec(model.token_type, (BATCH, IMAGE, model.image_width)),
        "image_mask": TensorSpec("bool", (BATCH, IMAGE)),
        "text_embeddings": text_embeddings,
        "text_mask": TensorSpec("bool", (BATCH, TEXT)),
    }

    def explained(names: Sequence[str]) -> GraphSpec:
        inputs = {**streams, "direction": TensorSpec("float32", (BATCH, model.answers))}
        return GraphSpec(inputs, {name: describe_output(name, model) for name in names})

    graphs = {
        "encode_image": GraphSpec(picture, {"image_tokens": TensorSpec(model.token_type, (BATCH, length, model.image_width))}),
        "embed_text": GraphSpec({"ids": TensorSpec("int64", (BATCH, TEXT))}, {"text_embeddings": text_embeddings}),
        "answer": GraphSpec(streams, {"logits": describe_output("logits", model)}),
        "evidence": explained(evidence),
        "evidence_all": explained(evidence_names(model)),
    }
    if model.published.lrp:
        graphs["lrp"] = explained(relevance_names(model))
    return graphs | {OPTIONAL: explained(map_names(model))} if with_maps else graphs


def describe_picture(model: Description) -> tuple[dict[str, TensorSpec], int | str]:
    """What `encode_image` takes, and how many tokens it gives."""
    match model.picture:
        case Square(size=size, grid=grid):
            return {"pixels": TensorSpec("float32", (BATCH, 3, size, size))}, grid**2 + sum(model.special[IMAGE])
        case Aspect(patch=patch):
            return {"pixels": TensorSpec("float32", (BATCH, 3, f"{patch}*{ROWS}", f"{patch}*{COLUMNS}"))}, IMAGE
        case Boxes(width=width):
            boxes = {"features": TensorSpec("float32", (BATCH, IMAGE, width)), "boxes": TensorSpec("float32", (BATCH, IMAGE, 4))}
            return boxes, IMAGE


def describe_output(name: str, model: Description) -> TensorSpec:
    """Type and axes of one output of a graph that explains, whose name is one of `evidence_names`, `relevance_names` or `map_names`."""
    if name == "logits":
        return TensorSpec("float32", (BATCH, model.answers))
    site, _, kind = name.rpartition("/")
    lengths = [stream if len(model.stream(stream).parts) == 1 else JOINT for stream in token_axes(name, model)]
    if kind == FEATURES:
        return TensorSpec("float32", (BATCH, *lengths, model.width))
    if kind in WHOLE:
        return TensorSpec("float32", (BATCH, model.site(site).heads, *lengths))
    return TensorSpec("float32", (BATCH, *lengths))


def check_manifest_graphs(model: Description, graphs: Mapping[str, GraphSpec], where: str) -> None:
    """Raises `XaiError`, which begins with `where`, where a graph is missing or does not take and give what that model's must."""
    known = set(evidence_names(model))
    evidence = [name for name in graphs["evidence"].outputs if name in known] if "evidence" in graphs else []
    described = describe_graphs(model, evidence, OPTIONAL in graphs)
    if missing := [name for name in described if name not in graphs]:
        raise XaiError(f"{where} lacks the graph {missing[0]}: export the bundle again")
    if unwanted := [name for name in graphs if name not in described]:
        raise XaiError(f"{where} has a graph {unwanted[0]}, which that model does not give: export the bundle again")
    for name, spec in described.items():
        for side, found, expected in (("input", graphs[name].inputs, spec.inputs), ("output", graphs[name].outputs, spec.outputs)):
            problem = compare_tensors(found, expected)
            if problem:
                raise XaiError(f"{where}: graph {name}, {side} {problem}: export the bundle again")
    if "logits" not in evidence:
        raise XaiError(f"{where}: graph evidence does not give logits: export the bundle again")


def compare_tensors(found: Mapping[str, TensorSpec], wanted: Mapping[str, TensorSpec]) -> str | None:
    """The first tensor, in order, that is missing, too much, or of another type or shape, in words."""
    if list(found) != list(wanted):
        pairs = zip([*found, *[None] * len(wanted)], [*wanted, *[None] * len(found)], strict=False)
        one, other = next(pair for pair in pairs if pair[0] != pair[1])
        return f"{one or 'none'} where {other or 'none'} belongs"
    for name, spec in wanted.items():
        if found[name] != spec:
            return f"{name} is {describe_tensor(found[name])}, not {describe_tensor(spec)}"
    return None


def describe_tensor(spec: TensorSpec) -> str:
    """Such as `float32[batch, 3]`."""
    return f"{spec.dtype}[{', '.join(map(str, spec.axes))}]"
