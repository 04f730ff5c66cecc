"""`xai bench suite`: what it plans, what it says about what it cannot run, and (slow) a quick run of it."""

from __future__ import annotations

import importlib.util
import json
import os
import runpy
import signal
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

import xai
from xai.base.errors import XaiError
from xai.bench.suite import suite as suites
from xai.bench.suite.isolated import isolated, run_command
from xai.bench.suite.parts import measure_reference
from xai.bench.suite.report import SECTION_BEGIN, SECTION_END, markdown, performance, read_reports, with_section
from xai.bench.suite.suite import Suite
from xai.cli import main
from xai.models.load import ModelOptions

ROOT = Path(xai.__file__).parent
DEMO_BUNDLE = ROOT / "meter" / "demo" / "bundle"


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def refuse() -> None:
    raise XaiError("no such thing")


def test_work_in_a_process_of_its_own_gives_what_it_gives_or_says_how_it_ended() -> None:
    assert isolated(os.path.join, "a", "b", seconds=60) == "a/b"
    assert isolated(os.getpid, seconds=60) != os.getpid()
    for work, message in ((die, "ended by SIGKILL"), (refuse, "no such thing")):
        with pytest.raises(XaiError, match=message):
            isolated(work, seconds=60)
    with pytest.raises(XaiError, match="TypeError"):
        isolated(int, [], seconds=60)
    with pytest.raises(XaiError, match=r"took longer than 0\.2 s"):
        isolated(time.sleep, 60, seconds=0.2)
    with pytest.raises(XaiError, match="does not exist"):
        run_command("inspect", "none", seconds=60)


@pytest.fixture
def instant(monkeypatch):
    """Parts that measure nothing; what is asked for is kept."""
    asked: list[str] = []

    def isolated(work, *arguments, seconds):
        asked.append(work.__name__)
        if work.__name__ == "measure_latency":
            raise XaiError("the process was ended by SIGKILL: out of memory?")
        sizes = {"image_size": 96, "patches": 144, "layers": 3, "answers": 20}
        return {"name": "demo", "sha256": "0" * 64} | sizes if work.__name__ == "describe_model" else {"not_run": "not asked"}

    monkeypatch.setattr(suites, "isolated", isolated)
    monkeypatch.setattr(suites, "run_command", lambda *_, seconds: seconds)
    return asked


def test_what_is_missing_or_fails_is_in_the_report_and_ends_nothing(instant, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(suites, "gpu_state", lambda: "cupy is not installed")
    found = Suite(ModelOptions(str(DEMO_BUNDLE)), tmp_path, True, str).run()
    rows = {(row["session"], row["precision"], row["provider"]): row["not_run"] for row in found["latency"]}
    assert rows["eager", "float32", "cpu"].startswith("a bundle does not run in the session eager")
    assert "out of memory" in rows["onnx", "float32", "cpu"]
    assert rows["torchscript", "float32", "cpu"] == "the bundle does not hold it"
    assert rows["onnx", "float32", "cuda"] == rows["onnx", "float16", "cuda"] == "cupy is not installed"
    assert "give the checkpoint" in found["reference"]["not_run"]
    assert "measure_eigensolver" in instant
    text = markdown(found)
    for reason in (*rows.values(), found["reference"]["not_run"]):
        assert f"not run: {reason}" in text
    assert not list(tmp_path.iterdir())  # the bundles' folder is gone


def test_the_readme_names_what_an_export_would_refuse(instant, tmp_path) -> None:
    report = Suite(ModelOptions(str(DEMO_BUNDLE)), tmp_path, True, str).run()
    assert "refuses" not in performance({"here": report})
    report["parity"] = [
        {"session": "onnx", "precision": "float32", "groups": {}, "failed": []},
        {"session": "onnx", "precision": "int8", "groups": {}, "failed": ["relevance rollout"]},
    ]
    assert "refuses it without --force: onnx int8." in performance({"here": report})


def test_without_pytorch_the_demo_runs_from_its_own_bundle(instant, tmp_path, monkeypatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torch" else real(name))
    found = Suite(ModelOptions(), tmp_path, True, str).run()
    reasons = {(row["session"], row["precision"]): row["not_run"] for row in found["latency"] if row["provider"] == "cpu"}
    assert "out of memory" in reasons.pop(("onnx", "float32"))
    assert len(reasons) == 5
    assert all(reason.startswith("torch is not installed") for reason in reasons.values())


def test_an_export_that_fails_is_stated(instant, tmp_path, monkeypatch) -> None:
    def fail(*arguments, seconds):
        raise XaiError("no space left")

    monkeypatch.setattr(suites, "run_command", fail)
    found = Suite(ModelOptions(), tmp_path, True, str).run()
    assert all(row["not_run"] == "export failed: no space left" for row in found["parity"])


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--model", "none"], 1, "model none does not exist"),
        (["--model", "none.ckpt", "--quick"], 1, "model none.ckpt does not exist"),
        (["--session", "onnx"], 2, "No such option"),
        (["--provider", "cuda"], 2, "No such option"),
        (["-o", "old"], 1, "old holds a report already: name another folder"),
        (["-e", "a", "--checkpoint", "b"], 2, "name one model, not two"),
    ],
)
def test_bad_input_is_one_line(tmp_path, monkeypatch, arguments, code, message) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old" / "report.json").mkdir(parents=True)
    found = CliRunner().invoke(main, ["bench", "suite", "-o", "out", *arguments])
    assert found.exit_code == code, found.output
    assert message in found.stderr
    assert not found.stdout
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["old", "old/report.json"]


