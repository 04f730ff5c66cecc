"""What happens to the machine under a run: its disk is full, its clock is set, somebody else wants the folder."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import xai
from xai.tests.workers.runs import alive, begin, children, command, drafts, outputs, results, run, state, wait_for

PLAIN = ["--threads", "1", "--browse", "0"]
LONGER = ["--samples", "60", *PLAIN]
SMALL_DISK = """
mount -t tmpfs -o size=32k none "$1" || exit 77
disk=$1 keep=$2; shift 2
"$@"; echo $? > "$keep/first"; ls -A "$disk" "$disk"/*/ > "$keep/left" 2> /dev/null
mount -o remount,size=64m "$disk"
"$@" --resume; echo $? > "$keep/second"
cp -r "$disk/." "$keep"
"""
"""Runs a command on a file system of 32 KiB that nobody else sees, and with --resume when there is room; keeps what came of it."""
CLOCK = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)


def on_a_small_disk(tmp_path: Path, *arguments: str) -> tuple[Path, list[str]]:
    """The folder that has what the disk had, and the lines on standard error."""
    disk, keep = tmp_path / "disk", tmp_path / "keep"
    disk.mkdir()
    keep.mkdir()
    if not shutil.which("unshare") or subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a file system")
    all_of_it = ["unshare", "-m", "sh", "-c", SMALL_DISK, "sh", str(disk), str(keep), *arguments]
    done = subprocess.run(all_of_it, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode == 77:
        pytest.skip("needs the right to mount a file system")
    assert (keep / "first").read_text() == "1\n", done.stderr
    assert (keep / "second").read_text() == "0\n", done.stderr
    assert "Traceback" not in done.stderr
    return keep, done.stderr.splitlines()


def test_a_run_on_a_full_disk_says_so_in_a_line_and_goes_on_when_there_is_room(tmp_path) -> None:
    run(tmp_path / "whole", *PLAIN)
    keep, said = on_a_small_disk(tmp_path, *command(tmp_path / "disk" / "out", *PLAIN, "--workers", "2"))
    errors = [line for line in said if line.startswith("Error: ")]
    assert len(errors) == 1
    assert errors[0].endswith("results.jsonl: No space left on device; whole chunks are kept: go on with --resume")
    assert ".part" not in (keep / "left").read_text()
    assert outputs(keep / "out") == outputs(tmp_path / "whole")


def test_explanations_of_pairs_on_a_full_disk_are_whole_lines(tmp_path) -> None:
    scene = Path(xai.__file__).parent / "examples" / "scene1.png"
    pairs = [json.dumps({"image": str(scene), "question": f"Is there a {word}?"}) for word in ("circle", "star", "square") * 8]
    (tmp_path / "pairs.jsonl").write_text("\n".join(pairs))
    explain = [sys.executable, "-m", "xai", "explain", "--pairs", str(tmp_path / "pairs.jsonl"), "--threads", "1", "--json"]
    subprocess.run([*explain, str(tmp_path / "whole.jsonl")], check=True, capture_output=True, timeout=300)
    keep, said = on_a_small_disk(tmp_path, *explain, str(tmp_path / "disk" / "out.jsonl"), "--workers", "2")
    errors = [line for line in said if line.startswith("Error: ")]
    assert len(errors) == 1
    assert errors[0].endswith("out.jsonl: No space left on device; the lines so far are there, --resume goes on")
    found = [
        [json.loads(line) | {"timings_ms": None} for line in file.read_text().splitlines()]
        for file in (keep / "out.jsonl", tmp_path / "whole.jsonl")
    ]
    assert found[0] == found[1]


def test_a_second_driver_is_refused_in_a_line_and_the_first_goes_on(tmp_path) -> None:
    out = tmp_path / "out"
    first = begin(out, *LONGER, "--workers", "2")
    wait_for(lambda: state(out)["done"] >= 1, first)
    before = results(out)
    second = begin(out, *LONGER, "--workers", "2", "--resume")
    _, errors = second.communicate(timeout=120)
    assert second.returncode == 1
    (line,) = [line for line in errors.splitlines() if line.startswith("Error: ")]
    assert f"process {first.pid}" in line
    _, errors = first.communicate(timeout=300)
    assert first.returncode == 0, errors
    assert results(out).startswith(before)
    run(tmp_path / "whole", *LONGER)
    assert outputs(out) == outputs(tmp_path / "whole")


@pytest.mark.skipif(CLOCK is None, reason="needs libfaketime")
def test_a_clock_that_is_set_while_workers_measure_changes_nothing(tmp_path) -> None:
    out, clock = tmp_path / "out", tmp_path / "clock"
    clock.write_text("+0\n")
    # Only the time of day is false: what goes on forward alone does so when the clock is set.
    environment = {
        "LD_PRELOAD": str(CLOCK),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    process = begin(out, *LONGER, "--workers", "2", env=os.environ | environment | {"OMP_NUM_THREADS": "1"})
    for jump, done in (("-400d\n", 1), ("+4000d\n", 20)):
        wait_for(lambda done=done: state(out)["done"] >= done, process)
        clock.write_text(jump)
    started = children(process.pid)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    seen = state(out)
    assert 0 < seen["seconds"] < 300
    assert all(0 <= worker["busy"] <= seen["seconds"] for worker in seen["workers"])
    assert seen["retries"] == []
    assert not any(map(alive, started))
    assert drafts(out) == []
    run(tmp_path / "whole", *LONGER)
    assert outputs(out) == outputs(tmp_path / "whole")


def test_a_worker_whose_driver_ends_at_once_ends_without_a_word() -> None:
    ours, its = socket.socketpair()
    with ours, its:
        command = [sys.executable, "-P", "-m", "xai.workers.process", str(its.fileno())]
        process = subprocess.Popen(command, pass_fds=[its.fileno()], stderr=subprocess.PIPE, text=True)
    assert process.communicate(timeout=60)[1] == ""
    assert process.returncode == 0
