"""What each graph of a bundle takes and gives: all of it follows from the model's sizes, so a manifest that says otherwise is false."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from xai.base.description import ModelDescription
from xai.base.errors import XaiError
from xai.runtime.bundle.manifest import GRAPHS, GraphSpec, TensorSpec
from xai.runtime.evidence import ENCODER, IMAGE, TEXT, depth_of, features_name, graph_names, site_names, token_axes

BATCH = "batch"
"""Name of the free axis of questions, beside `TEXT` and `IMAGE` of their tokens."""

REDUCED = ("attention", "gradient", "product", "grad-cam")
"""Kinds of evidence that leave a graph reduced over heads."""

WHOLE = ("attn", "grad")
"""Kinds of evidence that keep the heads apart."""

OPTIONAL = "maps"
"""The graph that a bundle may lack."""


class Widths(NamedTuple):
    """Channels of image tokens, text embeddings and cross-modal features, heads across modalities and in the text encoder."""

    vision: int
    text: int
    hidden: int
    heads: int
    text_heads: int


def feature_names(model: ModelDescription) -> list[str]:
    """The output of every cross-modal layer."""
    return [features_name(graph) for graph in graph_names(depth_of(model))]


def evidence_names(model: ModelDescription) -> list[str]:
    """Every output of the graph `evidence_all`."""
    return ["logits", "target", *feature_names(model), *(f"{site}/{kind}" for site in site_names(depth_of(model)) for kind in REDUCED)]


def map_names(model: ModelDescription) -> list[str]:
    """Every output of the graph `maps`."""
    return ["logits", "target", *feature_names(model), *(f"{site}/{kind}" for site in site_names(depth_of(model)) for kind in WHOLE)]


def describe_graphs(model: ModelDescription, widths: Widths, evidence: Sequence[str], with_maps: bool) -> dict[str, GraphSpec]:
    """Every graph's inputs and outputs, `evidence` those of the smaller one that explains. Numbers are float32 whatever it computes in."""
    image_tokens = TensorSpec("float32", (BATCH, IMAGE, widths.vision))
    text_embeddings = TensorSpec("float32", (BATCH, TEXT, widths.text))
    streams = {
        "image_tokens": image_tokens,
        "image_mask": TensorSpec("bool", (BATCH, IMAGE)),
        "text_embeddings": text_embeddings,
        "text_mask": TensorSpec("bool", (BATCH, TEXT)),
    }

    def explained(names: Sequence[str]) -> GraphSpec:
        inputs = {**streams, "target": TensorSpec("int64", (BATCH,))}
        return GraphSpec(inputs, {name: describe_output(name, model, widths) for name in names})

    graphs = {
        "encode_image": GraphSpec(
            {"pixels": TensorSpec("float32", (BATCH, 3, model.image_size, model.image_size))},
            {"image_tokens": TensorSpec("float32", (BATCH, 1 + model.grid**2, widths.vision))},
        ),
        "embed_text": GraphSpec({"ids": TensorSpec("int64", (BATCH, TEXT))}, {"text_embeddings": text_embeddings}),
        "answer": GraphSpec(streams, {"logits": describe_output("logits", model, widths)}),
        "evidence": explained(evidence),
        "evidence_all": explained(evidence_names(model)),
    }
    return graphs | {OPTIONAL: explained(map_names(model))} if with_maps else graphs


def describe_output(name: str, model: ModelDescription, widths: Widths) -> TensorSpec:
    """Type and axes of one output of a graph that explains, whose name is one of `evidence_names` or `map_names`."""
    if name == "logits":
        return TensorSpec("float32", (BATCH, model.answers))
    if name == "target":
        return TensorSpec("int64", (BATCH,))
    tokens = token_axes(name)
    if name.endswith("/features"):
        return TensorSpec("float32", (BATCH, *tokens, widths.hidden))
    if name.endswith(tuple(f"/{kind}" for kind in WHOLE)):
        return TensorSpec("float32", (BATCH, widths.text_heads if name.startswith(ENCODER) else widths.heads, *tokens))
    return TensorSpec("float32", (BATCH, *tokens))


def check_graphs(model: ModelDescription, heads: int, graphs: Mapping[str, GraphSpec], where: str) -> None:
    """Raises `XaiError`, which begins with `where`, where a graph is missing or does not take and give what that model's must."""
    if missing := [name for name in GRAPHS if name not in graphs and name != OPTIONAL]:
        raise XaiError(f"{where} lacks the graph {missing[0]}: export the bundle again")
    known = set(evidence_names(model))
    evidence = [name for name in graphs["evidence"].outputs if name in known]
    wanted = describe_graphs(model, _find_widths(graphs, heads), evidence, OPTIONAL in graphs)
    for name, spec in wanted.items():
        for side, found, expected in (("input", graphs[name].inputs, spec.inputs), ("output", graphs[name].outputs, spec.outputs)):
            problem = compare_tensors(found, expected)
            if problem:
                raise XaiError(f"{where}: graph {name}, {side} {problem}: export the bundle again")
    if not {"logits", "target"} <= set(evidence):
        raise XaiError(f"{where}: graph evidence does not give logits and target: export the bundle again")


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


def _find_widths(graphs: Mapping[str, GraphSpec], heads: int) -> Widths:
    """What the model's sizes do not tell; 0 where a graph does not either, so that comparing fails."""

    def last(graph: str, output: str, axis: int = -1) -> int:
        spec = graphs[graph].outputs.get(output) if graph in graphs else None
        value = spec.axes[axis] if spec is not None and len(spec.axes) >= 3 else 0
        return value if isinstance(value, int) else 0

    return Widths(
        vision=last("encode_image", "image_tokens"),
        text=last("embed_text", "text_embeddings"),
        hidden=last("evidence_all", "image0/features"),
        heads=heads,
        text_heads=last(OPTIONAL, "encoder0/self/attn", 1),
    )
