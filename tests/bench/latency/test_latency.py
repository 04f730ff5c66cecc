"""`xai bench latency` and `xai bench compare` as a user types them, on the demo model. No test knows how fast a machine is."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import xai
from xai.bench.latency import inputs as made
from xai.bench.latency.compare import compare_reports
from xai.bench.latency.measure import REPORTED_STAGES, Plan, latency_report, time_statistics
from xai.bench.statistics import ratio_of_medians
from xai.cli import main
from xai.runtime.clock import STAGES

STATISTICS = {"min", "mean", "std", "p50", "p90", "p95", "p99", "max"}
MODEL = {"name": "demo", "sha256": "0" * 64}


def run(*arguments: object):
    return CliRunner().invoke(main, ["bench", *map(str, arguments)])


class Slowed:
    """A session that sleeps before it encodes an image."""

    def __init__(self, session, seconds: float) -> None:
        self.session, self.seconds = session, seconds

    def __getattr__(self, name: str):
        return getattr(self.session, name)

    def run(self, graph, inputs, outputs=None):
        if graph == "encode_image":
            time.sleep(self.seconds)
        return self.session.run(graph, inputs, outputs)


def report(seconds: float = 0.0, **plan) -> dict:
    explainer = xai.load(threads=1)
    explainer.session = Slowed(explainer.session, seconds)
    settings = {"methods": ("dsmi-grad",), "iterations": 7, "warmup": 1, "rendering": False} | plan
    return latency_report(explainer, MODEL, made.scenes(4, None), Plan(**settings), 0.1, 1, str)


@pytest.fixture(scope="module")
def plain() -> dict:
    return report(batches=(1, 4))


def test_the_report_holds_these_names(plain) -> None:
    keys = {"schema_version", "kind", "xai", "model", "methods", "inputs", "session", "precision", "provider", "threads", "load_seconds"}
    assert set(plain) == keys | {"peak_memory_mb", "machine", "batches"}
    assert plain["provider"] == "CPUExecutionProvider"
    assert plain["machine"]["versions"]["numpy"] == np.__version__
    assert [batch["batch"] for batch in plain["batches"]] == [1, 4]
    for batch in plain["batches"]:
        assert set(batch["stages"]) == set(REPORTED_STAGES)
        assert all(set(values) == STATISTICS for values in (batch["total"], *batch["stages"].values()))
        assert all(len(values) == batch["iterations"] == 7 for values in batch["samples_ms"].values())
        assert batch["warmup"]["iterations"] == 1
        assert batch["throughput"] == pytest.approx(1e3 * batch["batch"] / batch["total"]["mean"])


def test_every_stage_of_an_explanation_is_reported_once() -> None:
    parts = [part for parts in REPORTED_STAGES.values() for part in parts]
    assert parts == [*STAGES, "render"]


def test_stages_add_up_to_the_total_by_its_own_clock(plain) -> None:
    for batch in plain["batches"]:
        stages = sum(values["mean"] for values in batch["stages"].values())
        assert batch["accounted"] == pytest.approx(stages / batch["total"]["mean"])
        middle = np.median(np.sum([batch["samples_ms"][name] for name in REPORTED_STAGES], 0) / batch["samples_ms"]["total"])
        assert 0.95 <= middle <= 1.0001


def test_a_slowed_stage_is_found(plain, tmp_path) -> None:
    slow = report(seconds=0.1, batches=(1, 4))
    for name, content in (("a", plain), ("b", slow)):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    found = run("compare", tmp_path / "a.json", tmp_path / "b.json", "--fail-over", 50)
    assert found.exit_code == 3, found.output
    assert "encode image at batch" in found.stderr
    assert any("encode image" in line and "slower" in line for line in found.stdout.splitlines())
    assert run("compare", tmp_path / "a.json", tmp_path / "b.json").exit_code == 0  # only --fail-over makes it a failure
    assert run("compare", tmp_path / "a.json", tmp_path / "a.json", "--fail-over", 0).exit_code == 0
    assert run("compare", tmp_path / "b.json", tmp_path / "a.json", "--fail-over", 1e6).exit_code == 0


def test_names_in_a_report_cannot_steer_what_is_shown(plain, tmp_path) -> None:
    """Half a surrogate pair cannot be encoded, an escape sequence steers a terminal, a line's end breaks the list."""
    other = copy.deepcopy(plain)
    other["machine"]["versions"]["scipy"] = other["machine"]["cpu"] = other["model"]["name"] = "\ud800 \x1b[31m\n1"
    for name, content in (("a", other), ("b", plain)):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    found = run("compare", tmp_path / "a.json", tmp_path / "b.json")
    assert found.exit_code == 0
    assert "scipy: \ufffd [31m 1 |" in found.stdout
    assert "\x1b" not in found.stdout


