"""The names of evidence, and what a method reads about one question (docs/methods.md, Evidence).

Evidence is named by where it was found and what it is. With L a layer, T text tokens and N image tokens, special ones included:

- `encoderL/self/KIND` (T, T): layer L of the text encoder;
- `textL/self/KIND` (T, T), `textL/cross/KIND` (T, N), `imageL/self/KIND` (N, N), `imageL/cross/KIND` (N, T): cross-modal layer L,
  rows querying columns, with KIND `attention` (mean_h A), `gradient` (mean_h relu(G)) or `product` (mean_h relu(A * G));
- `textL/SITE/grad-cam`: the one row that Grad-CAM reads, (T,) or (N,);
- `textL/features` (T, width), `imageL/features` (N, width): the output of cross-modal layer L, one *graph*, called `textL`, `imageL`;
- `textL/fiedler` (T - 2,), `imageL/fiedler` (N - 1,): |v| of that graph without special tokens, which no model gives: it is solved.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from xai.base.description import ModelDescription
from xai.spectral.arrays import Array

TEXT, IMAGE = STREAMS = ("text", "image")
"""The two streams of the cross-modal layers."""

ENCODER = "encoder"
"""The text encoder below them."""


class Depth(NamedTuple):
    """Number of text-encoder layers and of cross-modal layer pairs."""

    encoder: int
    cross: int

    @property
    def last(self) -> int:
        """The last cross-modal layer."""
        return self.cross - 1


def depth_of(model: ModelDescription) -> Depth:
    """How deep a model is."""
    return Depth(model.text_layers, model.layers)


def entry(stream: str, layer: int, site: str, kind: str) -> str:
    """Name of what one attention gives: `entry("text", 3, "self", "product")` is `text3/self/product`."""
    return f"{stream}{layer}/{site}/{kind}"


def graph_name(stream: str, layer: int) -> str:
    """Name of one stream's graph at one layer."""
    return f"{stream}{layer}"


def features_name(graph: str) -> str:
    """Name of the features that a graph is made of."""
    return f"{graph}/features"


def fiedler_name(graph: str) -> str:
    """Name of a graph's |v|."""
    return f"{graph}/fiedler"


def solved_graphs(names: Iterable[str]) -> list[str]:
    """The graphs whose |v| is among `names`, in their order."""
    return [name.removesuffix("/fiedler") for name in names if name.endswith("/fiedler")]


def from_model(names: Iterable[str]) -> list[str]:
    """What a model must give for the evidence of these names: features in place of each |v|, which come last."""
    names = list(names)
    return [name for name in names if not name.endswith("/fiedler")] + [features_name(graph) for graph in solved_graphs(names)]


def site_names(depth: Depth) -> list[str]:
    """Every attention of a model, such as `text3/self`, in the order of its evidence."""
    encoder = [f"{ENCODER}{i}/self" for i in range(depth.encoder)]
    return encoder + [f"{stream}{i}/{site}" for stream in STREAMS for i in range(depth.cross) for site in ("self", "cross")]


def graph_names(depth: Depth) -> list[str]:
    """Every graph of a model."""
    return [graph_name(stream, i) for stream in STREAMS for i in range(depth.cross)]


def stream_of(name: str) -> str:
    """The stream whose tokens ask, of any evidence or graph: the encoder's are the text's."""
    return IMAGE if name.startswith(IMAGE) else TEXT


def token_axes(name: str) -> tuple[str, ...]:
    """The axes that count tokens, special ones included, in order: `text3/cross/product` has ("text", "image").

    Raises ValueError where no model gives what is named.
    """
    own = stream_of(name)
    other = TEXT if own == IMAGE else IMAGE
    match name.split("/")[1:]:
        case ["features"]:
            return (own,)
        case ["self" | "cross" as site, kind]:
            keys = own if site == "self" else other
            return (keys,) if kind == "grad-cam" else (own, keys)
    raise ValueError(f"no evidence is called {name}")


def unpad(name: str, array: Array, tokens: int) -> Array:
    """One question's evidence without padded text: each axis that counts text tokens is cut to `tokens`."""
    return array[tuple(slice(tokens) if axis == TEXT else slice(None) for axis in token_axes(name))]


@dataclass(frozen=True)
class Evidence:
    """Arrays of one question, by name, without padding."""

    arrays: Mapping[str, Array]
    depth: Depth
    seed: int = 0
    """Feeds the method `random` and nothing else."""

    def __getitem__(self, name: str) -> Array:
        return self.arrays[name]
