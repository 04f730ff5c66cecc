"""TorchScript writer: every graph of a bundle as one method of one traced and frozen module, so that weights are stored once."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from xai.export.graphs import example_inputs, make_graphs
from xai.models.contract import Family
from xai.runtime.bundle.manifest import TORCHSCRIPT, GraphSpec


class Graphs(nn.Module):
    """One method for each graph, called by the graph's name; it returns a tuple in the order of the graph's outputs."""

    def __init__(self, family: Family, specs: Mapping[str, GraphSpec]) -> None:
        super().__init__()
        self.graphs = nn.ModuleDict({f"{name}_graph": graph.module for name, graph in make_graphs(family, specs).items()})

    def encode_image(self, *picture: Tensor) -> tuple[Tensor, ...]:
        return (self.graphs["encode_image_graph"](*picture),)

    def embed_text(self, ids: Tensor) -> tuple[Tensor, ...]:
        return (self.graphs["embed_text_graph"](ids),)

    def answer(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return (self.graphs["answer_graph"](*inputs),)

    def evidence(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return self.graphs["evidence_graph"](*inputs)

    def evidence_all(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return self.graphs["evidence_all_graph"](*inputs)

    def maps(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return self.graphs["maps_graph"](*inputs)


def write_torchscript(family: Family, specs: Mapping[str, GraphSpec], folder: Path) -> None:
    """Trace every graph of `specs` and write them to `graphs.pt`."""
    examples = {name: tuple(example_inputs(spec).values()) for name, spec in specs.items()}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.filterwarnings("ignore", message=".*torch.jit", category=DeprecationWarning)
        traced = torch.jit.trace_module(Graphs(family, specs).eval(), examples, check_trace=False)
        frozen = torch.jit.freeze(traced, preserved_attrs=list(specs))
        # Through memory: PyTorch aborts the whole process where it writes to a disk that is full.
        (folder / TORCHSCRIPT).write_bytes(frozen.save_to_buffer())
