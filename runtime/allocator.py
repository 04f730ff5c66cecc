"""How this process's C library hands out large blocks of memory."""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Of glibc's malloc.h."""

LARGEST = 2**31 - 1
"""Bytes: what fits `mallopt`'s argument."""


def keep_large_blocks() -> None:
    """Let malloc keep freed blocks of any size for the next request, a setting of the process.

    glibc returns blocks over 32 MB to the system at once. PyTorch allocates by malloc, and an attention map of METER at 576 px is
    81 MB: asked for anew, each one costs the page faults of all its pages again, which is more than half of the time of the evidence
    (benchmarks/NOTES.md). The process holds on to up to 2 GB that it has freed. Does nothing where the C library has no `mallopt`.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for setting in (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD):
            mallopt(setting, LARGEST)
