"""`xai bench perturb --workers` on the demo model: processes that end, are ended, or fail; the bytes are those of one process."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from functools import partial
from operator import truediv
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import xai
from xai.base.errors import BadInput, XaiError
from xai.bench.data.datasets import load_samples
from xai.bench.data.sample import Sample
from xai.bench.perturb.request import Request, table_methods
from xai.bench.perturb.run import Measuring
from xai.cli import main
from xai.commands.bench.crew import CrewOptions
from xai.models.load import ModelOptions
from xai.runtime.sessions import memory
from xai.runtime.sessions.memory import Memory
from xai.tests.workers.crews import board
from xai.tests.workers.runs import (
    FEW,
    alive,
    begin,
    children,
    command,
    drafts,
    outputs,
    own_workers,
    results,
    run,
    state,
    wait_for,
    workers_of,
)
from xai.workers.crew import Chunk
from xai.workers.local import LocalCrew, visible_device
from xai.workers.supervise import Supervisor


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The run that one process made undisturbed."""
    folder = tmp_path_factory.mktemp("whole") / "out"
    run(folder, "--threads", "1")
    return folder


LONGER = ["--samples", "120", "--threads", "1"]
"""So that a run does not end before it is disturbed; sums of ONNX Runtime may depend on the threads of a product."""


@pytest.fixture(scope="module")
def longer(tmp_path_factory) -> Path:
    """The same with more questions."""
    folder = tmp_path_factory.mktemp("longer") / "out"
    run(folder, *LONGER)
    return folder


@pytest.mark.parametrize("workers", ["1", "3", "auto"])
def test_any_number_of_workers_gives_the_same_files(whole, tmp_path, workers) -> None:
    said = run(tmp_path / "out", "--workers", workers)
    assert outputs(tmp_path / "out") == outputs(whole)
    assert "questions a second" in said
    seen = state(tmp_path / "out")
    assert (seen["state"], seen["done"], seen["questions"]) == ("done", 12, 12)
    assert sum(worker["questions"] for worker in seen["workers"]) == 12
    if workers == "3":
        assert len(seen["workers"]) == 3
        assert "3 workers, busy " in said


def test_a_killed_worker_costs_its_chunk_and_the_end_says_so(whole, tmp_path) -> None:
    process = begin(tmp_path / "out", "--workers", "2")
    victim = wait_for(lambda: workers_of(tmp_path / "out"), process)[0]
    os.kill(victim, signal.SIGKILL)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert outputs(tmp_path / "out") == outputs(whole)
    assert f"process {victim} ended" in errors
    assert "SIGKILL: out of memory?" in errors
    assert sum(worker["deaths"] for worker in state(tmp_path / "out")["workers"]) == 1
    assert "Traceback" not in errors


def test_workers_end_with_a_driver_that_is_killed_and_resume_goes_on(longer, tmp_path) -> None:
    out = tmp_path / "out"
    process = begin(out, *LONGER, "--workers", "2")
    wait_for(lambda: state(out)["done"] >= 2, process)
    started = children(process.pid)
    assert started
    process.kill()
    process.communicate()
    wait_for(lambda: not any(map(alive, started)), seconds=20)
    said = CliRunner().invoke(main, ["bench", "status", str(out)])
    assert "ended without a word" in said.output, said.output
    assert "go on with --resume" in said.output
    (out / ".xai-0123456789abcdef").touch()  # as a kill may leave
    run(out, *LONGER, "--workers", "3", "--resume")
    assert outputs(out) == outputs(longer)
    assert drafts(out) == []
    run(out, *LONGER, "--resume")  # nothing is left to do, and nobody is started for it
    assert outputs(out) == outputs(longer)


