"""TorchScript writer: every graph of a bundle as one method of one traced and frozen module, so that weights are stored once."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.jit._trace import TracerWarning

from xai.export.modules import Graph, example_inputs
from xai.runtime.bundle.manifest import TORCHSCRIPT


def trace_graphs(graphs: Sequence[Graph]) -> torch.jit.ScriptModule:
    """Every graph, traced and frozen: one module with a method for each, called by the graph's name."""
    parts = nn.ModuleDict({graph.name: graph.module for graph in graphs})
    module = type("Traced", (nn.Module,), {graph.name: _method(graph.name) for graph in graphs})()
    module.parts = parts
    examples = {graph.name: tuple(example_inputs(graph.spec).values()) for graph in graphs}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.filterwarnings("ignore", message=".*torch.jit")  # deprecated; by which category depends on PyTorch
        # timm asserts that a picture has the size it was built for, which a square one always has; parity proves the rest
        warnings.filterwarnings("ignore", message="Converting a tensor to a Python", category=TracerWarning)
        traced = torch.jit.trace_module(module.eval(), examples, check_trace=False)
        return torch.jit.freeze(traced, preserved_attrs=list(examples))


def write_torchscript(module: torch.jit.ScriptModule, folder: Path) -> None:
    """Write what `trace_graphs` gives to `graphs.pt`."""
    # Through memory: PyTorch aborts the whole process where it writes to a disk that is full.
    (folder / TORCHSCRIPT).write_bytes(module.save_to_buffer())


def _method(name: str) -> Callable[..., tuple[Tensor, ...]]:
    def run(self: nn.Module, *inputs: Tensor) -> tuple[Tensor, ...]:
        return self.parts[name](*inputs)  # type: ignore[operator, index]  # a `ModuleDict`, as an attribute of a module

    return run