def test_what_runs_the_model_may_differ_and_is_shown(plain, tmp_path) -> None:
    other = copy.deepcopy(plain) | {"session": "torchscript", "precision": "bfloat16", "threads": 8}
    other["machine"]["cpu"] = "another"
    (tmp_path / "a.json").write_text(json.dumps(plain))
    (tmp_path / "b.json").write_text(json.dumps(other))
    found = run("compare", tmp_path / "a.json", tmp_path / "b.json")
    assert found.exit_code == 0, found.output
    for text in ("session: onnx | torchscript", "precision: float32 | bfloat16", "threads: 1 | 8", "| another"):
        assert text in found.stdout


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r["model"]["sizes"].update(image_size=576), "different models, image_size 96 and 576"),
        (lambda r: r["model"].update(answers_sha256="f"), "different models, answers"),
        (lambda r: r.update(methods=["dsmi"]), "different methods, ['dsmi-grad'] and ['dsmi']"),
        (lambda r: (r["batches"].pop(), r["inputs"].update(sha256="f")), "different batches, [1, 4] and [1]"),
        (lambda r: r["inputs"].update(sha256="f"), "different images and questions"),
        (lambda r: r["inputs"].update(rendered=True), "different rendering"),
        (lambda r: r.update(schema_version=99), "another version of xai"),
        (lambda r: r.update(kind="suite"), "is not a report of `xai bench latency --json`"),
        (lambda r: r["batches"][0].pop("samples_ms"), "'samples_ms' is missing"),
        (lambda r: r["batches"][0]["samples_ms"].update(spectral=[float("nan")] * 7), "NaN is no number of JSON"),
        (lambda r: r["batches"][1]["samples_ms"].update(total=[0.0] * 7), "'total' holds a number that is no time"),
    ],
)
def test_reports_of_other_work_are_refused(plain, tmp_path, change, message) -> None:
    other = copy.deepcopy(plain)
    change(other)
    (tmp_path / "a.json").write_text(json.dumps(plain))
    (tmp_path / "b.json").write_text(json.dumps(other))
    found = run("compare", tmp_path / "a.json", tmp_path / "b.json")
    assert found.exit_code == 1
    assert message in found.stderr
    assert len(found.stderr.splitlines()) == 1


