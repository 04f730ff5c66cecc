"""Describe what a measurement was made on: the machine, the versions, and what this process has used of it."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

from xai.base.versions import versions


def describe_machine() -> dict[str, Any]:
    """Describe the machine for a report: `memory_gb` is what is installed, `gpu` the first one's name, if there is any."""
    return {
        "cpu": _field(Path("/proc/cpuinfo"), "model name") or platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "gpu": gpu_name() or "none found by nvidia-smi",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: version for name, version in versions().items() if version},
    }


def gpu_name() -> str | None:
    """Ask NVIDIA's own tool what the first GPU is called: no library of ours has to be loaded for that."""
    if shutil.which("nvidia-smi") is None:
        return None
    asked = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    return done.stdout.splitlines()[0].strip() if done.returncode == 0 and done.stdout.strip() else None


def peak_memory_mb() -> float:
    """Read the most memory that this process has held so far, in units of 10^6 bytes. `ru_maxrss` would count the parent's as well."""
    value = _field(Path("/proc/self/status"), "VmHWM")
    assert value is not None  # Linux has it
    return int(value.split()[0]) * 1024 / 1e6


def _field(file: Path, name: str) -> str | None:
    """Find the first `NAME: value` of one of the kernel's tables."""
    for line in file.read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return None
