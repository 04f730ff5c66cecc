"""Pairs of an image and a question, as they are given, and what is given for each of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from xai.base.errors import BadInput
from xai.runtime.inputs.boxes import BoxFeatures
from xai.runtime.inputs.decode import ImageSource
from xai.runtime.inputs.prepare import PreparedImage
from xai.runtime.inputs.question import EncodedQuestion

Pair = tuple[ImageSource | BoxFeatures | PreparedImage, str | EncodedQuestion]
"""A picture and a question about it."""

T = TypeVar("T")


def for_each(given: T | list[T], pairs: Sequence[Pair]) -> list[T]:
    """One for each pair, which are at least one: an answer that is wrong is refused where there is nothing to explain, too."""
    return given if isinstance(given, list) else [given] * max(len(pairs), 1)


def checked(pairs: Any) -> list[Pair]:
    """The pairs as a list. Raises `BadInput` where they are none."""
    if not isinstance(pairs, Iterable) or isinstance(pairs, str):
        raise BadInput(f"pairs is of type {type(pairs).__name__}: give a list of (image, question)")
    found = list(pairs)
    for i, pair in enumerate(found):
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise BadInput(f"pair {i} is no (image, question) but of type {type(pair).__name__}: give both, and nothing else")
    return found
