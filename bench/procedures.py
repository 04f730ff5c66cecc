"""Which families the published procedure was written out for. To add one, write a file as `bench/published_vilt.py` and a row."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from torch import Tensor

from xai.bench import published, published_lxmert, published_vilt
from xai.bench.published import PublishedRun


class Procedure(NamedTuple):
    """A family's procedure, and the reference names of the methods that it has."""

    run: Callable[[Any, tuple[Tensor, ...], Tensor, str, str, str], PublishedRun]
    """Takes the network, its picture's tensors, ids (1, T), a method's reference name, modality and sign."""
    methods: Collection[str]
    as_published: Callable[[Any, tuple[Tensor, ...], Tensor, str, str, str], PublishedRun] | None = None
    """The same where the published figures did not always explain the answer; None where they did."""


def _run_meter(model: Any, picture: tuple[Tensor, ...], ids: Tensor, method: str, modality: str, sign: str) -> PublishedRun:
    name, _, layers = method.partition("@")
    return published.run_published(model, picture[0], ids, name, layers or None, modality, sign)


PROCEDURES: dict[str, Procedure] = {
    "meter": Procedure(_run_meter, published.REFERENCE_NAMES),
    "vilt": Procedure(published_vilt.run_vilt, published_vilt.METHODS),
    "lxmert": Procedure(published_lxmert.run_lxmert, published_lxmert.METHODS, published_lxmert.run_as_published),
}
"""By the family's name in its description."""
