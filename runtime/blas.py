"""How the threads of NumPy's and SciPy's products behave in this process."""

from __future__ import annotations

import os

TIMEOUT = "OPENBLAS_THREAD_TIMEOUT"
SHORTEST = "4"
"""OpenBLAS's threads wait for 2^4 cycles before they sleep, not 2^26."""


def let_blas_sleep() -> None:
    """Let OpenBLAS's threads sleep once a product is done, unless the user has set how long they wait.

    By default they spin for some 20 ms, on the cores that PyTorch wants next: on the demo model that doubles what the eager and the
    TorchScript session take (benchmarks/NOTES.md). OpenBLAS reads this when it is loaded, so call it before NumPy is imported.
    """
    os.environ.setdefault(TIMEOUT, SHORTEST)
