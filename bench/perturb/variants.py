"""What a row of the table is: a method, with its choice of layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from xai.base.errors import XaiError
from xai.runtime.description import Description
from xai.runtime.evidence import Evidence
from xai.runtime.methods import LAYERS, METHODS, Method, Options, Relevance, find_method

FLOOR = "random"
"""The method that every table shows: what no knowledge of the model is worth."""


@dataclass(frozen=True)
class Variant:
    """`method` with its layers bound to it, so that one pass of the evidence graph serves both choices of layers."""

    name: str
    """The method's name, with `@all` where it uses all layers."""
    method: Method
    layers: str | None
    """One of `LAYERS`; None for a method that has no choice."""


def find_variants(names: Sequence[str]) -> tuple[Variant, ...]:
    """Variants by name, each once; `all` stands for every method as published, `NAME@all` for NAME with all layers.

    The floor is always among them. Raises `XaiError` on an unknown name, with the valid ones, and on none.
    """
    if not names:
        raise XaiError("no method is named: name some, or all")
    wanted = [name for given in names for name in (METHODS if given == "all" else (given,))]
    found = {variant.name: variant for variant in map(_find, wanted)}
    floor = found.pop(FLOOR, None) or _find(FLOOR)
    return (*found.values(), floor)


def _find(name: str) -> Variant:
    base, _, layers = name.partition("@")
    method = find_method(base)
    if not method.layered:
        if layers:
            raise XaiError(f"method {name!r} has no choice of layers: call it {method.name}")
        return Variant(method.name, method, None)
    if layers not in ("", *LAYERS):
        raise XaiError(f"unknown layers in {name!r}: write {method.name} or {method.name}@all")
    layers = layers or "first"
    return Variant(method.name if layers == "first" else f"{method.name}@{layers}", _bound(method, layers), layers)


def _bound(method: Method, layers: str) -> Method:
    def relevance(evidence: Evidence, options: Options) -> Relevance:
        return method.relevance(evidence, options._replace(layers=layers))

    def needs(description: Description, options: Options) -> list[str]:
        return method.needs(description, options._replace(layers=layers))

    return replace(method, relevance=relevance, needs=needs)
