"""The few names that timm takes from torchvision, for tests where torchvision cannot be loaded beside PyTorch."""

from __future__ import annotations

import importlib.machinery
import sys
import types
from enum import Enum
from importlib.util import find_spec
from typing import Any

import pytest
from torch import nn

MODULES = (
    "torchvision",
    "torchvision.datasets",
    "torchvision.models",
    "torchvision.models.feature_extraction",
    "torchvision.ops",
    "torchvision.ops.misc",
    "torchvision.transforms",
    "torchvision.transforms.functional",
)


class FrozenBatchNorm2d(nn.Module):
    """What timm compares the types of layers with."""


class InterpolationMode(Enum):
    """What timm names its resizing by."""

    NEAREST = "nearest"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    BOX = "box"
    HAMMING = "hamming"
    LANCZOS = "lanczos"


class _StandIn(types.ModuleType):
    """A module in which every other name is an empty class: timm's pictures and data sets, which no test uses."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def import_timm() -> None:
    """Import what the project takes of timm, with a stand-in for torchvision while it is imported, where that is not there."""
    if "timm.models.swin_transformer" in sys.modules:
        return
    if find_spec("timm") is None:
        pytest.skip(
            "timm is not installed: pip install --no-deps -c constraints.txt timm (its torchvision does not load beside this torch)"
        )
    try:
        import torchvision.ops.misc  # noqa: F401
    except (ImportError, RuntimeError, AttributeError):
        _import_with_stand_in()
    else:
        import timm.models.swin_transformer  # noqa: F401


def _import_with_stand_in() -> None:
    before = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == "torchvision"}
    for name in MODULES:
        module = _StandIn(name)
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        module.__path__ = []
        sys.modules[name] = module
        parent, _, own = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], own, module)
    sys.modules["torchvision.ops.misc"].FrozenBatchNorm2d = FrozenBatchNorm2d  # type: ignore[attr-defined]
    sys.modules["torchvision.transforms"].InterpolationMode = InterpolationMode  # type: ignore[attr-defined]
    sys.modules["torchvision.transforms.functional"].InterpolationMode = InterpolationMode  # type: ignore[attr-defined]
    try:
        import timm.models.swin_transformer  # noqa: F401
    finally:
        for name in MODULES:
            del sys.modules[name]
        sys.modules.update(before)
