"""Runs of `xai bench perturb` on the demo model in processes of their own, and what is known of them from outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

FEW = ["--samples", "12", "--batch", "1", "--methods", "rollout", "--modality", "text"]
"""Twelve chunks, some hundredths of a second each."""
DRAFTS = (".xai-", ".part")


def command(output: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "xai", "bench", "perturb", "-o", str(output), *FEW, *arguments]


def heed_interrupts() -> None:
    """Take back that a shell has what it starts in the background ignore SIGINT, which is inherited."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def begin(output: Path, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    options.setdefault("env", os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"})
    return subprocess.Popen(
        command(output, *arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed_interrupts, **options
    )


def run(output: Path, *arguments: str) -> str:
    """Run to the end; what was said on standard error."""
    process = begin(output, *arguments)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return errors


def state(output: Path) -> dict[str, Any]:
    """What `status.json` says; nothing where it is not there."""
    try:
        return json.loads((output / "status.json").read_bytes())
    except FileNotFoundError:
        return {"workers": [], "done": 0, "state": "none"}


def workers_of(output: Path) -> list[int]:
    """The workers' process numbers, as far as they have opened the model."""
    return [int(worker["who"].split()[1]) for worker in state(output)["workers"] if worker["who"]]


def alive(process: int) -> bool:
    """Whether a process runs; one that has ended and that nobody has asked about does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def children(process: int) -> list[int]:
    """The processes that one has started and that still run."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
            if parent == process:
                found.append(int(folder.name))
    return found


def own_workers() -> list[int]:
    """Workers that this very process has started, and that still run."""
    return [child for child in children(os.getpid()) if b"xai.workers.process" in Path(f"/proc/{child}/cmdline").read_bytes()]


def wait_for(condition: Callable[[], Any], process: subprocess.Popen[Any] | None = None, seconds: float = 120) -> Any:
    """Wait until something is so; returns what it is. Fails where the process ends before."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it took too long"
        assert process is None or process.poll() is None, process.communicate()[1] if process else ""
        time.sleep(0.005)
    return found


def results(output: Path) -> bytes:
    return (output / "results.jsonl").read_bytes()


def outputs(output: Path) -> dict[str, bytes]:
    """Every file that must not depend on who measured."""
    files = (path for path in output.rglob("*") if path.is_file() and path.name != "status.json")
    return {str(path.relative_to(output)): path.read_bytes() for path in files}


def drafts(output: Path) -> list[str]:
    """Files that were to be renamed or removed."""
    return [path.name for path in output.iterdir() if path.name.startswith(DRAFTS[0]) or path.name.endswith(DRAFTS[1])]
