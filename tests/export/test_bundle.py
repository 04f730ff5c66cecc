"""The bundle writer: whole and proven, or not at all; TorchScript only where it is trusted; the commands."""

from __future__ import annotations

import copy
import json
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file
from tokenizers import Tokenizer

import xai
import xai.export.bundle
from xai.base.description import Heads
from xai.base.errors import XaiError
from xai.base.files import hash_file
from xai.commands.export import export
from xai.commands.inspect import inspect
from xai.commands.verify import verify
from xai.export.bundle import ParityError, export_bundle
from xai.export.folder import check_place, new_folder
from xai.export.modules import Graph
from xai.export.torchscript import trace_graphs
from xai.meter.checkpoint import read_checkpoint
from xai.meter.demo import WEIGHTS
from xai.meter.model import Meter
from xai.models.meter import MeterFamily
from xai.runtime.answers import numbered_answers
from xai.runtime.bundle.manifest import HASH, MANIFEST, PARITY, TORCHSCRIPT, Bundle, FileRecord, Manifest, hash_content
from xai.runtime.bundle.parity import Closeness
from xai.runtime.bundle.reader import read_bundle
from xai.runtime.bundle.trial import BATCHED, DEFAULT, WHOLE, load_trial, save_trial
from xai.runtime.sessions.open import open_session
from xai.tests.runtime.test_schema import refusals

TORCHSCRIPT_ONLY = ("torchscript",)  # seconds, where ONNX takes half a minute


