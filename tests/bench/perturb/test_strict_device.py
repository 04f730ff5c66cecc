"""The perturbation test on a GPU, walked by a stand-in as strict as CuPy (`tests/strict_cupy.py`)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import xai
from xai.bench.data.datasets import load_samples
from xai.bench.measures.table import MEASURES
from xai.bench.perturb.answering import Measured, run_chunk
from xai.bench.perturb.plan import batch_subsets
from xai.bench.perturb.request import Chunk, Request, table_methods
from xai.bench.perturb.run import prepare_chunk
from xai.runtime.sessions.memory import session_memory
from xai.tests import strict_cupy
from xai.tests.runtime.test_strict_device import MOST_WAITS, DeviceSession

QUESTIONS = 3


@pytest.fixture(scope="module")
def asked() -> tuple[Any, Any, Request]:
    explainer = xai.load(threads=1)
    prepared, _ = prepare_chunk(explainer, load_samples("scenes", QUESTIONS, 1), Chunk(0, QUESTIONS), skip_broken=False)
    memory = session_memory(explainer.session, 1 << 28)
    return explainer.session, prepared, Request(table_methods(["dsmi-grad", "relevance-maps"]), memory, QUESTIONS, measures=tuple(MEASURES))


def test_the_strict_device_plans_and_answers_what_the_host_does(asked, monkeypatch) -> None:
    """A question that was explained waits as ever; the answers to a batch of subsets wait once."""
    session, prepared, request = asked
    wanted = run_chunk(session, prepared, request)
    counts = strict_cupy.install(monkeypatch)
    found: list[Measured] = run_chunk(DeviceSession(session), prepared, request)
    for ours, theirs in zip(found, wanted, strict=True):
        for one, other in zip(ours.explained.maps.image, theirs.explained.maps.image, strict=True):
            assert one == pytest.approx(other, rel=1e-4, abs=1e-6 * float(abs(other).max()))
        both = {(s.image.tobytes(), s.text.tobytes()): i for i, s in enumerate(ours.plan.subsets)}
        rows = [(both[key], i) for i, s in enumerate(theirs.plan.subsets) if (key := (s.image.tobytes(), s.text.tobytes())) in both]
        assert len(rows) > 0.9 * len(theirs.plan.subsets)  # a tie in rounding may part two
        mine, other_rows = (np.array(each) for each in zip(*rows, strict=True))
        assert np.allclose(ours.logits[mine], theirs.logits[other_rows], atol=1e-4)
    special = session.description.special
    batches = len(list(batch_subsets([one.plan for one in found], special, request.memory.answers)))
    assert counts.waits <= batches + 2 * MOST_WAITS  # explained twice: the runner-up as well
