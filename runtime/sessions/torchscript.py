"""A bundle's TorchScript graphs, run by PyTorch.

A TorchScript file is code, and runs as such when it is loaded: only a bundle that the user trusts is.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from xai.base.errors import XaiError, first_line
from xai.base.process import keep_large_blocks
from xai.runtime.bundle.manifest import TORCHSCRIPT, Bundle, GraphSpec
from xai.runtime.sessions.check_graph import check_outputs
from xai.runtime.sessions.tensors import check_device, to_array, to_tensor
from xai.spectral.arrays import Array


class TorchScriptSession:
    """Runs a bundle's graphs (`runtime.sessions.protocol.Session`) on `provider`, `cpu` or `cuda`.

    `threads` sets PyTorch's threads, which is a setting of the process as `keep_large_blocks` is; None leaves them.
    Raises `XaiError` where the bundle has no TorchScript, unless `trust`, and where PyTorch or CuPy cannot use that device.
    """

    name = "torchscript"

    def __init__(self, bundle: Bundle, trust: bool, threads: int | None = None, provider: str = "cpu") -> None:
        if "torchscript" not in bundle.manifest.formats:
            raise XaiError(f"bundle {bundle.folder} has no TorchScript: export it with --format torchscript, or run it with --session onnx")
        path = bundle.file(TORCHSCRIPT)
        if not trust:
            raise XaiError(f"{path} is code that would run on this machine: if you trust who made it, say so with --trust")
        check_device(self.name, provider)
        bundle.settle()  # of what is still being read it reads nothing, and waits for nothing later
        self.bundle = bundle
        self.source = f"bundle {bundle.folder}"
        self.device = self.provider = provider
        self.precision = bundle.manifest.precision
        self.description = bundle.manifest.model
        keep_large_blocks()
        if threads is not None:
            torch.set_num_threads(threads)
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=".*torch.jit")  # deprecated; by which category depends on PyTorch
                self._module = torch.jit.load(path, map_location=self.device)
        except Exception as error:  # a damaged file may end in any
            raise XaiError(f"PyTorch cannot load {path}: {first_line(error)}") from error
        for name, spec in bundle.manifest.graphs.items():
            _check_method(self._module, name, spec, path)

    def run(self, graph: str, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """Run a graph; `outputs` names what to return, all of it where None."""
        name = self.bundle.resolve(graph, outputs)
        spec = self.bundle.manifest.graphs[name]
        tensors = [to_tensor(inputs[key], self.device) for key in spec.inputs]
        try:
            # By default cuDNN would round the factors of float32 convolutions to TF32.
            with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
                values = getattr(self._module, name)(*tensors)
        except Exception as error:  # whatever the code in the file raises
            last = str(error).strip().splitlines()[-1:] or [type(error).__name__]
            raise XaiError(f"PyTorch cannot run graph {name} of {self.bundle.folder}: {last[0]}") from error
        found = dict(zip(spec.outputs, values, strict=True))
        wanted = spec.outputs if outputs is None else outputs
        arrays = {key: to_array(found[key], inputs.values()) for key in wanted}
        check_outputs(spec, inputs, arrays, f"graph {name} of {self.bundle.folder}")
        return arrays

    def load_ahead(self, graphs: Sequence[str]) -> None:
        """All of them are loaded."""

    def release(self) -> None:
        """Keep the file: all graphs are of one module, which shares its weights."""


def _check_method(module: torch.jit.ScriptModule, name: str, spec: GraphSpec, path: Path) -> None:
    """Raise `XaiError` unless the file has a method for a graph that takes and gives as many tensors as its manifest says."""
    schema = getattr(getattr(module, name, None), "schema", None)
    if schema is None:
        raise XaiError(f"{path} has no graph {name}, which its manifest describes: export the bundle again")
    given, returned = ([one.type.annotation_str for one in side] for side in (schema.arguments[1:], schema.returns))
    if given != ["Tensor"] * len(spec.inputs) or returned != [f"Tuple[{', '.join(['Tensor'] * len(spec.outputs))}]"]:
        raise XaiError(f"{path}: graph {name} does not take and give as many tensors as its manifest says: export the bundle again")