def test_the_report_goes_to_standard_output_alone(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = run("latency", "--no-render", "--warmup", 0, "--iterations", 1, "--json", "-")
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["kind"] == "latency"
    assert not list(tmp_path.iterdir())


def test_too_few_iterations_fail_nothing_and_pass_nothing(plain, tmp_path) -> None:
    few = copy.deepcopy(plain)
    few["batches"][0]["samples_ms"] = {name: values[:4] for name, values in few["batches"][0]["samples_ms"].items()}
    (tmp_path / "a.json").write_text(json.dumps(few))
    assert run("compare", tmp_path / "a.json", tmp_path / "a.json").exit_code == 0
    found = run("compare", tmp_path / "a.json", tmp_path / "a.json", "--fail-over", 10)
    assert found.exit_code == 1
    assert "too few iterations for --fail-over to judge by" in found.stderr
    assert run("compare", tmp_path / "a.json", tmp_path / "a.json", "--fail-over", "nan").exit_code == 2


def test_reports_that_cannot_be_read(plain, tmp_path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(plain))
    (tmp_path / "b.json").write_text("{")
    for other, message in (("b.json", "b.json is not JSON"), ("c.json", "c.json does not exist"), (".", "cannot be read: Is a directory")):
        found = run("compare", tmp_path / "a.json", tmp_path / other)
        assert found.exit_code == 1
        assert message in found.stderr
        assert len(found.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--model", "none"], 1, "model none does not exist"),
        (["--provider", "npu"], 1, "no provider 'npu'"),
        (["--iterations", "0"], 2, "--iterations"),
        (["--duration", "0"], 2, "--duration"),
        (["--duration", "inf"], 2, "'inf' is not a finite number"),
        (["--iterations", "1", "--duration", "1"], 2, "not both"),
        (["--batch", "1,0"], 2, "'1,0' is not one or more numbers"),
        (["--batch", ""], 2, "is not one or more numbers"),
        (["-m", "lime"], 1, "unknown method 'lime'"),
        (["--image", "none.png"], 1, "image none.png cannot be read"),
        (["--image", "text.png"], 1, "is not an image"),
        (["--image", "IMAGE", "--batch", "2"], 1, "a batch of 2 needs 2 different images and 1 are given"),
        (["--question", ""], 1, "the question is empty"),
        (["--image", "IMAGE", "--question", ""], 1, "the question is empty"),
        (["--chart", "a.png", "--json", "a.png"], 1, "a.png cannot be both"),
        (["--json", "no/such.json"], 1, "no/such.json"),
        (["--chart", "chart.svg"], 1, "must end with .png"),
    ],
)
def test_bad_input_is_one_line(tmp_path, monkeypatch, arguments, code, message) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.png").write_text("no image")
    Image.new("RGB", (100, 100)).save(tmp_path / "image.png")
    found = run("latency", *[a.replace("IMAGE", "image.png") for a in arguments])
    assert found.exit_code == code, found.output
    assert message in found.stderr
    if code == 1:
        assert len(found.stderr.splitlines()) == 1
    assert sorted(f.name for f in tmp_path.iterdir()) == ["image.png", "text.png"]


def test_the_command_agrees_with_an_outside_clock(tmp_path) -> None:
    start = time.perf_counter()
    command = ["bench", "latency", "--no-render", "--warmup", "2", "--iterations", "20", "--threads", "1", "--json", "a.json"]
    subprocess.run([sys.executable, "-m", "xai", *command], cwd=tmp_path, check=True, capture_output=True)
    outside = time.perf_counter() - start
    content = json.loads((tmp_path / "a.json").read_text())
    (batch,) = content["batches"]
    inside = content["load_seconds"] + 1e-3 * (
        batch["first_call_ms"]["total"] + 2 * batch["warmup"]["mean_ms"] + sum(batch["samples_ms"]["total"])
    )
    assert inside < outside
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import xai.cli, xai.bench.latency.measure, onnxruntime"], check=True)
    starting = time.perf_counter() - start
    assert outside - inside < 3 * starting + 1  # what is left is Python's start, and the inputs


def test_operators_add_up_and_chart(tmp_path) -> None:
    options = ["--iterations", 2, "--warmup", 0, "--no-render", "--threads", 1, "--operators"]
    found = run("latency", *options, "--json", tmp_path / "a.json", "--chart", tmp_path / "a.png")
    assert found.exit_code == 0, found.output
    operators = json.loads((tmp_path / "a.json").read_text())["operators"]
    assert operators["profiler"] == "ONNX Runtime"
    assert sum(row["ms"] for row in operators["rows"]) == pytest.approx(operators["kernel_ms"])
    assert sum(row["share"] for row in operators["rows"]) == pytest.approx(1)
    assert operators["kernel_ms"] <= operators["graph_ms"]
    assert min(operators["ceilings"]["gflop_s"], operators["ceilings"]["gb_s"]) > 0
    product = next(row for row in operators["rows"] if row["operator"] == "MatMul")
    assert product["gflop_s"] > 0
    assert product["calls"] == int(product["calls"])
    assert "MatMul" in found.stdout
    with Image.open(tmp_path / "a.png") as picture:
        assert min(picture.size) > 300


