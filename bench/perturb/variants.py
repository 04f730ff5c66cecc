"""What a row of the table is: a method, with its choice of layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xai.runtime.methods import METHODS, Method, find_methods

FLOOR = "random"
"""The method that every table shows: what no knowledge of the model is worth."""


@dataclass(frozen=True)
class Variant:
    """A row of `METHODS`, by the name that the table gives it."""

    name: str
    method: Method
    layers: str | None


def find_variants(names: Sequence[str]) -> tuple[Variant, ...]:
    """Variants by name, each once; `all` stands for every method as published.

    The floor is always among them, and last. Raises `BadInput` on an unknown name, with the valid ones, and on none.
    """
    found = [method for method in find_methods(names) if method.name != FLOOR]
    return tuple(Variant(method.name, method, method.layers) for method in (*found, METHODS[FLOOR]))
