"""What the runtime asks of whoever runs a model's graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from xai.base.errors import XaiError
from xai.spectral.arrays import Array, gpu_state

TOP_ANSWER = -1
"""As a target: whatever answer scores highest."""


class ModelDescription(Protocol):
    """The sizes of a model that the runtime works with."""

    @property
    def image_size(self) -> int:
        """Side of the input image, in pixels."""

    @property
    def grid(self) -> int:
        """Patches along one side of the image."""

    @property
    def image_mean(self) -> tuple[float, float, float]: ...

    @property
    def image_std(self) -> tuple[float, float, float]: ...

    @property
    def max_text_tokens(self) -> int:
        """Longest question, special tokens included."""

    @property
    def vocab_size(self) -> int: ...

    @property
    def text_layers(self) -> int:
        """Layers of the text encoder."""

    @property
    def layers(self) -> int:
        """Cross-modal layer pairs."""

    @property
    def answers(self) -> int:
        """Rows of the answer classifier."""


class Session(Protocol):
    """Runs the graphs of one model. `xai.meter.session.EagerSession` lists the graphs with their inputs and outputs."""

    @property
    def name(self) -> str:
        """How the graphs are run, such as `eager`."""

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
    def description(self) -> ModelDescription: ...

    def run(self, graph: str, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """Run one graph; `outputs` names what to return, all of it where None.

        Inputs are NumPy's or, on a GPU, CuPy's. With one of CuPy's among them all outputs are CuPy's, else NumPy's.
        """


def check_gpu(provider: str) -> None:
    """Raise `XaiError` where what `provider` leaves on the GPU could not be solved there."""
    if reason := gpu_state():
        raise XaiError(f"provider {provider} needs CuPy, which solves on the GPU what the graphs leave there: {reason}; see `xai doctor`")
