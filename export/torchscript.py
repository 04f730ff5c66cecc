"""TorchScript writer: every graph of a bundle as one method of one traced and frozen module, so that weights are stored once."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from xai.export.evidence import EvidenceGraph
from xai.export.graphs import AnswerGraph, ImageGraph, TextGraph, example_inputs
from xai.meter.model import Meter
from xai.runtime.bundle.manifest import TORCHSCRIPT, GraphSpec


class Graphs(nn.Module):
    """One method for each graph, called by the graph's name; it returns a tuple in the order of the graph's outputs."""

    def __init__(self, model: Meter, specs: Mapping[str, GraphSpec]) -> None:
        super().__init__()
        self.image_graph, self.text_graph, self.answer_graph = ImageGraph(model), TextGraph(model), AnswerGraph(model)
        self.explained = nn.ModuleDict(
            {name: EvidenceGraph(model, list(spec.outputs)) for name, spec in specs.items() if "target" in spec.inputs}
        )

    def encode_image(self, pixels: Tensor) -> tuple[Tensor, ...]:
        return (self.image_graph(pixels),)

    def embed_text(self, ids: Tensor) -> tuple[Tensor, ...]:
        return (self.text_graph(ids),)

    def answer(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return (self.answer_graph(*inputs),)

    def evidence(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return self.explained["evidence"](*inputs)

    def evidence_all(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return self.explained["evidence_all"](*inputs)

    def maps(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return self.explained["maps"](*inputs)


def write_torchscript(model: Meter, specs: Mapping[str, GraphSpec], folder: Path) -> None:
    """Trace every graph of `specs` and write them to `graphs.pt`."""
    examples = {name: tuple(example_inputs(spec).values()) for name, spec in specs.items()}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.filterwarnings("ignore", message=".*torch.jit", category=DeprecationWarning)
        traced = torch.jit.trace_module(Graphs(model, specs).eval(), examples, check_trace=False)
        frozen = torch.jit.freeze(traced, preserved_attrs=list(specs))
        # Through memory: PyTorch aborts the whole process where it writes to a disk that is full.
        (folder / TORCHSCRIPT).write_bytes(frozen.save_to_buffer())
