"""The way of the arrays on a GPU, walked by a kind of NumPy array that stands for the device's.

What this cannot show: that CuPy, ONNX Runtime and PyTorch do their part on a GPU.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

import xai
from xai.runtime.engine import explain_tokens
from xai.runtime.inputs.encode import encode_images
from xai.runtime.methods import METHODS


class OnDevice(np.ndarray):
    """What is computed from one of these is one, too."""


class DeviceSession:
    """A session that says it computes on a GPU, and takes nothing that does not lie there."""

    device = "cuda"

    def __init__(self, session: Any) -> None:
        self._session = session
        self.name, self.source = session.name, session.source
        self.precision, self.description = session.precision, session.description

    def run(self, graph: str, inputs: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None) -> dict[str, OnDevice]:
        assert [name for name, value in inputs.items() if not isinstance(value, OnDevice)] == []
        found = self._session.run(graph, {name: np.asarray(value) for name, value in inputs.items()}, outputs)
        return {name: value.view(OnDevice) for name, value in found.items()}


def test_nothing_visits_the_host_between_the_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    session = xai.load(threads=1).session
    monkeypatch.setattr("xai.runtime.inputs.encode.to_device", lambda array: np.asarray(array).view(OnDevice))
    pixels = np.random.default_rng(0).standard_normal((2, 3, *2 * [session.description.image_size]), dtype=np.float32)
    questions, methods = [np.array([0, 5, 6, 2]), np.array([0, 7, 2])], [method for method in METHODS.values() if not method.lrp]
    runs = []
    for each in (session, DeviceSession(session)):
        tokens = encode_images(each, pixels)
        runs.append(explain_tokens(each, tokens, questions, [-1, 3], methods, seeds=[1, 2]))
    assert isinstance(tokens, OnDevice)
    for host, device in zip(*runs, strict=True):
        assert device.target == host.target
        for ours, theirs in zip(device.relevances, host.relevances, strict=True):
            assert (np.asarray(ours.image) == theirs.image).all()
            assert (np.asarray(ours.text) == theirs.text).all()
