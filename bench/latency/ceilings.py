"""What a machine can do at most, as the library that runs the model does it: one large matrix product, and one large copy."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

MATRIX_SIDE = {"cpu": 2048, "cuda": 8192}
"""The square matrices that are multiplied have so many rows."""
COPIED_NUMBERS = 1 << 25
"""So many are copied: more than a cache holds."""
SECONDS_EACH = 1.0
"""Each of the two is run for so long, after one run to warm up."""

GEMM, COPY = (Path(__file__).parent / name for name in ("gemm.onnx", "copy.onnx"))
"""y = a b, and y = -x, in float32; the copy negates, because ONNX Runtime would not run an identity as other operators."""


class Ceilings(NamedTuple):
    """GFLOP/s of the product, GB/s of the copy (what is read and what is written), and their type."""

    gflop_s: float
    gb_s: float
    dtype: str


def onnx_ceilings(provider: str, threads: int | None) -> Ceilings:
    """Measure what ONNX Runtime reaches; `provider` is its own name of one."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    device = "cuda" if provider == "CUDAExecutionProvider" else "cpu"

    def runs(graph: Path, inputs: dict[str, tuple[int, ...]]) -> float:
        session = onnxruntime.InferenceSession(graph, options, providers=[provider])
        binding = session.io_binding()
        for name, shape in inputs.items():
            value = np.random.default_rng(0).random(shape, np.float32)
            binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(value, device, 0))
        binding.bind_output("y", device)
        return _fastest(lambda: session.run_with_iobinding(binding))

    side = MATRIX_SIDE[device]
    product = runs(GEMM, {"a": (side, side), "b": (side, side)})
    return Ceilings(2e-9 * side**3 / product, 2e-9 * 4 * COPIED_NUMBERS / runs(COPY, {"x": (COPIED_NUMBERS,)}), "float32")


def torch_ceilings(precision: str) -> Ceilings:
    """Measure what PyTorch reaches on the CPU, with its current threads; matrices are of bfloat16 where the model's are."""
    import torch

    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    side = MATRIX_SIDE["cpu"]
    a, b = (torch.rand((side, side), dtype=torch.float32).to(dtype) for _ in range(2))
    x = torch.rand(COPIED_NUMBERS)
    y = torch.empty_like(x)
    product = _fastest(lambda: torch.mm(a, b))
    return Ceilings(2e-9 * side**3 / product, 2e-9 * 4 * COPIED_NUMBERS / _fastest(lambda: y.copy_(x)), str(dtype).removeprefix("torch."))


def _fastest(run: Callable[[], object]) -> float:
    """Seconds of the fastest of the runs that fit into `SECONDS_EACH`."""
    run()
    best, end = float("inf"), time.perf_counter() + SECONDS_EACH
    while time.perf_counter() < end:
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best
