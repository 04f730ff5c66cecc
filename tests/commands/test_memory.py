"""`--memory`: a process under the kernel's own limit keeps the bound that it accepted, and refuses a smaller one before any work.

The model is of middle size, so that its runs and not the libraries decide. RLIMIT_DATA counts what is asked for and no file backs, which is
never less than what is held of it (RssAnon): a process that ends well under that limit kept the bound.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from xai.cli import main
from xai.export.bundle import export_bundle
from xai.meter.config import MeterConfig
from xai.meter.demo import BUNDLE
from xai.models.meter import MeterFamily
from xai.runtime.answers import numbered_answers
from xai.runtime.bundle.reader import read_bundle
from xai.runtime.inputs.tokenizer import load_tokenizer
from xai.tests.export.conftest import make_model
from xai.tests.workers.runs import children

EXAMPLES = Path(__file__).parents[2] / "examples"
SCENE, QUESTION = str(EXAMPLES / "scene1.png"), "What color is the circle?"
GIBIBYTE = 2**30
FEW = ["--methods", "rollout,dsmi-grad"]
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def middle(tmp_path_factory) -> Path:
    """A METER of 326 image tokens and 256 channels, whose evidence takes as much as Python with its libraries."""
    config = MeterConfig(
        image_size=288,
        patch_size=16,
        vision_width=256,
        vision_layers=2,
        vision_mlp=512,
        vocab_size=read_bundle(BUNDLE, packaged=True).manifest.model.vocab_size,
        max_positions=60,
        text_width=256,
        text_layers=1,
        text_mlp=512,
        hidden=256,
        heads=4,
        layers=3,
        mlp=512,
        answers=50,
    )
    folder = tmp_path_factory.mktemp("middle") / "bundle"
    export_bundle(
        MeterFamily(make_model(config, seed=0)), load_tokenizer(BUNDLE / "tokenizer.json"), numbered_answers(50), folder, formats=("onnx",)
    )
    return folder


@pytest.fixture(scope="module")
def questions(tmp_path_factory) -> Path:
    """Three questions on two pictures."""
    folder = tmp_path_factory.mktemp("data")
    for name in ("scene1.png", "scene2.png"):
        shutil.copy(EXAMPLES / name, folder)
    asked = [("scene1.png", QUESTION), ("scene1.png", "Is there a star?"), ("scene2.png", "Which shape is black?")]
    lines = [json.dumps({"image": image, "question": question, "label": "3"}) for image, question in asked]
    (folder / "questions.jsonl").write_text("\n".join(lines))
    return folder


def least_of(arguments: Sequence[str]) -> str:
    """The least that a refusal of 50 MB names."""
    done = CliRunner().invoke(main, [*arguments, "--memory", "0.05"])
    assert done.exit_code == 1, done.output
    found = re.fullmatch(r"Error: --memory 0.05 is too little: (\d+\.\d\d) GB is the least [^\n]*\n", done.stderr)
    assert found, done.stderr
    return found[1]


def run_within(gb: str, arguments: Sequence[str]) -> None:
    """Run a command with a bound which the kernel keeps as well."""
    limit = round(float(gb) * GIBIBYTE)
    done = subprocess.run(
        [sys.executable, "-m", "xai", *arguments, "--memory", gb, "--threads", "1"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit)),
        env=os.environ | ONE_THREAD,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("more", [[], ["-m", "all"], ["-m", "dsmi-grad@all"], ["--words"], ["--target", "3", "--versus", "5"]])
def test_the_least_is_enough_for_one_explanation(middle, tmp_path, more) -> None:
    command = ["explain", SCENE, QUESTION, "--model", str(middle), "-o", str(tmp_path / "why.png"), *more]
    least = least_of(command)
    assert not (tmp_path / "why.png").exists()
    run_within(least, command)
    assert (tmp_path / "why.png").exists()


def test_the_least_is_enough_for_pairs_which_go_together(middle, tmp_path) -> None:
    file = tmp_path / "pairs.csv"
    file.write_text("image,question\n" + f"{SCENE},{QUESTION}\n" * 9)
    command = ["explain", "--pairs", str(file), "--model", str(middle), "-m", "all", "--json", str(tmp_path / "out.jsonl")]
    least, one = least_of(command), least_of(["explain", SCENE, QUESTION, "--model", str(middle)])
    assert float(least) > float(one)
    run_within(least, command)
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 9


def test_the_least_is_enough_for_the_perturbation_test(middle, questions, tmp_path) -> None:
    command = ["bench", "perturb", "--model", str(middle), "--data", str(questions), "-o", str(tmp_path / "out"), *FEW]
    least = least_of(command)
    assert not (tmp_path / "out").exists()
    run_within(least, command)
    assert (tmp_path / "out" / "table.md").exists()


def test_a_tree_of_workers_stays_below_the_bound_and_writes_the_same_bytes(middle, questions, tmp_path) -> None:
    command = ["bench", "perturb", "--model", str(middle), "--data", str(questions), "--batch", "1", "--threads", "1", *FEW]
    least = least_of([*command, "-o", str(tmp_path / "refused"), "--workers", "2"])
    held, written = {}, {}
    for name, more in {"alone": [], "two": ["--workers", "2", "--memory", least], "auto": ["--workers", "auto", "--memory", least]}.items():
        out = tmp_path / name
        process = subprocess.Popen([sys.executable, "-m", "xai", *command, "-o", str(out), *more], env=os.environ | ONE_THREAD)
        held[name] = 0
        while process.poll() is None:
            held[name] = max(held[name], sum(map(private_memory_of, [process.pid, *children(process.pid)])))
            time.sleep(0.01)
        assert process.returncode == 0
        written[name] = (out / "results.jsonl").read_bytes(), (out / "run.json").read_bytes()
    assert max(held["two"], held["auto"]) < float(least) * GIBIBYTE
    assert written["alone"] == written["two"] == written["auto"]


def private_memory_of(process: int) -> int:
    """What no file backs of what a process holds, 0 where it has ended."""
    try:
        found = re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(found[1]) * 1024 if found else 0


def test_a_server_stays_below_the_least_that_it_names(middle, tmp_path) -> None:
    import httpx

    small = ["--max-batch", "4", "--queue", "4", "--max-pixels", "1000000", "--max-body", "1000000", "--image-cache", "1000000"]
    command = ["serve", f"middle={middle}", "--port", "0", "--threads", "1", "--drain-pause", "0", *small]
    least = least_of(command)
    limit = round(float(least) * GIBIBYTE)
    log = tmp_path / "log"
    with log.open("w") as file:
        server = subprocess.Popen(
            [sys.executable, "-m", "xai", *command, "--memory", least],
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit)),
            env=os.environ | ONE_THREAD,
            stderr=file,
        )
    try:
        while (found := re.search(r"http://[\d.:]+", log.read_text())) is None:
            assert server.poll() is None, log.read_text()
            time.sleep(0.1)
        with httpx.Client(base_url=found[0], timeout=60) as client:
            while client.get("/readyz").status_code != 200:
                assert server.poll() is None
                time.sleep(0.1)
            content = Path(SCENE).read_bytes()
            codes: list[int] = []

            def ask() -> None:
                asked = client.post("/v1/explain", files={"image": content}, data={"question": QUESTION, "method": "all"})
                codes.append(asked.status_code)

            threads = [threading.Thread(target=ask) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert codes == [200] * 8
        server.terminate()
        assert server.wait(30) == 0
    finally:
        server.kill()
        server.wait()


@pytest.mark.parametrize("session", ["eager", "torchscript"])
def test_what_is_not_known_is_not_bounded(session, tiny_bundle, tmp_path) -> None:
    options = ["--session", "eager"] if session == "eager" else ["--model", str(tiny_bundle.folder), "--session", session, "--trust"]
    for command in (["explain", SCENE, QUESTION], ["bench", "perturb", "--samples", "1", "-o", str(tmp_path / "out")]):
        done = CliRunner().invoke(main, [*command, *options, "--memory", "8"])
        assert done.exit_code == 1
        assert f"--memory bounds what ONNX Runtime takes on the CPU, not {session}" in done.stderr
    assert not (tmp_path / "out").exists()


def test_workers_of_explain_are_counted(tmp_path) -> None:
    command = ["explain", SCENE, str(EXAMPLES / "scene2.png"), QUESTION, "-o", f"{tmp_path}/out/", "--threads", "1"]
    one, two = least_of(command), least_of([*command, "--workers", "2"])
    assert float(two) > 2 * float(one)
    refused = CliRunner().invoke(main, [*command, "--workers", "2", "--memory", f"{1.5 * float(one):.2f}"])
    assert refused.exit_code == 1 and f"{two} GB is the least for 2 workers beside this process" in refused.stderr
    run_within(two, [*command[:-2], "--workers", "2"])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["scene1.png", "scene2.png"]
