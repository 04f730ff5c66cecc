"""Workers and drivers that are killed at random moments: the bytes are those of one process, and nothing is left of those that died."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from xai.tests.workers.runs import begin, children, drafts, outputs, run, state, wait_for

FEW, MANY = 2, 50
LONGEST = 1.5
"""Seconds between two kills."""
MARK = "XAI_TEST_RUN"
OF_ONNX_RUNTIME = ".ses"
"""ONNX Runtime 1.32 writes this file when it is imported, in any process."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "out"
    run(folder, "--threads", "1")
    return folder


def of_run(mark: str) -> list[int]:
    """Every process that a trial has started, directly or not, and that still runs."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                environment = (folder / "environ").read_bytes()
            except OSError:
                continue
            if f"{MARK}={mark}".encode() in environment.split(b"\0"):
                found.append(int(folder.name))
    return found


def trial(seed: int, folder: Path, whole: Path, counts: Counter[str]) -> None:
    """Run to the end in spite of kills; a driver's death is followed by another driver, with another number of workers."""
    rng, out, temporary = random.Random(seed), folder / "out", folder / "tmp"
    temporary.mkdir(parents=True)
    left = rng.randint(1, 3)
    environment = os.environ | {"OMP_NUM_THREADS": "1", MARK: str(folder), "TMPDIR": str(temporary)}
    while True:
        process = begin(out, "--workers", str(rng.randint(1, 3)), "--resume", env=environment)
        kills = 0
        while left and kills < 2 and process.poll() is None:
            time.sleep(rng.random() * LONGEST)
            victims = children(process.pid)
            if victims and rng.random() < 0.6:
                os.kill(rng.choice(victims), signal.SIGKILL)
                counts["workers killed"] += 1
                kills += 1
            else:
                gentle = [signal.SIGTERM, signal.SIGINT] if victims else []  # before that it is Python that starts
                process.send_signal(rng.choice([signal.SIGKILL, *gentle]))
                counts["drivers ended"] += 1
                left -= 1
                break
        _, errors = process.communicate(timeout=300)
        assert "Traceback" not in errors, errors
        if process.returncode == 0:
            break
        wait_for(lambda: not of_run(str(folder)), seconds=20)
    assert outputs(out) == outputs(whole), f"seed {seed}"
    assert state(out)["state"] == "done"
    assert drafts(out) == []
    assert {path.name for path in temporary.iterdir()} <= {OF_ONNX_RUNTIME}
    assert not of_run(str(folder))


def test_a_few_runs_with_random_kills_give_the_same_bytes(whole, tmp_path) -> None:
    counts: Counter[str] = Counter()
    for seed in range(FEW):
        trial(seed, tmp_path / str(seed), whole, counts)
    assert counts.total() > 0


@pytest.mark.slow
def test_fifty_runs_with_random_kills_give_the_same_bytes(whole, tmp_path, capsys) -> None:
    """Some ten minutes."""
    counts: Counter[str] = Counter()
    for seed in range(MANY):
        trial(seed, tmp_path / str(seed), whole, counts)
        shutil.rmtree(tmp_path / str(seed))
    with capsys.disabled():
        print(f"\n{MANY} runs: {', '.join(f'{name} {count}' for name, count in sorted(counts.items()))}")
    assert counts["workers killed"] > MANY / 4
    assert counts["drivers ended"] > MANY / 4
