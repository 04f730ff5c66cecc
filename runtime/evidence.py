"""What a method reads about one question, and what it is called: names of evidence, their axes, their padding."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from xai.runtime.description import TEXT, Description, Site, Stream
from xai.spectral.arrays import Array, namespace

FIEDLER, FEATURES = "fiedler", "features"
"""Of a graph: |v|, which no model gives, and what it is made of."""

LRP = ("lrp", "lrp-product")
"""Kinds of evidence that layer-wise relevance propagation gives, by a graph of its own."""


def graph_name(description: Description, layer: str, modality: str) -> str:
    """What the feature graph of one modality at one layer is called: `text3`, or `joint3/text` where a layer holds both."""
    return layer if len(description.stream_of(modality).parts) == 1 else f"{layer}/{modality}"


def modality_of(graph: str, description: Description) -> str:
    """Whose features a graph joins: `joint0/text` says it, of `text0` the stream does."""
    layer, *modality = graph.split("/")
    return modality[0] if modality else description.stream(description.stream_of_layer(layer)).parts[0]


def features_name(graph: str) -> str:
    """The output that holds a graph's features."""
    return f"{graph.split('/')[0]}/{FEATURES}"


def fiedler_name(graph: str) -> str:
    """Name of a graph's |v|."""
    return f"{graph}/{FIEDLER}"


def solved_graphs(names: Iterable[str]) -> list[str]:
    """The graphs whose |v| is among `names`, in their order."""
    return [name.removesuffix(f"/{FIEDLER}") for name in names if name.endswith(f"/{FIEDLER}")]


def of_gradients(names: Iterable[str]) -> list[str]:
    """What of these names depends on the answer that is explained."""
    return [name for name in names if name.endswith(("/gradient", "/product", "/grad-cam", *(f"/{kind}" for kind in LRP)))]


def from_model(names: Iterable[str]) -> list[str]:
    """What a model must give for the evidence of these names: features in place of each |v|, which come last."""
    names = list(names)
    features = [features_name(graph) for graph in solved_graphs(names)]
    return list(dict.fromkeys([name for name in names if not name.endswith(f"/{FIEDLER}")] + features))


def propagated(names: Iterable[str]) -> list[str]:
    """Of evidence that a model gives, what needs layer-wise relevance propagation."""
    return [name for name in names if name.rpartition("/")[2] in LRP]


def self_sites(description: Description, stream: Stream) -> list[Site]:
    """Attentions within a stream that the answer depends on, in the order of propagation."""
    return [site for site in description.sites if site.reached and site.queries == site.keys == stream.name]


def crossing(description: Description, keys: Stream) -> Site:
    """The last attention from the stream that the answer is read from, to `keys`, which may be the same stream."""
    first = description.streams[0].name
    return [site for site in description.sites if site.reached and site.queries == first and site.keys == keys.name][-1]


def reading(description: Description, modality: str) -> Site:
    """The last attention that says what the answer reads of a modality: its stream's own, or the one to a stream that is not read."""
    stream = description.stream_of(modality)
    return self_sites(description, stream)[-1] if stream.read else crossing(description, stream)


@dataclass(frozen=True)
class Evidence:
    """Arrays of one question, without padding, under the names of the evidence graph's outputs:

    - `SITE/KIND` (queries, keys), SITE as `Site.name` says, KIND `attention` (mean_h A), `gradient` (mean_h relu(G)) or `product`
      (mean_h relu(A * G)), or `lrp` (mean_h R) and `lrp-product` (mean_h relu(R * G)) with the attention's relevance R;
    - `SITE/grad-cam` (keys,): the one row that Grad-CAM reads;
    - `LAYER/features` (tokens, width);
    - `GRAPH/fiedler`: |v| of a layer's features (`graph_name`) without special tokens.

    `lengths` counts the tokens of each modality, special ones included.
    """

    arrays: Mapping[str, Array]
    description: Description
    lengths: Mapping[str, int]
    seed: int = 0
    """Feeds the method `random` and nothing else."""

    def __getitem__(self, name: str) -> Array:
        return self.arrays[name]

    def part(self, modality: str) -> slice:
        """Where a modality's tokens lie in its stream, special ones included."""
        return part(self.description, modality, self.lengths)

    def content(self, modality: str) -> slice:
        """The same without the special tokens."""
        whole, special = self.part(modality), self.description.special[modality]
        return slice(whole.start + special.before, whole.stop - special.behind)

    def length(self, stream: str) -> int:
        """Tokens of a stream."""
        return sum(self.lengths[modality] for modality in self.description.stream(stream).parts)

    def read_row(self, stream: Stream) -> int:
        """The token of a stream that the answer reads, where it is one: the first, or the question's last word."""
        return max(self.lengths[TEXT] - 1 - self.description.special[TEXT].behind, 0) if stream.read == "last" else 0


def part(description: Description, modality: str, lengths: Mapping[str, int]) -> slice:
    """Where a modality's tokens lie in its stream, if each modality has so many."""
    parts = description.stream_of(modality).parts
    start = sum(lengths[other] for other in parts[: parts.index(modality)])
    return slice(start, start + lengths[modality])


def unpad(name: str, array: Array, description: Description, lengths: Mapping[str, int], padded: Mapping[str, int]) -> Array:
    """One question's evidence without padding: of each modality `lengths` tokens of `padded` are real."""
    for axis, stream in enumerate(token_axes(name, description)):
        pieces = []
        for modality in description.stream(stream).parts:
            start = part(description, modality, padded).start
            pieces.append((start, start + lengths[modality]))
        if pieces == [(0, array.shape[axis])]:
            continue
        if len(pieces) == 1 or all(before[1] == after[0] for before, after in pairwise(pieces)):
            array = array[(slice(None),) * axis + (slice(pieces[0][0], pieces[-1][1]),)]
        else:
            numbers = np.concatenate([np.arange(*piece) for piece in pieces])
            array = array.take(namespace(array).asarray(numbers), axis)
    return array


def token_axes(name: str, description: Description) -> tuple[str, ...]:
    """The streams whose tokens an output's axes count, batch and heads aside: `text3/self/product` -> text, text."""
    layer, *rest = name.split("/")
    if rest == [FEATURES]:
        return (description.stream_of_layer(layer),)
    site = description.site(f"{layer}/{rest[0]}")
    return (site.keys,) if rest[1] == "grad-cam" else (site.queries, site.keys)
