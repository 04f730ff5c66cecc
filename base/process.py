"""Settings of this process: its C library's memory, the threads of NumPy's and SciPy's products, and matplotlib's start."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Of glibc's malloc.h."""

LARGEST_SETTING = 2**31 - 1
"""Bytes: what fits `mallopt`'s argument."""

BLAS_TIMEOUT = "OPENBLAS_THREAD_TIMEOUT"
SHORTEST_TIMEOUT = "4"
"""OpenBLAS's threads wait for 2^4 cycles before they sleep, not 2^26."""

BACKEND = "MPLBACKEND"
"""Names what matplotlib shows windows with."""


def keep_large_blocks() -> None:
    """Let malloc keep freed blocks of any size for the next request, a setting of the process.

    glibc returns blocks over 32 MB to the system at once. PyTorch allocates by malloc, as does ONNX Runtime without its arena, and an
    attention map of METER at 576 px is 81 MB: asked for anew, each one costs the page faults of all its pages again, which is more than
    half of the time of PyTorch's evidence (benchmarks/NOTES.md). The process holds on to up to 2 GB that it has freed. Does nothing where
    the C library has no `mallopt`.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for setting in (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD):
            mallopt(setting, LARGEST_SETTING)


def return_memory() -> None:
    """Give freed memory back to the system, where the C library can: what `keep_large_blocks` holds, too."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def let_blas_sleep() -> None:
    """Let OpenBLAS's threads sleep once a product is done, unless the user has set how long they wait.

    By default they spin for some 20 ms, on the cores that PyTorch wants next: on the demo model that doubles what the eager and the
    TorchScript session take (benchmarks/NOTES.md). OpenBLAS reads this when it is loaded, so call it before NumPy is imported.
    """
    os.environ.setdefault(BLAS_TIMEOUT, SHORTEST_TIMEOUT)


def import_matplotlib() -> None:
    """Import matplotlib, whatever `MPLBACKEND` says: it refuses to start over a name that it does not know.

    xai draws into files and shows no window, so that name matters to the rest of the process only, which finds it as it was.
    """
    if "matplotlib" in sys.modules:
        return
    backend = os.environ.pop(BACKEND, None)
    try:
        import matplotlib
    finally:
        if backend is not None:
            os.environ[BACKEND] = backend
    if backend:
        with contextlib.suppress(ValueError):
            matplotlib.rcParams["backend"] = backend
