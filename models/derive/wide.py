"""Float64 from float32 weights: each weight is widened where it is used, so that no second network lies in memory or in a graph's file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from xai.models.contract import Family


class Widened(TorchFunctionMode):
    """While entered, operations take float32 tensors in the type of `like`, float64, and rows of an embedding come out so.

    What is widened depends on `like`, which `torch.jit.freeze` cannot know: a traced graph keeps narrow weights.
    """

    def __init__(self, like: Tensor) -> None:
        super().__init__()
        self.like = like

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is torch.nn.functional.embedding:  # the whole table would be widened for a few rows
            return self._widen(func(*args, **(kwargs or {})))
        if getattr(func, "__name__", "") in ("__get__", "__set__"):
            return func(*args, **(kwargs or {}))
        return func(*map(self._widen, args), **{name: self._widen(value) for name, value in (kwargs or {}).items()})

    def _widen(self, value: Any) -> Any:
        if isinstance(value, Tensor) and value.dtype == torch.float32:
            return value.type_as(self.like)
        if type(value) in (list, tuple):
            return type(value)(map(self._widen, value))
        return value


def encode_image(family: Family, *picture: Tensor) -> Tensor:
    """`Family.encode_image`, in the type of the description's tokens."""
    if family.description.token_type == "float32":
        return family.encode_image(*picture)
    picture = tuple(x.double() for x in picture)
    with Widened(picture[0]):
        return family.encode_image(*picture)


def embed_text(family: Family, ids: Tensor) -> Tensor:
    """`Family.embed_text`, in the type of the description's tokens."""
    if family.description.token_type == "float32":
        return family.embed_text(ids)
    with Widened(ids.double()):
        return family.embed_text(ids)
