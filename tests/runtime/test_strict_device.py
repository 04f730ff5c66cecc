"""The way of an explanation on a GPU, walked by a stand-in as strict as CuPy that counts what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

import xai
from xai.bench.data.scenes import generate_scene
from xai.runtime.engine import explain_tokens
from xai.runtime.inputs.encode import encode_images
from xai.runtime.inputs.resize import preprocess
from xai.runtime.methods import METHODS
from xai.runtime.needs import EVERY
from xai.tests import strict_cupy

MOST_LAUNCHES, MOST_WAITS = 600, 8
"""Of solver and all methods of the demo model, whatever the batch."""

OFFERED = [method for method in METHODS.values() if not method.lrp]
ELEVEN = [method.name for method in OFFERED if method.layers != EVERY]


class DeviceSession:
    """A session that says it computes on a GPU, takes and gives arrays that lie there, and launches what nobody counts here."""

    device = "cuda"

    def __init__(self, session: Any) -> None:
        self._session = session
        self.name, self.source = session.name, session.source
        self.precision, self.description = session.precision, session.description

    def run(self, graph: str, inputs: Mapping[str, Any], outputs: Sequence[str] | None = None) -> dict[str, Any]:
        assert [name for name, value in inputs.items() if not isinstance(value, strict_cupy.ndarray)] == []
        found = self._session.run(graph, {name: value._host for name, value in inputs.items()}, outputs)
        return {name: strict_cupy.ndarray(value) for name, value in found.items()}


def explained(session: Any, batch: int, methods: Sequence[Any] = OFFERED) -> list[Any]:
    """Generated scenes and questions of four lengths, by every method."""
    scenes = [generate_scene(np.random.default_rng(i)).draw(session.description.image_size) for i in range(batch)]
    pixels = np.stack([preprocess(scene, session.description)[0] for scene in scenes])
    questions = [np.array([0, *range(5, 7 + i % 4), 2]) for i in range(batch)]
    tokens = encode_images(session, pixels)
    return explain_tokens(session, tokens, questions, [-1] * batch, methods, seeds=list(range(batch)))


@pytest.fixture(scope="module")
def session():
    return xai.load(threads=1).session


@pytest.mark.parametrize("batch", [1, 4])
def test_all_methods_on_the_strict_device_give_what_the_host_gives(session, batch, monkeypatch) -> None:
    wanted_ones = explained(session, batch)
    strict_cupy.install(monkeypatch)
    for ours, theirs in zip(explained(DeviceSession(session), batch), wanted_ones, strict=True):
        assert ours.target == theirs.target
        for one, other in zip(ours.relevances, theirs.relevances, strict=True):
            for found, wanted in zip(one, other, strict=True):
                found = found._host if isinstance(found, strict_cupy.ndarray) else found  # `random` draws on the host
                assert found == pytest.approx(wanted, rel=1e-4, abs=1e-6 * float(abs(wanted).max()))


@pytest.fixture
def costs(session, monkeypatch):
    """What a batch costs on the device, graphs of the model aside."""

    def measure(batch: int, *names: str) -> strict_cupy.Counts:
        counts = strict_cupy.install(monkeypatch)
        explained(DeviceSession(session), batch, [METHODS[name] for name in names])
        return counts

    return measure


def test_methods_wait_twice_whatever_the_batch(costs) -> None:
    """For the logits, and for all relevances."""
    names = ("relevance-maps", "transformer-attribution", "raw-attention", "grad-cam", "rollout", "joint-rollout")
    for batch in (1, 4):
        assert costs(batch, *names).waits == 2


@pytest.mark.parametrize("names", [["dsmi"], ["dsmi-grad-attn"], ELEVEN], ids=["features", "products", "eleven"])
def test_what_is_launched_and_waited_for_does_not_grow_with_the_batch(costs, names) -> None:
    """Four questions hold every length there is; a single one needs no padding."""
    counted = [(found.launches, found.waits, found.copies) for found in (costs(batch, *names) for batch in (1, 4, 8, 16))]
    assert counted[1] == counted[2] == counted[3]
    assert counted[0] <= counted[1]
    assert counted[1][0] <= MOST_LAUNCHES and counted[1][1] <= MOST_WAITS


def test_the_double_refuses_what_cupy_refuses(monkeypatch) -> None:
    strict_cupy.install(monkeypatch)
    import cupy  # type: ignore[import-not-found, unused-ignore]

    device = cupy.asarray(np.arange(6.0).reshape(2, 3))
    refused = {
        "implicit conversion": lambda: np.asarray(device),
        "mixing": lambda: device + np.ones(3),
        "mixing, turned": lambda: np.ones(3) + device,
        "functions of NumPy": lambda: np.sqrt(device),
        "arrays of the host": lambda: cupy.sqrt(np.ones(3)),
        "objects": lambda: cupy.asarray(np.array([None])),
        "strings": lambda: cupy.asarray(["a"]),
        "kinds": lambda: cupy.sort(device, kind="mergesort"),
        "keywords": lambda: cupy.concatenate([device, device], where=True),
        "assignment from the host": lambda: device.__setitem__(0, np.ones(3)),
    }
    passed = []
    for name, act in refused.items():
        try:
            act()
        except (TypeError, ValueError):
            continue
        passed.append(name)
    assert passed == []
    for name in ("vectorize_nothing", "strings", "busday_count", "from_dlpack2"):
        with pytest.raises(AttributeError):
            getattr(cupy, name)


def test_the_double_counts_launches_waits_and_copies(monkeypatch) -> None:
    counts = strict_cupy.install(monkeypatch)
    import cupy

    a = cupy.asarray(np.arange(6.0).reshape(2, 3))
    assert (counts.copies, counts.launches, counts.waits) == (1, 0, 0)
    b = (a + 1)[:, :2].T.reshape(-1)[0:1]
    assert (counts.launches, counts.waits) == (1, 0)  # views launch nothing
    assert float(b.sum()) == 1
    assert (counts.launches, counts.waits) == (2, 1)
    a[a > 2]
    assert counts.waits == 2 and counts.who == ["float", "mask"]
