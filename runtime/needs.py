"""Which evidence a method reads of a model."""

from __future__ import annotations

from collections.abc import Callable

from xai.runtime.description import IMAGE, TEXT, Description
from xai.runtime.evidence import crossing, features_name, fiedler_name, graph_name, reading, self_sites

FIRST, EVERY = "first", "all"
"""The layers that a weighted spectral method sums over: the first with features, or all."""


def summed(description: Description, layers: str) -> str:
    """The layers that a weighted spectral method sums over, `FIRST` standing for what was published for the model."""
    return EVERY if layers == EVERY else description.published.layers


def weighted_layers(description: Description, modality: str, layers: str) -> tuple[str, ...]:
    """The names of these layers."""
    names = description.stream_of(modality).layers
    return names if summed(description, layers) == EVERY else names[:1]


Needs = Callable[[Description], list[str]]


def need_fiedler(description: Description) -> list[str]:
    """|v| of the last layers."""
    return [fiedler_name(graph_name(description, description.stream_of(m).layers[-1], m)) for m in (TEXT, IMAGE)]


def need_weighted(kind: str, layers: str) -> Needs:
    """|v| and the evidence of that kind of every layer that is summed."""

    def needs(description: Description) -> list[str]:
        found = []
        for modality in (TEXT, IMAGE):
            for layer in weighted_layers(description, modality, layers):
                found += [fiedler_name(graph_name(description, layer, modality)), f"{layer}/self/{kind}"]
        return list(dict.fromkeys(found))

    return needs


def need_reading(kind: str) -> Needs:
    """What says what the answer reads of either modality."""

    def needs(description: Description) -> list[str]:
        return list(dict.fromkeys(f"{reading(description, m).name}/{kind}" for m in (TEXT, IMAGE)))

    return needs


def need_grad_cam(description: Description) -> list[str]:
    """The one row of the last attention to either modality."""
    return list(dict.fromkeys(f"{crossing(description, description.stream_of(m)).name}/grad-cam" for m in (TEXT, IMAGE)))


def need_chains(kind: str) -> Needs:
    """Everything within a stream that the answer reads or hands on to another, and the last attention to one that it does not read."""

    def needs(description: Description) -> list[str]:
        found: list[str] = []
        for stream in description.streams:
            if stream.read or kind == "attention":
                found += [site.name for site in self_sites(description, stream)]
            if not stream.read:
                found.append(crossing(description, stream).name)
        return [f"{name}/{kind}" for name in found]

    return needs


def need_every(kind: str) -> Needs:
    """Every attention that the answer depends on."""

    def needs(description: Description) -> list[str]:
        return [f"{site.name}/{kind}" for site in description.sites if site.reached]

    return needs


def need_alike(description: Description) -> list[str]:
    """Features of the last layers."""
    last = [graph_name(description, description.stream_of(modality).layers[-1], modality) for modality in (TEXT, IMAGE)]
    return list(dict.fromkeys(features_name(graph) for graph in last))


def need_nothing(description: Description) -> list[str]:
    """No evidence."""
    return []