def test_ctrl_c_ends_all_and_says_how_to_go_on(longer, tmp_path) -> None:
    out = tmp_path / "out"
    process = begin(out, *LONGER, "--workers", "2", start_new_session=True)
    wait_for(lambda: state(out)["done"] >= 2, process)
    started = children(process.pid)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1, errors
    assert [line for line in errors.splitlines() if "%" not in line][-1].startswith("Error: stopped; what is done lies in")
    assert "Traceback" not in errors
    assert not any(map(alive, started))
    assert state(out)["state"] == "stopped"
    run(out, *LONGER, "--workers", "2", "--resume")
    assert outputs(out) == outputs(longer)


@pytest.mark.parametrize(("browse", "full"), [("0", "results.jsonl"), ("12", ".jpg")])
def test_a_full_disk_is_one_line_and_nothing_is_lost(whole, tmp_path, browse, full) -> None:
    out = tmp_path / "out"
    limited = ["bash", "-c", 'ulimit -f 8; exec "$@"', "bash", *command(out, "--workers", "2", "--browse", browse)]
    done = subprocess.run(limited, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error")]
    assert len(errors) == 1
    assert f"{full}: File too large; whole chunks are kept: go on with --resume" in errors[0]
    assert "Traceback" not in done.stderr
    if not out.exists():  # the first picture did not fit: there was no chunk to keep
        assert browse != "0"
        return
    said = CliRunner().invoke(main, ["bench", "status", str(out)])
    assert "failed after" in said.output
    assert "File too large" in said.output
    run(out, "--workers", "2", "--resume")
    assert results(out) == results(whole)


def crew_of(folder: Path, samples: list[Sample], model: ModelOptions | None = None, workers: int = 2) -> Supervisor:
    request = Request(table_methods(["rollout"]), Memory(2**30, 128, 3), 1, ("text",), seed=1)
    crew = LocalCrew(model or ModelOptions(), Measuring(request, skip_broken=False), workers, workers)
    return Supervisor(crew, samples, board(folder, len(samples)))


def deadly(picture) -> list[Sample]:
    """Four questions, the third of which has a picture that ends whoever asks for it."""
    found = load_samples("scenes", 4, 7)
    found[2] = Sample("bad", "bad.png", "Is there a circle?", {"yes": 1.0}, picture)
    return found


@pytest.mark.parametrize(
    ("picture", "reason"),
    [
        (partial(signal.raise_signal, signal.SIGKILL), "SIGKILL: out of memory"),
        (partial(truediv, 1, 0), "ZeroDivisionError: division by zero"),
        (partial(os._exit, 3), "exit code 3"),
    ],
)
def test_a_question_that_ends_three_workers_is_named(tmp_path, picture, reason) -> None:
    chunks, found = [Chunk(i, i + 1) for i in range(4)], []
    with pytest.raises(XaiError, match=rf"question 2 \(bad.png\) ended 3 workers, the last one by {reason}"):
        for results in crew_of(tmp_path, deadly(picture)).measure(chunks):
            found.append(results.lines)
    assert [lines[0]["index"] for lines in found] == [0, 1]
    assert own_workers() == []


def test_a_model_that_a_worker_cannot_open_is_one_line(tmp_path) -> None:
    supervisor = crew_of(tmp_path, load_samples("scenes", 1, 7), ModelOptions(model=str(tmp_path / "none")))
    with pytest.raises(XaiError, match="none does not exist"):
        next(supervisor.measure([Chunk(0, 1)]))
    assert own_workers() == []


def test_a_broken_picture_ends_the_run_as_in_one_process(tmp_path) -> None:
    found = load_samples("scenes", 3, 7)
    found[1] = Sample("gone", "gone.png", "Is there a circle?", {"yes": 1.0}, partial(Path, "gone.png"))
    with pytest.raises(XaiError, match=r"question gone: .*gone.png does not exist .*--skip-broken"):
        list(crew_of(tmp_path, found).measure([Chunk(0, 1), Chunk(1, 2), Chunk(2, 3)]))


def test_devices_are_shared_out_and_threads_are_not(monkeypatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    measure = Measuring(Request((), Memory(1, 1, 1), 1), skip_broken=False)
    crew = LocalCrew(ModelOptions(), measure, 3, 2, [visible_device(1), visible_device(0)])
    environments = [crew._environment(place) for place in (1, 2, 3)]
    assert [one["CUDA_VISIBLE_DEVICES"] for one in environments] == ["6", "4", "6"]
    assert {one["OMP_NUM_THREADS"] for one in environments} == {"2"}
    with pytest.raises(BadInput, match="cuda:2 is not among the 2 that CUDA_VISIBLE_DEVICES names"):
        visible_device(2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert visible_device(2) == "2"


SAMPLE = Sample("0", "a.png", "Is there a star?", {"yes": 1.0}, partial(Path, "a.png"))


def test_auto_takes_no_more_workers_than_the_memory_holds(monkeypatch, caplog) -> None:
    explainer = xai.load("demo", threads=1, lean=True)
    monkeypatch.setattr(memory, "private_memory", lambda: 0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    worker = memory.SPARE + memory.perturbing_takes(explainer.session, 1, explainer.encoder.longest([SAMPLE.question]))
    room = memory.SPARE + 3 * worker
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 1, "SC_PHYS_PAGES": room}.__getitem__)
    measuring = Measuring(Request((), Memory(1, 1, 1), 1), skip_broken=False)

    def places(workers: Any, limit: int | None = None) -> int:
        return CrewOptions(workers, ()).within(explainer, limit, [SAMPLE], 1).crew(ModelOptions(), None, measuring, 100, ()).places

    assert places("auto") == 3
    assert places("auto", room - worker) == 2
    assert places(3, room) == 3
    assert not caplog.records
    assert places(5) == 5
    assert f"5 workers of {worker / 2**30:.2g} GB each are more than this machine has" in caplog.text
    five, one = (re.escape(memory.in_gb(memory.SPARE + count * worker)) for count in (5, 1))
    with pytest.raises(BadInput, match=f"too little: {five} is the least for 5 workers beside this process; 3 would fit"):
        places(5, room)
    with pytest.raises(BadInput, match=f"too little: {one} is the least for 1 workers beside this process$"):
        places("auto", room - 3 * worker)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workers", "0"], "'0' is not a number from 1 to 1024, or auto"),
        (["--workers", "-1"], "'-1' is not a number from 1 to 1024, or auto"),
        (["--workers", "some"], "'some' is not a number from 1 to 1024, or auto"),
        (["--devices", "gpu0"], "'gpu0' is not cuda:0 or several such names"),
        (["--devices", "cuda:0,cuda:0"], "each once"),
        (["--devices", ""], "is not cuda:0"),
        (["--devices", "cuda:0,cuda:1", "--workers", "1"], "--workers 1 leaves one of 2 devices without work"),
        (["--devices", "cuda:0", "--provider", "tensorrt"], "leave --provider tensorrt out"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, arguments, message) -> None:
    result = CliRunner().invoke(main, ["bench", "perturb", "-o", str(tmp_path / "out"), *FEW, *arguments])
    assert result.exit_code == 2
    assert message in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_device_that_is_not_there_is_one_line(tmp_path) -> None:
    result = CliRunner().invoke(main, ["bench", "perturb", "-o", str(tmp_path / "out"), *FEW, "--devices", "cuda:0,cuda:1"])
    if result.exit_code == 0:
        pytest.skip("there are two GPUs here")
    assert result.exit_code == 1
    assert "cuda" in result.stderr
    assert not (tmp_path / "out").exists()


def test_results_are_on_the_disk_chunk_by_chunk(tmp_path, monkeypatch) -> None:
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_size))
    result = CliRunner().invoke(main, ["bench", "perturb", "-o", str(tmp_path / "out"), *FEW])
    assert result.exit_code == 0, result.output
    assert len(synced) == 12
    assert synced == sorted(set(synced))
    assert synced[-1] == len(results(tmp_path / "out"))
