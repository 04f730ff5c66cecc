"""Arrays as PyTorch's tensors and back, wherever they lie: what its two sessions share."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch.utils.dlpack import from_dlpack

from xai.base.errors import XaiError
from xai.runtime.sessions.protocol import check_gpu
from xai.spectral.arrays import Array, namespace

DEVICES = ("cpu", "cuda")
"""Where PyTorch runs a model here."""


def check_device(session: str, name: str) -> None:
    """Raise `XaiError` where a session cannot run a model there."""
    if name not in DEVICES:
        raise XaiError(f"the session {session} runs on {' or '.join(DEVICES)}, not on {name!r}")
    if name == "cuda" and not torch.cuda.is_available():
        raise XaiError("this PyTorch has no GPU to run on: see `xai doctor`, or ask for --provider cpu")
    if name == "cuda":
        check_gpu(name)


def to_tensor(value: Array, device: str) -> torch.Tensor:
    """An array of NumPy, copied to the device, or one of CuPy, where it lies."""
    if namespace(value) is np:
        return torch.from_numpy(np.ascontiguousarray(value)).to(device)
    return from_dlpack(value)


def to_array(tensor: torch.Tensor, like: Iterable[Array]) -> Array:
    """A tensor as the arrays of `like` are: one of CuPy, where it lies, if any of them is, else of NumPy."""
    xp = next((library for library in map(namespace, like) if library is not np), np)
    # PyTorch's default stream is CuPy's, too: nothing waits between them.
    return tensor.cpu().numpy() if xp is np else xp.from_dlpack(tensor)
