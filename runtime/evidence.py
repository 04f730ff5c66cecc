"""What a method reads about the questions of a batch, and what it is called: names of evidence, their axes, their padding."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
    """Arrays of B questions, 0 behind the tokens of a question that has fewer, under the names of the evidence graph's outputs:

    - `SITE/KIND` (B, queries, keys), SITE as `Site.name` says, KIND `attention` (mean_h A), `gradient` (mean_h relu(G)) or `product`
      (mean_h relu(A * G)), or `lrp` (mean_h R) and `lrp-product` (mean_h relu(R * G)) with the attention's relevance R;
    - `SITE/grad-cam` (B, keys): the one row that Grad-CAM reads;
    - `LAYER/features` (B, tokens, width);
    - `GRAPH/fiedler` (B, nodes): |v| of a layer's features (`graph_name`) without special tokens.

    `masks` (B, tokens) are true where a modality's token is real, special ones included; real tokens come first.
    """

    arrays: Mapping[str, Array]
    description: Description
    masks: Mapping[str, NDArray[np.bool_]]
    seeds: Sequence[int]
    """(B,); they feed the method `random` and nothing else."""

    def __getitem__(self, name: str) -> Array:
        return self.arrays[name]

    def tokens(self, modality: str) -> NDArray[np.int64]:
        """How many tokens (B,) each question has, special ones included."""
        return self.masks[modality].sum(1)

    def part(self, modality: str) -> slice:
        """Where a modality's tokens lie in its stream, padded, special ones included."""
        return part(self.description, modality, {name: mask.shape[1] for name, mask in self.masks.items()})

    def content(self, modality: str) -> slice:
        """The same without the special tokens, as those of the longest question lie."""
        whole, special = self.part(modality), self.description.special[modality]
        return slice(whole.start + special.before, whole.stop - special.behind)

    def real(self, stream: str) -> NDArray[np.bool_]:
        """(B, tokens): which tokens of a stream are real."""
        return stream_mask(self.description, stream, self.masks)

    def read_rows(self, stream: Stream) -> NDArray[np.int64]:
        """(B,): the token of a stream that the answer reads, where it is one: the first, or the question's last word."""
        words = np.maximum(self.tokens(TEXT) - 1 - self.description.special[TEXT].behind, 0)
        return words if stream.read == "last" else np.zeros_like(words)


def part(description: Description, modality: str, lengths: Mapping[str, int]) -> slice:
    """Where a modality's tokens lie in its stream, if each modality has so many."""
    parts = description.stream_of(modality).parts
    start = sum(lengths[other] for other in parts[: parts.index(modality)])
    return slice(start, start + lengths[modality])


def stream_mask(description: Description, stream: str, masks: Mapping[str, NDArray[np.bool_]]) -> NDArray[np.bool_]:
    """(B, tokens of the stream): which are real, by the masks of its modalities."""
    parts = [masks[modality] for modality in description.stream(stream).parts]
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


def without_padding(arrays: Mapping[str, Array], description: Description, masks: Mapping[str, NDArray[np.bool_]]) -> dict[str, Array]:
    """A batch's evidence with 0 where no token is; whatever a network gave there, NaN included, counts for nothing."""
    real = {stream.name: stream_mask(description, stream.name, masks) for stream in description.streams}
    padded = {name for name, mask in real.items() if not mask.all()}
    alike: dict[tuple[Any, ...], list[str]] = {}  # on a GPU arrays of one shape are one launch, on the host a copy each is cheaper
    for name, array in arrays.items():
        axes = token_axes(name, description)
        if padded & set(axes):
            alike.setdefault((axes, array.shape, array.dtype, name if namespace(array) is np else ""), []).append(name)
    found = dict(arrays)
    for (axes, shape, dtype, _), names in alike.items():
        xp = namespace(arrays[names[0]])
        kept = real[axes[0]][:, :, None] & real[axes[1]][:, None] if len(axes) == 2 else real[axes[0]]
        mask = xp.asarray(kept.reshape(kept.shape + (1,) * (len(shape) - kept.ndim)))
        together = arrays[names[0]][None] if len(names) == 1 else xp.stack([arrays[name] for name in names])
        found |= zip(names, xp.where(mask, together, dtype.type(0)), strict=True)
    return found


def token_axes(name: str, description: Description) -> tuple[str, ...]:
    """The streams whose tokens an output's axes count, batch and heads aside: `text3/self/product` -> text, text."""
    layer, *rest = name.split("/")
    if rest == [FEATURES]:
        return (description.stream_of_layer(layer),)
    site = description.site(f"{layer}/{rest[0]}")
    return (site.keys,) if rest[1] == "grad-cam" else (site.queries, site.keys)
