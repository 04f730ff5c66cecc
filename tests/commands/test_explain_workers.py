"""`xai explain --workers`: the lines and files of one process, whoever ends meanwhile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import xai
from xai.base.errors import XaiError
from xai.cli import main
from xai.commands.explain.drawing import Wanted
from xai.commands.explain.sharing import share
from xai.models.load import ModelOptions
from xai.tests.workers.crews import Deadly
from xai.tests.workers.runs import alive, children, wait_for
from xai.workers.crew import Chunk
from xai.workers.state import Wording

EXAMPLES = Path(xai.__file__).parent / "examples"
SCENES = ["scene1.png", "scene2.png", "scene3.png"]
PAIRS = [{"image": SCENES[i % 3], "question": f"Is there a {word}?", "id": i} for i, word in enumerate(("circle", "star", "square") * 5)]
"""Four chunks, the last of three pairs."""
MANY = PAIRS * 8


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in SCENES:
        Path(name).write_bytes((EXAMPLES / name).read_bytes())


def write(pairs: list[dict[str, Any]]) -> None:
    Path("pairs.jsonl").write_text("".join(json.dumps(pair | {"id": i}) + "\n" for i, pair in enumerate(pairs)))


def explain(*arguments: str):
    return CliRunner().invoke(main, ["explain", *arguments, "--threads", "1"])


def begin(file: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "xai", "explain", "--pairs", "pairs.jsonl", "--json", file, "--threads", "1", *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def finish(process: subprocess.Popen[str]) -> str:
    """Wait for the end of a run that goes well; what it said on standard error."""
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    return errors


def lines(file: str) -> list[dict[str, Any]]:
    """The lines of a run, without what another run would measure otherwise."""
    found = [json.loads(line) for line in Path(file).read_text().splitlines()]
    for line in found:
        line.pop("timings_ms", None)
    return found


@pytest.mark.parametrize("workers", ["1", "3", "auto"])
def test_pairs_give_the_lines_of_one_process(workers) -> None:
    write([*PAIRS[:5], {"image": "none.png", "question": "Why?"}, {"image": "scene1.png", "question": ""}, *PAIRS[5:]])
    assert explain("--pairs", "pairs.jsonl", "--json", "one.jsonl", "--skip-broken").exit_code == 0
    result = explain("--pairs", "pairs.jsonl", "--json", "out.jsonl", "--skip-broken", "--workers", workers)
    assert result.exit_code == 0, result.output
    assert lines("out.jsonl") == lines("one.jsonl")
    assert sum("error" in line for line in lines("out.jsonl")) == 2
    assert "pairs a second" in result.stderr


@pytest.mark.parametrize("kept", [0, 3, 4, 15])
def test_pairs_go_on_where_they_were(kept) -> None:
    write(PAIRS)
    assert explain("--pairs", "pairs.jsonl", "--json", "out.jsonl", "-m", "random").exit_code == 0
    whole = lines("out.jsonl")
    Path("out.jsonl").write_bytes(b"".join(Path("out.jsonl").read_bytes().splitlines(keepends=True)[:kept]))
    result = explain("--pairs", "pairs.jsonl", "--json", "out.jsonl", "-m", "random", "--resume", "--workers", "2")
    assert result.exit_code == 0, result.output
    assert lines("out.jsonl") == whole


def test_a_killed_worker_costs_its_chunk_and_a_killed_driver_leaves_whole_lines() -> None:
    write(MANY)
    finish(begin("one.jsonl"))

    process = begin("out.jsonl", "--workers", "2")
    wait_for(lambda: Path("out.jsonl").exists() and Path("out.jsonl").read_bytes().count(b"\n") >= 4, process)
    victim = children(process.pid)[0]
    os.kill(victim, signal.SIGKILL)
    errors = finish(process)
    assert f"process {victim} ended (SIGKILL: out of memory?): another one takes pairs" in errors
    assert lines("out.jsonl") == lines("one.jsonl")

    process = begin("again.jsonl", "--workers", "2")
    wait_for(lambda: Path("again.jsonl").exists() and Path("again.jsonl").read_bytes().count(b"\n") >= 4, process)
    started = children(process.pid)
    process.kill()
    process.communicate()
    wait_for(lambda: not any(map(alive, started)), seconds=20)
    finish(begin("again.jsonl", "--workers", "3", "--resume"))
    assert lines("again.jsonl") == lines("one.jsonl")


def test_images_give_the_files_and_the_order_of_one_process() -> None:
    Path("scene2.png").write_bytes(b"broken")
    arguments = ("scene3.png", *SCENES[:2], "What color is the circle?", "-m", "dsmi-grad", "-m", "random")
    seen = []
    for name, more in (("one", []), ("shared", ["--workers", "2"])):
        result = explain(*arguments, "-o", f"{name}/", "-o", f"{name}-{{name}}.npz", "--json", f"{name}.jsonl", *more)
        assert result.exit_code == 1
        assert "1 of 3 images could not be explained" in result.stderr
        said = [line for line in result.stderr.splitlines() if "images a second" not in line]
        seen.append((result.stdout.replace(name, ""), said, lines(f"{name}.jsonl")))
    assert seen[0] == seen[1]
    for scene in ("scene1", "scene3"):
        assert Path(f"one/{scene}.png").read_bytes() == Path(f"shared/{scene}.png").read_bytes()
        assert Path(f"one-{scene}.npz").exists()
        assert Path(f"shared-{scene}.npz").exists()
    assert not Path("shared/scene2.png").exists()


def test_images_are_shown_in_the_terminal_as_by_one_process() -> None:
    arguments = ("scene1.png", "scene3.png", "Is there a star?", "--without-words", "3", "--solver-report")
    alone, shared = explain(*arguments), explain(*arguments, "--workers", "2")
    assert alone.exit_code == shared.exit_code == 0, shared.output
    kept = [[line for line in result.stdout.splitlines() if " ms" not in line] for result in (alone, shared)]
    assert kept[0] == kept[1]


def test_an_image_that_ends_three_workers_is_named_and_those_before_it_are_given() -> None:
    items = [Wanted(name, ()) for name in ("a", "b", "bad", "c")]
    found = []
    wording = Wording("image", 1, "leave it out")
    with pytest.raises(XaiError, match=r"^image 3 \(bad\) ended 3 workers, the last one by exit code 3; leave it out$"):
        for one in share(ModelOptions(model="demo"), Deadly(), items, [Chunk(i, i + 1) for i in range(4)], 2, wording):
            found.append(one)
    assert found == ["a", "b"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-", "Why?", "--workers", "2"], "--workers shares files out: standard input is for one process"),
        (["scene1.png", "Why?", "--workers", "0"], "'0' is not a number from 1 to 1024, or auto"),
    ],
)
def test_what_cannot_be_shared_is_refused(arguments, message) -> None:
    result = explain(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
