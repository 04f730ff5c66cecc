"""The lines of a run are the same whatever number of threads NumPy's products have, which is the number of cores by default."""

from __future__ import annotations

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

import xai
from xai.bench.data.datasets import load_samples
from xai.bench.data.sample import by_image
from xai.bench.perturb.request import Request, table_methods
from xai.bench.perturb.run import measure_chunk
from xai.runtime.sessions.memory import session_memory
from xai.workers.crew import Chunk


def test_the_lines_do_not_depend_on_threads() -> None:
    with threadpool_limits(2, "blas"):
        if not any(pool["user_api"] == "blas" and pool["num_threads"] == 2 for pool in threadpool_info()):
            pytest.skip("NumPy's products cannot be given two threads here")
    explainer = xai.load("demo")
    request = Request(table_methods(["dsmi", "dsmi-grad"]), session_memory(explainer.session, 2**30), 8, shown=8)
    samples = by_image(load_samples("scenes", 8))
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads, "blas"):
            found.append(measure_chunk(explainer, samples, request, Chunk(0, 8), skip_broken=False))
    assert found[0] == found[1]
