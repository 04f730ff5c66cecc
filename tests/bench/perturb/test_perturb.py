"""`xai bench perturb` as a user types it, on the tiny reference model."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from xai.bench.data.datasets import load_samples
from xai.bench.data.sample import by_image
from xai.bench.perturb.plan import MODALITIES, STEPS, published_counts
from xai.bench.perturb.report.scores import PANELS
from xai.cli import main
from xai.runtime.methods import METHODS

pytestmark = pytest.mark.filterwarnings("default:.*left out:UserWarning")  # the command shows it; here it is no failure

VALID = Path(__file__).parents[4] / "shared" / "vqa" / "valid.json"
FILES = {"run.json", "results.jsonl", "table.json", "table.md", "curves.png", "report.html", "report", "status.json"}
REFERENCE = {m.name: m.reference_name for m in METHODS.values()}
UNPUBLISHED = {"random", "joint-rollout", "joint-relevance-maps"}


def data_folder(golden, folder: Path, copies: int = 1) -> Path:
    """The golden cases as a data set of one's own; `copies` ask each question that often."""
    folder.mkdir()
    lines = []
    for c, case in enumerate(golden.cases):
        shutil.copy(golden.image(c), folder)
        for copy in range(copies):
            entry = {"question_id": f"{c}-{copy}", "image": case["image"], "question": case["question"], "label": case["label"]}
            lines.append(json.dumps(entry))
    (folder / "questions.jsonl").write_text("\n".join(lines))
    return folder