def test_the_published_procedure_is_timed() -> None:
    found = measure_reference(ModelOptions(), True, 0.01)
    assert found["iterations"] >= 5
    assert 0 < found["total"]["min"] <= found["total"]["p50"]


def test_the_readmes_section_is_what_the_committed_reports_give() -> None:
    readme = ROOT / "docs" / "performance.md"
    text = readme.read_text(encoding="utf-8")
    assert text == with_section(text, performance(read_reports(ROOT / "benchmarks" / "results"))), "run: python benchmarks/performance.py"


def test_the_readmes_section_is_replaced_and_nothing_else(tmp_path) -> None:
    assert with_section(f"a {SECTION_BEGIN} old {SECTION_END} b", "new") == f"a {SECTION_BEGIN}\n\nnew\n\n{SECTION_END} b"
    for wrong in ("no marks", f"{SECTION_END} {SECTION_BEGIN}", f"{SECTION_BEGIN} {SECTION_BEGIN} {SECTION_END}"):
        with pytest.raises(XaiError, match="once each"):
            with_section(wrong, "new")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "report.json").write_text('{"kind": "latency"}')
    with pytest.raises(XaiError, match="not a report of `xai bench suite`"):
        read_reports(tmp_path)
    assert callable(runpy.run_path(str(ROOT / "benchmarks" / "performance.py"))["main"])


@pytest.mark.slow
def test_a_quick_run_measures_every_part(tmp_path) -> None:
    found = CliRunner().invoke(main, ["bench", "suite", "-o", str(tmp_path), "--quick"])
    assert found.exit_code == 0, found.output
    report = json.loads((tmp_path / "report.json").read_text())
    on_cpu = [row for row in report["latency"] if row["provider"] != "cuda"]
    assert len(on_cpu) == 6
    for row in (*on_cpu, *report["parity"], *report["perturbation"], *report["cold_start"], report["reference"], report["eigensolver"]):
        assert "not_run" not in row, row
    for row in on_cpu:
        assert row["times_reference"] > 0
        assert row["peak_memory_mb"] > 0
        assert 0.95 <= row["one"][0]["accounted"] <= 1.001
    assert not next(row for row in report["parity"] if (row["session"], row["precision"]) == ("onnx", "float32"))["failed"]
    text = (tmp_path / "report.md").read_text()
    assert text == markdown(report)
    assert "nan" not in performance({"here": report})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.json", "report.md"]
