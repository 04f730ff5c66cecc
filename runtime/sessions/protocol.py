"""What the runtime asks of whoever runs a model's graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from xai.base.errors import XaiError
from xai.runtime.description import Description
from xai.spectral.arrays import Array, gpu_state


class Session(Protocol):
    """Runs the graphs of one model. `xai.models.eager.EagerSession` lists the graphs with their inputs and outputs."""

    @property
    def name(self) -> str:
        """How the graphs are run, such as `eager`."""

    @property
    def source(self) -> str:
        """What the graphs are of, as messages say it, such as `bundle FOLDER`."""

    @property
    def precision(self) -> str:
        """The type that the graphs compute in, such as `float32`."""

    @property
    def device(self) -> str:
        """Where the graphs compute, `cpu` or `cuda`: arrays that lie there (`spectral.arrays`) come and go without a copy."""

    @property
    def provider(self) -> str:
        """What really computes: ONNX Runtime's provider, or PyTorch's device."""

    @property
    def description(self) -> Description: ...

    def run(self, graph: str, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """Run one graph; `outputs` names what to return, all of it where None.

        Inputs are NumPy's or, on a GPU, CuPy's. With one of CuPy's among them all outputs are CuPy's, else NumPy's.
        """

    def load_ahead(self, graphs: Sequence[str]) -> None:
        """Begin to load graphs, where they are loaded one by one, in a thread; what is wrong with one is said to who runs it."""

    def release(self) -> None:
        """Let go of graphs that were loaded one by one, and of their memory; who asks again loads them again."""


def check_gpu(provider: str) -> None:
    """Raise `XaiError` where what `provider` leaves on the GPU could not be solved there."""
    if reason := gpu_state():
        raise XaiError(f"provider {provider} needs CuPy, which solves on the GPU what the graphs leave there: {reason}; see `xai doctor`")
