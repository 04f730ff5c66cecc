"""A bundle's TorchScript graphs, run by PyTorch.

A TorchScript file is code, and runs as such when it is loaded: only a bundle that the user trusts is.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from xai import XaiError
from xai.runtime.manifest import TORCHSCRIPT, Bundle


class TorchScriptSession:
    """Runs a bundle's graphs on the CPU (`runtime.session.Session`).

    `threads` sets PyTorch's threads, which is a setting of the process; None leaves them.
    Raises `XaiError` where the bundle has no TorchScript, and unless `trust`.
    """

    name = "torchscript"
    provider = "cpu"

    def __init__(self, bundle: Bundle, trust: bool, threads: int | None = None) -> None:
        if "torchscript" not in bundle.manifest.formats:
            raise XaiError(f"bundle {bundle.folder} has no TorchScript: export it with --format torchscript, or run it with --session onnx")
        path = bundle.file(TORCHSCRIPT)
        if not trust:
            raise XaiError(f"{path} is code that would run on this machine: if you trust who made it, say so with --trust")
        self.bundle = bundle
        self.precision = bundle.manifest.precision
        self.description = bundle.manifest.model
        if threads is not None:
            torch.set_num_threads(threads)
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=".*torch.jit", category=DeprecationWarning)
                self._module = torch.jit.load(path, map_location="cpu")
        except RuntimeError as error:
            raise XaiError(f"PyTorch cannot load {path}: {str(error).strip().splitlines()[0]}") from error

    def run(self, graph: str, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        """Run a graph; `outputs` names what to return, all of it where None."""
        name = self.bundle.resolve(graph, outputs)
        spec = self.bundle.manifest.graphs[name]
        tensors = [torch.from_numpy(np.ascontiguousarray(inputs[key])) for key in spec.inputs]
        try:
            with torch.inference_mode():
                values = getattr(self._module, name)(*tensors)
        except (RuntimeError, IndexError) as error:
            raise XaiError(f"PyTorch cannot run graph {name} of {self.bundle.folder}: {str(error).strip().splitlines()[-1]}") from error
        found = dict(zip(spec.outputs, values, strict=True))
        return {key: found[key].numpy() for key in (spec.outputs if outputs is None else outputs)}