@pytest.fixture
def run(tiny, tmp_path, monkeypatch):
    """Runs `xai bench perturb` on the tiny model and its questions, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    data_folder(tiny, tmp_path / "data")

    def run(*arguments: object, data: str = "data", options: list[str] | None = None):
        model = tiny.cli_options if options is None else options
        return CliRunner().invoke(main, ["bench", "perturb", "--data", data, *model, *map(str, arguments)])

    return run


def lines_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def outputs_of(folder: Path) -> dict[str, bytes]:
    """Everything that a run writes and that does not say when and where, by name; what the report loads included."""
    names = ["results.jsonl", "table.json", "table.md", "curves.png", "report.html"]
    loaded = [str(path.relative_to(folder)) for path in sorted((folder / "report").rglob("*")) if path.is_file()]
    assert loaded
    return {name: (folder / name).read_bytes() for name in [*names, *loaded]}


def refused(result, message: str) -> None:
    assert result.exit_code == 1, result.output
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error")]
    assert len(errors) == 1
    assert message in errors[0]


def test_answers_and_accuracies_equal_the_reference(golden, tmp_path) -> None:
    """For every case, method, modality, sign and step that the reference decides: none of its ties cut through."""
    data_folder(golden, tmp_path / "data")
    arguments = ["--data", str(tmp_path / "data"), "-o", str(tmp_path / "out"), *golden.cli_options]
    result = CliRunner().invoke(main, ["bench", "perturb", *arguments])
    assert result.exit_code == 0, result.output
    compared = tied = 0
    for line in lines_of(tmp_path / "out"):
        case = int(line["question_id"].partition("-")[0])
        key = REFERENCE[line["method"]]
        name = f"{case}/{key}/perturb/{line['modality']}/{line['sign']}"
        if f"{name}/argmax" not in golden.expected:
            assert key in UNPUBLISHED or key in {failing for failing, _ in golden.cases[case]["fails_in_reference"]}
            continue
        values = golden.expected[f"{case}/{key}/{line['modality']}"]
        values = values[1:-1] if line["modality"] == "text" else values
        assert line["kept"] == list(published_counts(len(values)))
        ranked = np.sort(values if line["sign"] == "positive" else -values)
        names = golden.content["labels"]
        for step, count in enumerate(line["kept"]):
            if 0 < count < len(values) and ranked[count - 1] == ranked[count]:
                tied += 1  # the reference keeps whichever of equals torch happens to choose
                continue
            assert line["answers"][step] == names[golden.expected[f"{name}/argmax"][step]], (name, step)
            assert line["accuracies"][step] == pytest.approx(float(golden.expected[f"{name}/accuracy"][step]))
            compared += 1
    assert compared + tied == 9 * sum(name.endswith("/argmax") for name in golden.expected)
    assert tied < 0.05 * compared


def test_every_output_is_written_and_says_the_same(run, tiny, tmp_path) -> None:
    result = run("-o", "out")
    assert result.exit_code == 0, result.output
    out = tmp_path / "out"
    assert {file.name for file in out.iterdir()} == FILES
    table = json.loads((out / "table.json").read_text())
    lines = lines_of(out)
    assert len(lines) == 6 * 11 * 4
    for row in table["methods"]:
        for modality, sign in PANELS:
            panel = modality + "+-"[sign == "negative"]
            of = [e for e in lines if (e["method"], e["modality"], e["sign"]) == (row["method"], modality, sign)]
            curve = 100 * np.mean([e["accuracies"] for e in of], 0)
            assert np.allclose(row["curves"][panel], curve, atol=1e-3)
            assert row["auc"][panel]["mean"] == pytest.approx(np.trapezoid(curve, STEPS), abs=1e-3)
            assert row["auc"][panel]["low"] <= row["auc"][panel]["mean"] <= row["auc"][panel]["high"]
    assert table["methods"][-1]["method"] == "random"
    text = (out / "table.md").read_text()
    assert result.stdout == text
    rows = {line.split(" | ")[0].removeprefix("| "): line.rstrip(" |").split(" | ") for line in text.splitlines()[2:15]}
    for row in table["methods"]:
        assert rows[row["method"]][1].startswith(f"{row['auc']['image+']['mean']:.2f} [")
        assert len(rows[row["method"]]) == 5  # no published figures stand beside those of another model
    with Image.open(out / "curves.png") as picture:
        assert min(picture.size) > 600
    page = (out / "report.html").read_text()
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", page)
    assert table["settings"]["model"]["sha256"] in page
    assert run("-o", "out2", "--json").stdout == (out / "table.json").read_text().replace('"out"', '"out2"')


def test_unperturbed_and_empty_steps_are_shared(run, tmp_path) -> None:
    assert run("-o", "out").exit_code == 0
    for question in range(6):
        lines = [e for e in lines_of(tmp_path / "out") if e["index"] == question]
        assert len({e["answers"][0] for e in lines}) == 1
        assert {e["probabilities"][0] for e in lines} == {max(e["probabilities"][0] for e in lines)}
        for modality in MODALITIES:
            assert len({(e["answers"][-1], e["probabilities"][-1]) for e in lines if e["modality"] == modality}) == 1


def test_killed_anywhere_resumed_and_sharded_it_gives_the_same_bytes(run, tiny, tmp_path) -> None:
    data_folder(tiny, tmp_path / "many", copies=3)
    options = ["--methods", "dsmi-grad,rollout", "--batch", "3"]
    assert run("-o", "whole", *options, data="many").exit_code == 0
    whole = outputs_of(tmp_path / "whole")

    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    for name in FILES - {"run.json", "results.jsonl", "report"}:
        (tmp_path / "cut" / name).unlink()
    os.truncate(tmp_path / "cut" / "results.jsonl", len(whole["results.jsonl"]) * 3 // 5)
    refused(run("-o", "cut", *options, data="many"), "go on with --resume")
    result = run("-o", "cut", *options, "--resume", data="many")
    assert result.exit_code == 0, result.output
    assert outputs_of(tmp_path / "cut") == whole
    assert run("-o", "cut", *options, "--resume", data="many").exit_code == 0  # nothing left to do
    assert outputs_of(tmp_path / "cut") == whole

    for i in (1, 2, 3):
        assert run("-o", f"shard{i}", *options, "--shard", f"{i}/3", data="many").exit_code == 0
    merged = CliRunner().invoke(main, ["bench", "merge", "shard3", "shard1", "shard2", "-o", "merged"])
    assert merged.exit_code == 0, merged.output
    assert outputs_of(tmp_path / "merged") == whole
    refused(CliRunner().invoke(main, ["bench", "merge", "shard1", "shard2", "-o", "x"]), "split into 3 shards")
    refused(run("-o", "whole", "--methods", "dsmi", "--resume", data="many"), "with methods")


@pytest.mark.skipif(sys.platform == "win32", reason="there is no kill -9")
def test_kill_9_and_resume(run, tiny, tmp_path) -> None:
    data_folder(tiny, tmp_path / "many", copies=4)
    command = ["bench", "perturb", "--data", "many", "--methods", "dsmi", "--batch", "1", "-o", "out", *tiny.cli_options]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "xai", *command], env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    results = tmp_path / "out" / "results.jsonl"
    deadline = time.monotonic() + 60
    while not (results.exists() and results.stat().st_size > 3000) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert results.stat().st_size > 3000
    assert run("-o", "out", "--methods", "dsmi", "--batch", 1, "--resume", data="many").exit_code == 0
    assert run("-o", "whole", "--methods", "dsmi", "--batch", 1, data="many").exit_code == 0
    assert outputs_of(tmp_path / "out") == outputs_of(tmp_path / "whole")


def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(run, tmp_path, monkeypatch) -> None:
    from xai.bench.perturb import run as perturb

    whole = perturb.run_chunk
    calls = []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return whole(*arguments)

    monkeypatch.setattr(perturb, "run_chunk", interrupted)
    options = ["-o", "out", "--methods", "dsmi", "--batch", 1]
    refused(run(*options), "go on with the same command and --resume")
    assert {e["index"] for e in lines_of(tmp_path / "out")} == {0, 1}
    assert run(*options, "--resume").exit_code == 0
    assert len(lines_of(tmp_path / "out")) == 6 * 2 * 4


def test_a_broken_image_stops_the_run_or_is_counted(run, tmp_path) -> None:
    (tmp_path / "data" / "case2.png").write_text("no image")
    (tmp_path / "data" / "case3.png").unlink()
    refused(run("-o", "out", "--methods", "dsmi"), "(--skip-broken goes on without it)")
    assert not (tmp_path / "out").exists()  # the same folder will do when the image is repaired
    result = run("-o", "skipped", "--methods", "dsmi", "--skip-broken")
    assert result.exit_code == 0, result.output
    table = json.loads((tmp_path / "skipped" / "table.json").read_text())
    assert (table["questions"], table["skipped"]) == (4, 2)
    reasons = [e["skipped"] for e in lines_of(tmp_path / "skipped") if "skipped" in e]
    assert any("case2.png is not an image" in r for r in reasons)
    assert any("case3.png does not exist" in r for r in reasons)
    assert "2 questions could not be used" in result.stdout


def test_a_run_without_a_usable_question_leaves_no_file(run, tmp_path) -> None:
    for image in (tmp_path / "data").glob("*.png"):
        image.unlink()
    result = run("-o", "out", "--methods", "dsmi", "--skip-broken")
    refused(result, "no question of the run could be used")
    assert "questions in" not in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_damaged_image_of_any_kind_is_skipped(run, tmp_path) -> None:
    """Decoders raise what they like: the next image goes on."""
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    Image.init()
    damaged = {}
    for kind in sorted({"AVIF", "WEBP", "TIFF", "JPEG2000", "JPEG", "GIF"} & set(Image.SAVE)):
        buffer = io.BytesIO()
        picture.save(buffer, kind)
        raw = buffer.getvalue()
        damaged[f"{kind}.png"] = raw[: len(raw) // 2]
        if kind == "AVIF":  # its decoder raises RuntimeError
            payload = raw.index(b"mdat") + 4
            damaged["payload.png"] = raw[:payload] + bytes(255 - byte for byte in raw[payload : payload + 20]) + raw[payload + 20 :]
    lines = [json.dumps({"image": "case0.png", "question": "t19 t18", "label": "answer1"})]
    for name, raw in damaged.items():
        (tmp_path / "data" / name).write_bytes(raw)
        lines.append(json.dumps({"image": name, "question": "t19 t18", "label": "answer1"}))
    (tmp_path / "data" / "questions.jsonl").write_text("\n".join(lines))
    result = run("-o", "out", "--methods", "raw-attention", "--skip-broken")
    assert result.exit_code == 0, result.output
    assert {line["image"] for line in lines_of(tmp_path / "out") if "skipped" in line} == set(damaged)
    assert {line["index"] for line in lines_of(tmp_path / "out")} == set(range(1 + len(damaged)))


@pytest.mark.skipif(sys.platform == "win32", reason="processes cannot be stopped")
def test_two_at_a_time_in_one_folder_are_one(run, tiny, tmp_path) -> None:
    """The second is refused, and told who is first; the first ends as if it had been alone."""
    data_folder(tiny, tmp_path / "many", copies=4)
    options = ["--data", "many", "--methods", "dsmi", "--batch", "1", "-o", "out", *tiny.cli_options]
    command = [sys.executable, "-m", "xai", "bench", "perturb", *options]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as first:
        deadline = time.monotonic() + 120
        while not (tmp_path / "out" / "results.jsonl").exists() and first.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        first.send_signal(signal.SIGSTOP)  # it would be done before the second has begun
        try:
            second = run("-o", "out", "--methods", "dsmi", "--batch", 1, "--resume", data="many")
            merging = CliRunner().invoke(main, ["bench", "merge", "out", "-o", "x"])
        finally:
            first.send_signal(signal.SIGCONT)
    assert first.returncode == 0
    refused(second, f"out is in use by process {first.pid} on ")
    refused(merging, f"out is in use by process {first.pid} on ")
    assert run("-o", "whole", "--methods", "dsmi", "--batch", 1, data="many").exit_code == 0
    assert outputs_of(tmp_path / "out") == outputs_of(tmp_path / "whole")


def test_merge_takes_no_altered_file_and_leaves_nothing(run, tmp_path) -> None:
    for i in (1, 2):
        assert run("-o", f"shard{i}", "--methods", "dsmi", "--batch", 1, "--shard", f"{i}/2").exit_code == 0
    maps = "report/maps/000000.js"
    good = {name: (tmp_path / "shard1" / name).read_bytes() for name in (maps, "results.jsonl")}
    whole = good[maps].decode()
    for name, content, message in (
        (maps, "3", "000000.js is not a file of maps"),
        (maps, whole[:-1], "000000.js is not a file of maps, or not its whole"),
        (maps, whole.replace('"text"', '"test"', 1), "'text' is missing"),
        (maps, whole.replace('"text": "', '"text": "x', 1), "'check' does not fit the rest"),
        (maps, whole.replace('"index": 0', '"index": 1', 1), "'check' does not fit the rest"),
        ("results.jsonl", good["results.jsonl"].decode() + good["results.jsonl"].decode(), "is one too many"),
        ("results.jsonl", good["results.jsonl"].decode().replace(" 0.", " 0.1", 1), "'check' does not fit the rest"),
    ):
        path = tmp_path / "shard1" / name
        path.write_text(content)
        refused(CliRunner().invoke(main, ["bench", "merge", "shard1", "shard2", "-o", "merged"]), message)
        path.write_bytes(good[name])
        assert {file.name for file in tmp_path.iterdir()} == {"data", "shard1", "shard2"}
    merged = CliRunner().invoke(main, ["bench", "merge", "shard1", "shard2", "-o", "merged"])
    assert merged.exit_code == 0, merged.output


def test_labels_that_the_model_cannot_give_score_0_and_are_counted(run, tmp_path) -> None:
    entry = {"image": "case0.png", "question": "t19 t18", "label": "giraffe"}
    (tmp_path / "data" / "questions.jsonl").write_text(json.dumps(entry))
    result = run("-o", "out", "--methods", "dsmi")
    assert result.exit_code == 0, result.output
    assert "1 questions have no true answer that the model can give" in result.stderr
    assert json.loads((tmp_path / "out" / "table.json").read_text())["unknown_labels"] == 1
    assert all(not any(e["accuracies"]) for e in lines_of(tmp_path / "out"))


def test_only_the_modality_sign_and_number_asked_for(run, tmp_path) -> None:
    result = run("-o", "out", "--methods", "dsmi", "--modality", "text", "--sign", "negative", "--samples", 2)
    assert result.exit_code == 0, result.output
    lines = lines_of(tmp_path / "out")
    assert {(e["modality"], e["sign"]) for e in lines} == {("text", "negative")}
    assert len(lines) == 2 * 2
    assert "text- ↑" in result.stdout
    assert "image" not in result.stdout.splitlines()[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--methods", "lime"], "unknown method 'lime': choose from dsmi"),
        (["--methods", ","], "no method is named"),
        (["--data", "coco"], "unknown data set 'coco': choose from scenes, easy-vqa"),
        (["--samples", "99"], "has 6 questions, not 99"),
        (["--shard", "9/9"], "shard 9 of 9 holds no question"),
        (["--model", "none.ckpt"], "none.ckpt"),
        (["--model", "none"], "model none does not exist"),
    ],
)
def test_bad_input_is_one_line(run, arguments, message) -> None:
    refused(run("-o", "out", "--cross-check", 1, *arguments), message)


def test_a_question_that_is_too_long_is_named(run, tmp_path) -> None:
    entry = {"image": "case0.png", "question": "t5 " * 600, "label": "answer1", "question_id": "long"}
    (tmp_path / "data" / "questions.jsonl").write_text(json.dumps(entry))
    result = run("-o", "out")
    refused(result, "question long: the question has 602 tokens and the model takes 512")
    assert "--truncate" not in result.stderr  # an option of `xai explain`


@pytest.mark.parametrize(
    "arguments",
    [["--modality", "sound"], ["--sign", ""], ["--shard", "4/3"], ["--memory", "0"], ["--memory", "nan"], ["--memory", "1e308"]],
)
def test_wrong_usage_exits_with_2(run, arguments) -> None:
    assert run("-o", "out", *arguments).exit_code == 2


def test_scenes_play_the_pointing_game(run, tmp_path) -> None:
    result = run("-o", "out", "--samples", 30, "--methods", "raw-attention", data="scenes")
    assert result.exit_code == 0, result.output
    table = json.loads((tmp_path / "out" / "table.json").read_text())
    lines = lines_of(tmp_path / "out")
    assert 0 < table["regions"] < 30  # some questions are about no shape
    assert table["regions"] == len({e["index"] for e in lines if e["pointing"]})
    assert not any(e["pointing"] for e in lines if e["modality"] == "text")
    for row in table["methods"]:
        played = [e["pointing"] for e in lines if e["pointing"] and e["method"] == row["method"]]
        assert row["pointing"]["mean"] == pytest.approx(100 * np.mean([p["hit"] for p in played]), abs=1e-3)
        assert row["energy"]["mean"] == pytest.approx(100 * np.mean([p["energy"] for p in played]), abs=1e-3)


def test_a_slice_of_the_published_questions_runs(run, tmp_path) -> None:
    """With stand-ins for the images, which are not part of the project."""
    if not VALID.is_file():
        pytest.skip(f"the published questions are not at {VALID}")
    folder = tmp_path / "vqa" / "val2014"
    folder.mkdir(parents=True)
    shutil.copyfile(VALID, tmp_path / "vqa" / "valid.json")
    wanted = load_samples("vqa", 12)
    rng = np.random.default_rng(0)
    for name in {sample.image for sample in wanted}:
        Image.fromarray(rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)).save(folder / f"{name}.jpg")
    result = run("-o", "out", "--samples", 12, "--methods", "rm", data="vqa")
    assert result.exit_code == 0, result.output
    asked = dict.fromkeys(e["question_id"] for e in lines_of(tmp_path / "out"))
    assert list(asked) == [sample.question_id for sample in by_image(load_samples("vqa", 12))]


def test_easy_vqa_runs(run, tmp_path) -> None:
    result = run("-o", "out", "--samples", 3, "--methods", "rm", "--sign", "positive", data="easy-vqa")
    assert result.exit_code == 0, result.output
    assert len(lines_of(tmp_path / "out")) == 3 * 2 * 2


def test_measuring_and_drawing_import_no_torch(tmp_path) -> None:
    modules = ("run", "result_lines", "report.write", "report.curves", "report.html")
    code = f"import sys, {', '.join(f'xai.bench.perturb.{m}' for m in modules)}; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path).stdout == "False\n"


def test_the_demo_gives_the_same_answers_through_its_bundle_and_in_eager_pytorch(run, tmp_path) -> None:
    options = ["--samples", 6, "--methods", "dsmi-grad,rollout", "--threads", 1]
    result = run("-o", "onnx", *options, "--cross-check", 1, data="scenes", options=[])
    assert result.exit_code == 0, result.output
    content = json.loads((tmp_path / "onnx" / "cross_check.json").read_text())
    assert not content["answers_differing"]
    assert not content["orders_differing"]
    assert run("-o", "eager", *options, "--session", "eager", data="scenes", options=[]).exit_code == 0
    pairs = list(zip(lines_of(tmp_path / "onnx"), lines_of(tmp_path / "eager"), strict=True))
    same = np.mean([one["answers"] == other["answers"] for one, other in pairs])
    assert same > 0.95  # where two scores are equal to float32, the order may differ
    refused(run("-o", "onnx", *options, "--session", "eager", "--resume", data="scenes", options=[]), "with model")


@pytest.mark.slow
def test_full_size_answers_equal_the_reference(shared_golden, generate_state, tmp_path) -> None:
    """METER at 576 px: some minutes, 4 GB."""
    folder = shared_golden / "full"
    content = json.loads((folder / "cases.json").read_text())
    save_file(generate_state(folder), tmp_path / "meter.safetensors", metadata={"num_heads": "12"})
    words = {word: i for case in content["cases"] for word, i in zip(case["question"].split(), case["ids"][1:-1], strict=True)}
    tokenizer = Tokenizer(models.WordLevel({"<s>": 0, "</s>": 2, "<unk>": 3} | words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "answers.json").write_text(json.dumps([f"answer{i}" for i in range(3129)]))
    entries = [
        {"question_id": c, "image": str(folder / case["image"]), "question": case["question"], "label": case["label"]}
        for c, case in enumerate(content["cases"])
    ]
    (tmp_path / "questions.jsonl").write_text("\n".join(map(json.dumps, entries)))
    model = [f"--{name}={tmp_path / file}" for name, file in (("tokenizer", "tokenizer.json"), ("answers", "answers.json"))]
    command = ["bench", "perturb", "--data", str(tmp_path), f"--checkpoint={tmp_path / 'meter.safetensors'}", *model]
    result = CliRunner().invoke(main, [*command, "--methods", "dsmi-grad,relevance-maps", "-o", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    with np.load(folder / "expected.npz") as arrays:
        expected = {name: arrays[name] for name in arrays.files if "/perturb/" in name}
    compared = 0
    for line in lines_of(tmp_path / "out"):
        name = f"{line['question_id']}/{REFERENCE[line['method']]}/perturb/{line['modality']}/{line['sign']}"
        if f"{name}/argmax" in expected:
            assert line["answers"] == [f"answer{i}" for i in expected[f"{name}/argmax"]], name
            assert np.allclose(line["accuracies"], expected[f"{name}/accuracy"]), name
            compared += 1
    assert compared == sum(name.endswith("/argmax") for name in expected) == 16


def test_exact_rounding_is_measured_in_the_same_pass(run, tmp_path) -> None:
    assert run("-o", "out", "--methods", "dsmi").exit_code == 0
    differing = [e for e in lines_of(tmp_path / "out") if e["exact"]]
    assert {e["kept"][0] for e in differing} == {5}  # of 1, 2, 3, 5, 7 and 12 words
    for e in differing:
        assert e["exact"]["kept"] == [5, 3, 2, 1, 1, 0, 0, 0, 0]
        assert e["kept"] == [5, 3, 2, 1, 0, 0, 0, 0, 0]
        assert e["exact"]["answers"][:4] == e["answers"][:4]
        assert e["exact"]["answers"][4] == e["answers"][3]