def test_pytorch_has_operators_too() -> None:
    from xai.bench.latency.operators import operator_table, profile_operators

    found = profile_operators(xai.load(session="eager"), made.scenes(1, None).pairs, ["dsmi-grad"])
    assert sum(row["share"] for row in found["rows"]) == pytest.approx(1)
    assert {"aten::mm", "aten::addmm"} <= {row["operator"] for row in found["rows"]}
    assert "PyTorch" in operator_table(found)


def test_percentiles_and_ratios_are_what_they_say() -> None:
    values = list(range(1, 102))
    found = time_statistics(values)
    assert (found["min"], found["p50"], found["p90"], found["p99"], found["max"], found["mean"]) == (1, 51, 91, 100, 101, 51)
    assert time_statistics([3.0])["std"] == 0
    rng = np.random.default_rng(0)
    a, b = rng.normal(10, 0.5, 60), rng.normal(13, 0.5, 60)
    _, _, ratio, (low, high) = ratio_of_medians(a, b)
    assert low < 1.3 < high
    assert low < ratio < high
    assert ratio_of_medians(a[:4], b)[3] is None


def test_a_slowness_of_no_consequence_is_no_regression(plain) -> None:
    other = copy.deepcopy(plain)
    for batch in other["batches"]:
        batch["samples_ms"]["assemble"] = [1e-3 * ms for ms in batch["samples_ms"]["assemble"]]
    slower = [r for r in compare_reports(other, plain) if r.stage == "assemble"]
    assert all(r.ratio > 100 for r in slower)
    assert all(r.matters == (r.b_ms - r.a_ms >= 0.01 * batch["total"]["p50"]) for r, batch in zip(slower, other["batches"], strict=True))


def test_the_ceilings_graphs_are_what_they_say() -> None:
    import onnx

    for name, operator in (("gemm", "MatMul"), ("copy", "Neg")):
        graph = onnx.load(Path(xai.__file__).parent / "bench" / "latency" / f"{name}.onnx").graph
        assert [node.op_type for node in graph.node] == [operator]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r["batches"][0]["samples_ms"].update(decode=[]), "'decode' holds 0 times, and 'total' 7"),
        (lambda r: r["batches"][0]["samples_ms"]["decode"].__setitem__(1, []), "'decode' holds a list, not only an integer or a number"),
        (lambda r: r["batches"][0]["samples_ms"].update(decode=[1.1]), "'decode' holds 1 times, and 'total' 7"),
        (lambda r: r["batches"][0]["samples_ms"].update(fuse_gradients=""), "'fuse_gradients' is text, not a list"),
        (lambda r: r["batches"][0]["samples_ms"].update(spectral=[-1.0] * 7), "'spectral' holds a number that is no time"),
        (lambda r: r.update(machine="x"), "'machine' is text, not an object"),
        (lambda r: r.pop("machine"), "'machine' is missing"),
        (lambda r: r["machine"].pop("versions"), "'versions' is missing"),
        (lambda r: r["machine"].update(versions=-0.0), "'versions' is a number, not an object"),
        (lambda r: r["machine"]["versions"].update(numpy=[]), "'numpy' is a list, not text"),
        (lambda r: r.pop("session"), "'session' is missing"),
        (lambda r: r["model"].update(sizes=[]), "'sizes' is a list, not an object"),
        (lambda r: r.update(batches=[1]), "'batches' holds an integer, not only an object"),
        (lambda r: r["batches"][0].update(batch=0), "'batch' is out of range"),
        (lambda r: r["batches"][0]["total"].update(p50="1"), "'p50' is text"),
        (lambda r: r.update(threads=True), "'threads' is true or false"),
    ],
)
def test_a_damaged_report_is_one_line_that_says_where(plain, tmp_path, change, message) -> None:
    other = copy.deepcopy(plain)
    change(other)
    (tmp_path / "a.json").write_text(json.dumps(plain))
    (tmp_path / "b.json").write_text(json.dumps(other))
    for pair in (("a", "b"), ("b", "a"), ("b", "b")):
        found = run("compare", *(tmp_path / f"{name}.json" for name in pair))
        assert found.exit_code == 1
        assert not found.stdout
        (line,) = found.stderr.splitlines()
        assert line.startswith(f"Error: {tmp_path / 'b.json'}: ") and message in line