@pytest.fixture
def write(model: Meter, small, goldens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Writes a TorchScript bundle of the small random model, whose graphs were traced before, or of another model."""

    def trace(graphs: list[Graph]) -> torch.jit.ScriptModule:
        return small.traced if graphs[0].module.family.model is model else trace_graphs(graphs)

    monkeypatch.setattr(xai.export.bundle, "trace_graphs", trace)

    def write(name: str = "out", model: Meter = model, **options) -> Path:
        tokenizer: Tokenizer = goldens("tiny").explainer.encoder.tokenizer
        options = {"formats": TORCHSCRIPT_ONLY, **options}
        export_bundle(MeterFamily(model), tokenizer, numbered_answers(model.config.answers), tmp_path / name, **options)
        return tmp_path / name

    return write


@pytest.fixture
def written(small, tmp_path: Path) -> Manifest:
    """The manifest of the random model's bundle, a copy of which lies at `out`."""
    return read_bundle(Path(shutil.copytree(small.bundle.folder, tmp_path / "out"))).manifest


def left_behind(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_torchscript_runs_only_where_it_is_trusted(bundle: Bundle) -> None:
    with pytest.raises(XaiError, match="--trust"):
        open_session(bundle, "torchscript")
    assert open_session(bundle, "torchscript", trust=True).name == "torchscript"


def test_torchscript_runs_where_it_was_not_traced(bundle: Bundle) -> None:
    with pytest.warns((DeprecationWarning, FutureWarning), match="torch.jit"):
        module = torch.jit.load(bundle.file("graphs.pt"))
    for name in bundle.manifest.graphs:
        assert 'value="cpu"' not in str(getattr(module, name).graph), name


@pytest.mark.parametrize(("provider", "words"), [("cuda", "no GPU"), ("tensorrt", "cpu or cuda, not on 'tensorrt'")])
def test_torchscript_does_not_fall_back_to_another_device(
    bundle: Bundle, provider: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(XaiError, match=words):
        open_session(bundle, "torchscript", provider=provider, trust=True)


def test_an_existing_folder_is_refused(write: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("kept")
    for overwrite in (False, True):  # a folder that is no bundle is never replaced
        with pytest.raises(XaiError, match="exists"):
            write(overwrite=overwrite)
    assert (tmp_path / "out" / "mine.txt").read_text() == "kept"
    assert left_behind(tmp_path) == ["out"]


def test_overwrite_replaces_a_bundle(write: Callable[..., Path], written: Manifest, tmp_path: Path, deeper_model: Meter) -> None:
    first = written
    with pytest.raises(XaiError, match="--overwrite"):
        write(model=deeper_model)
    assert read_bundle(tmp_path / "out").manifest == first
    second = read_bundle(write(model=deeper_model, overwrite=True)).manifest
    assert (first.model.layers, second.model.layers) == (3, 1)
    assert left_behind(tmp_path) == ["out"]


def test_a_missing_parent_and_a_link_are_refused(tmp_path: Path) -> None:
    with pytest.raises(XaiError, match="does not exist"):
        check_place(tmp_path / "no" / "out", overwrite=False)
    (tmp_path / "out").symlink_to(tmp_path / "nowhere")
    for overwrite in (False, True):
        with pytest.raises(XaiError, match="exists"):
            check_place(tmp_path / "out", overwrite)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_export_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), new_folder(tmp_path / "out", overwrite=False) as draft:
        (draft / "weights.bin").write_bytes(b"half")
        raise error
    assert not left_behind(tmp_path)


def test_a_terminated_export_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "xai", "export", "demo", "-o", str(tmp_path / "out"), "--format", "torchscript"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        while not left_behind(tmp_path):
            assert running.poll() is None
            time.sleep(0.01)
        running.terminate()
        assert running.wait(120) == 128 + signal.SIGTERM
    assert not left_behind(tmp_path)


def test_graphs_that_differ_fail_the_export(
    write: Callable[..., Path], written: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lower(family: MeterFamily, precision: str) -> MeterFamily:
        changed = copy.deepcopy(family)
        with torch.no_grad():
            changed.state_dict()["model.cross_modal_image_layers.1.attention.self.query.weight"][0, 0] += 0.05
        return changed

    monkeypatch.setattr(xai.export.bundle, "lower", lower)
    with pytest.raises(ParityError, match="evidence") as raised:
        write(overwrite=True)
    assert "\n" not in str(raised.value)
    assert raised.value.parity["torchscript"]["evidence product"].error > 1e-4
    assert read_bundle(tmp_path / "out").manifest == written
    assert left_behind(tmp_path) == ["out"]


def test_an_interrupted_replacement_keeps_the_former(written: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = Path.rename

    def interrupt(path: Path, target: Path) -> Path:
        if ".draft." in path.name:
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", interrupt)
    with pytest.raises(KeyboardInterrupt), new_folder(tmp_path / "out", overwrite=True):
        pass
    assert read_bundle(tmp_path / "out").manifest == written
    assert left_behind(tmp_path) == ["out"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_leaves_nothing(write: Callable[..., Path], small_disk: Path) -> None:
    with pytest.raises(XaiError, match="cannot be written") as raised:
        write("disk/out")
    assert "\n" not in str(raised.value)
    assert not left_behind(small_disk)


def test_a_file_that_grows_too_large_leaves_nothing(write: Callable[..., Path], tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, limits[1]))
    try:
        with pytest.raises(XaiError, match="cannot be written"):
            write()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not left_behind(tmp_path)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"formats": ("onnx",), "precision": "bfloat16"}, "only for torchscript"),
        ({"formats": ("torchscript",), "precision": "float16"}, "only for onnx"),
        ({"formats": ("torchscript",), "precision": "float8"}, "choose from float32"),
        ({"formats": ("pickle",)}, "choose from onnx"),
        ({"formats": ()}, "choose from onnx"),
    ],
)
def test_a_request_that_makes_no_sense(write: Callable[..., Path], tmp_path: Path, options: dict[str, object], words: str) -> None:
    with pytest.raises(XaiError, match=words):
        write(**options)
    assert not left_behind(tmp_path)


def test_verify_finds_a_bundle_that_computes_something_else(bundle: Bundle, tmp_path: Path) -> None:
    """A weight that was changed, and the manifest with it: only the stored outputs can tell."""
    folder = Path(shutil.copytree(bundle.folder, tmp_path / "copy"))
    weights = np.fromfile(folder / "weights.bin", dtype=np.float32)
    weights[::1000] += 0.05
    weights.tofile(folder / "weights.bin")
    content = json.loads((folder / MANIFEST).read_text())
    content["files"]["weights.bin"]["sha256"] = hash_file(folder / "weights.bin")
    (folder / MANIFEST).write_text(json.dumps(content | {HASH: hash_content(content)}))
    result = CliRunner().invoke(verify, [str(folder)])
    assert isinstance(result.exception, XaiError)
    assert "does not give what it should" in str(result.exception)


def test_verify(bundle: Bundle, goldens) -> None:
    alone = CliRunner().invoke(verify, [str(bundle.folder), "--threads", "1"])
    assert alone.exit_code == 0, alone.output
    assert "onnx verified, torchscript not run" in alone.output
    checkpoint = ["--checkpoint", str(goldens("tiny").checkpoint), "--trust"]
    with pytest.warns(UserWarning, match="left out"):
        against = CliRunner().invoke(verify, [str(bundle.folder), *checkpoint])
    assert against.exit_code == 0, against.output
    assert "onnx, torchscript verified" in against.output
    assert against.output.count("relevance rollout") == 2


@pytest.mark.filterwarnings("ignore:.*left out")
def test_verify_refuses_another_models_checkpoint(bundle: Bundle, tiny, tmp_path: Path) -> None:
    state = read_checkpoint(tiny.checkpoint).tensors
    state |= {name: state[name][:5].clone() for name in ("vqa_classifier.3.weight", "vqa_classifier.3.bias")}
    save_file({name: value.clone() for name, value in state.items()}, tmp_path / "other.safetensors", metadata={"num_heads": "4"})
    others = {tmp_path / "other.safetensors": r"is another model .*\(answers 5, not 17\)", WEIGHTS: "has 2 cross-modal heads"}
    for checkpoint, words in others.items():
        result = CliRunner().invoke(verify, [str(bundle.folder), "--reference", str(checkpoint)])
        assert isinstance(result.exception, XaiError)
        assert re.search(words, str(result.exception))
        assert checkpoint.name in str(result.exception)


def test_who_said_how_many_heads_there_are_is_kept_and_shown(bundle: Bundle, small) -> None:
    for one, heads, words in (
        (bundle, Heads(4, "checkpoint"), "4 cross-modal attention heads, as the checkpoint says"),
        (small.bundle, Heads(3, "option"), "3 cross-modal attention heads, as whoever exported it said"),
    ):
        assert read_bundle(one.folder).manifest.heads == heads
        assert words in CliRunner().invoke(inspect, [str(one.folder)]).output


@pytest.mark.parametrize("change", ["fewer outputs", "fewer graphs", "another input"])
def test_torchscript_of_another_kind_is_refused(written: Manifest, tmp_path: Path, change: str) -> None:
    class Other(torch.nn.Module):
        def encode_image(self, pixels: torch.Tensor) -> tuple[torch.Tensor]:
            return (pixels,)

        def embed_text(self, ids: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return (ids, ids) if change == "fewer outputs" else (ids,)

        def answer(self, a: torch.Tensor, b: torch.Tensor, c: torch.Tensor) -> tuple[torch.Tensor]:
            return (a + b + c,)

    one = torch.ones(2, 3)
    inputs = {"encode_image": one, "embed_text": one} | ({"answer": (one, one, one)} if change == "another input" else {})
    torch.jit.trace_module(Other(), inputs).save(tmp_path / "out" / TORCHSCRIPT)
    data = tmp_path / "out" / TORCHSCRIPT
    files = {**written.files, TORCHSCRIPT: FileRecord(hash_file(data), data.stat().st_size)}
    (tmp_path / "out" / MANIFEST).write_text(replace(written, files=files).to_json())
    with pytest.raises(XaiError, match=r"graph (embed_text does not|answer)"):
        open_session(read_bundle(tmp_path / "out"), trust=True)


def test_values_that_are_no_numbers_are_kept_by_no_force() -> None:
    parity = {"torchscript": {"relevance dsmi": Closeness(float("inf"), -1.0), "logits": Closeness(0.0, 1.0)}}
    for force in (False, True):
        with pytest.raises(ParityError, match="give what is no number, or of another shape: relevance dsmi"):
            xai.export.bundle._certify(parity, "bfloat16", force)


def test_stored_questions_are_at_least_four_of_three_lengths_two_images_two_targets(bundle: Bundle, tmp_path: Path) -> None:
    trial, expected = load_trial(bundle.file(PARITY), bundle.manifest.model)
    assert len(trial.questions) >= 4
    assert len({len(question.ids) for question in trial.questions}) >= 3
    assert len({question.image for question in trial.questions}) == len(trial.pictures) >= 2
    assert len({question.target for question in trial.questions}) >= 2
    save_trial(tmp_path / "again.npz", trial, expected)
    again, found = load_trial(tmp_path / "again.npz", bundle.manifest.model)
    assert all((one[0] == other[0]).all() for one, other in zip(again.pictures, trial.pictures, strict=True))
    for one, other in zip(found, expected, strict=True):
        assert all((one.arrays[name] == value).all() for name, value in other.arrays.items())
    (tmp_path / "again.npz").write_bytes(b"PK\x03\x04 half")
    with pytest.raises(XaiError, match="again"):
        load_trial(tmp_path / "again.npz", bundle.manifest.model)


def test_the_manifest_says_what_was_run(bundle: Bundle) -> None:
    trial, _ = load_trial(bundle.file(PARITY), bundle.manifest.model)
    picture = bundle.manifest.model.picture
    whole = 1 + (picture.size // picture.patch) ** 2
    lengths = [len(question.ids) for question in trial.questions]
    for form, runs in bundle.manifest.parity["runs"].items():
        assert refusals("manifest", json.loads((bundle.folder / MANIFEST).read_text())) == []
        lean = [run for run in runs if run["options"] == "lean"] if form == "onnx" else runs
        assert [run["text_tokens"] for run in lean] == [*([length] for length in lengths), [lengths[i] for i in BATCHED]]
        assert lean[WHOLE]["image_tokens"] == [whole]
        assert len(set(lean[-1]["image_tokens"])) == 2  # padding is part of what is proven
        assert [run["text_tokens"] for run in runs[len(lean) :]] == ([[lengths[DEFAULT]]] if form == "onnx" else [])


def test_an_export_holds_one_graph_at_a_time_and_every_graph_has_been_run(bundle: Bundle, monkeypatch) -> None:
    """The largest number of graphs that are loaded together, and how often each is run by which options."""
    from xai.runtime.sessions.onnx import OnnxSession

    loads, most, load = [], [], OnnxSession._load

    def counted(self: OnnxSession, graph: str) -> Any:
        most.append(len(self._sessions) + 1)
        loads.append((graph, self.lean))
        return load(self, graph)

    monkeypatch.setattr(OnnxSession, "_load", counted)
    monkeypatch.setattr(xai.export.bundle, "list_runs", lambda *_: [])  # counts tokens, of which a file keeps samples
    trial, expected = load_trial(bundle.file(PARITY), bundle.manifest.model)
    xai.export.bundle._prove(bundle, "onnx", trial, expected)
    assert max(most) == 1
    assert sorted(loads) == sorted((graph, lean) for graph in bundle.manifest.graphs for lean in (True, False))


def test_the_export_command(goldens, tmp_path: Path) -> None:
    golden = goldens("tiny")
    options = ["--tokenizer", str(golden.tokenizer), "--answers", str(golden.answers), "--format", "torchscript"]
    with pytest.warns(UserWarning, match="left out"):
        result = CliRunner().invoke(export, [str(golden.checkpoint), "-o", str(tmp_path / "out"), *options])
    assert result.exit_code == 0, result.output
    for words in ("trace TorchScript", "relevance dsmi-grad first", TORCHSCRIPT, "MB", f"written: {tmp_path / 'out'}"):
        assert words in result.output
    assert read_bundle(tmp_path / "out").manifest.formats == ("torchscript",)
    of_a_bundle = CliRunner().invoke(export, [str(tmp_path / "out"), "-o", str(tmp_path / "other")])
    assert "name the checkpoint" in str(of_a_bundle.exception)
    again = CliRunner().invoke(export, [str(golden.checkpoint), "-o", str(tmp_path / "out"), *options])
    assert isinstance(again.exception, XaiError)  # before the checkpoint is read
    verified = CliRunner().invoke(verify, [str(tmp_path / "out")])
    assert isinstance(verified.exception, XaiError)
    assert "--trust" in str(verified.exception)


@pytest.mark.parametrize("half", [True, False])
def test_what_is_no_checkpoint_exports_nothing(goldens, tmp_path: Path, half: bool) -> None:
    source = tmp_path / "meter.ckpt"
    whole = goldens("tiny").checkpoint.read_bytes()
    source.write_bytes(whole[: len(whole) // 2] if half else b"not a checkpoint")
    result = CliRunner().invoke(export, [str(source), "-o", str(tmp_path / "out"), "--tokenizer", str(goldens("tiny").tokenizer)])
    assert isinstance(result.exception, XaiError)
    assert "meter.ckpt" in str(result.exception)
    assert left_behind(tmp_path) == ["meter.ckpt"]


def test_inspect_says_what_is_in_a_bundle(bundle: Bundle) -> None:
    result = CliRunner().invoke(inspect, [str(bundle.folder)])
    assert result.exit_code == 0, result.output
    for words in (
        "float32, onnx and torchscript, opset 20",
        "evidence_all",
        "image_tokens float32[batch, image, 128]",
        "weights.bin",
        "relevance",
        "torch 2",
    ):
        assert words in result.output
