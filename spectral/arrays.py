"""Which array library holds an array. The only module that may import cupy."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

Array = Any
"""An array of the library that `namespace` names: numpy.ndarray or cupy.ndarray."""


def namespace(array: Array) -> ModuleType:
    """The library (`xp`) of an array: cupy for cupy's, numpy for anything else."""
    if type(array).__module__.partition(".")[0] == "cupy":
        import cupy

        return cupy
    return np


def to_numpy(array: Array) -> np.ndarray:
    """The array on the host."""
    return array.get() if namespace(array) is not np else np.asarray(array)
