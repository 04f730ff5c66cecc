"""The bundle reader refuses whatever its manifest does not describe, in one line that names the file."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xai.base.description import Heads
from xai.base.errors import XaiError
from xai.runtime.bundle.manifest import HASH, MANIFEST, VERSION, FileRecord, Manifest, hash_content
from xai.runtime.bundle.reader import is_bundle, read_bundle
from xai.runtime.bundle.signatures import describe_graphs
from xai.runtime.description import Description, Square
from xai.tests.runtime.test_description import DESCRIPTION

CONTENT = {"tokenizer.json": b"{}", "answers.json": b'["yes", "no"]', "answer.onnx": b"graph", "weights.bin": bytes(range(256)) * 4}
MODEL = Description(**{**vars(DESCRIPTION), "picture": Square(32, 8, "crop", (0.5, 0.5, 0.5), (0.2, 0.2, 0.2)), "text_width": 128})
GRAPHS = describe_graphs(MODEL, ["logits", "text0/features", "text0/cross/product"], with_maps=True)


def write_manifest(folder: Path, content: dict[str, Any]) -> Path:
    """Whatever it says, under a hash that fits it."""
    (folder / MANIFEST).write_text(json.dumps(content | {HASH: hash_content(content)}))
    return folder


def write_bundle(folder: Path, content: dict[str, bytes], **changes: Any) -> Path:
    folder.mkdir()
    for name, data in content.items():
        (folder / name).write_bytes(data)
    files = {name: FileRecord(hashlib.sha256(data).hexdigest(), len(data)) for name, data in content.items()}
    manifest = Manifest(MODEL, Heads(3, "option"), "float32", ("onnx",), 20, GRAPHS, files, {}, {"xai-vqa": "0"})
    return write_manifest(folder, json.loads(manifest.to_json()) | changes)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "bundle", CONTENT)


def refused(folder: Path, *words: str) -> None:
    with pytest.raises(XaiError) as raised:
        read_bundle(folder)
    message = str(raised.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_a_whole_bundle_is_read(folder: Path) -> None:
    assert is_bundle(folder)
    bundle = read_bundle(folder)
    assert bundle.manifest.model == MODEL
    assert bundle.manifest.graphs == GRAPHS
    assert bundle.manifest.heads == Heads(3, "option")
    assert bundle.file("weights.bin").read_bytes() == CONTENT["weights.bin"]
    with pytest.raises(XaiError, match=r"graphs\.pt"):
        bundle.file("graphs.pt")


@pytest.mark.parametrize("name", CONTENT)
def test_one_flipped_byte_in_any_file(folder: Path, name: str) -> None:
    path = folder / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    refused(folder, name)


def test_a_flipped_byte_in_the_manifest_never_passes_for_another_bundle(folder: Path) -> None:
    path = folder / MANIFEST
    data = path.read_bytes()
    whole = read_bundle(folder).manifest
    for i in np.random.default_rng(0).choice(len(data), 200, replace=False):
        path.write_bytes(data[:i] + bytes([data[i] ^ 2]) + data[i + 1 :])
        try:
            found = read_bundle(folder).manifest
        except XaiError as error:
            assert "\n" not in str(error)
        else:  # white space, or another way to write the same text
            assert found == whole


@pytest.mark.parametrize("name", CONTENT)
def test_a_missing_file(folder: Path, name: str) -> None:
    (folder / name).unlink()
    refused(folder, name)


@pytest.mark.parametrize("name", CONTENT)
def test_a_file_cut_short(folder: Path, name: str) -> None:
    (folder / name).write_bytes(CONTENT[name][:-1])
    refused(folder, name, "bytes")


@pytest.mark.parametrize("name", ["extra.txt", "evidence.onnx", ".hidden", "graphs.pt"])
def test_a_file_that_is_not_listed(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"")
    refused(folder, name, "does not list")


def test_weights_that_are_hashed_later_are_refused_before_they_are_used(folder: Path) -> None:
    read_bundle(folder, weights_later=True).settle()
    (folder / "weights.bin").write_bytes(CONTENT["weights.bin"][::-1])
    bundle = read_bundle(folder, weights_later=True)
    for _ in range(2):
        with pytest.raises(XaiError, match=r"weights\.bin is not the file that its manifest describes"):
            bundle.settle()
    (folder / "answer.onnx").write_bytes(b"other")
    with pytest.raises(XaiError, match=r"answer\.onnx is not the file"):
        read_bundle(folder, weights_later=True)


def test_a_folder_inside(folder: Path) -> None:
    (folder / "inner").mkdir()
    refused(folder, "inner", "flat folder")


@pytest.mark.parametrize("name", ["weights.bin", MANIFEST])
def test_a_symbolic_link(folder: Path, tmp_path: Path, name: str) -> None:
    target = tmp_path / "outside"
    (folder / name).rename(target)
    (folder / name).symlink_to(target)
    refused(folder, "manifest" if name == MANIFEST else name)


@pytest.mark.parametrize("name", ["weights.bin", MANIFEST])
def test_a_hard_link(folder: Path, tmp_path: Path, name: str) -> None:
    os.link(folder / name, tmp_path / "outside")
    refused(folder, name, "hard link")
    assert read_bundle(folder, packaged=True).manifest.model == MODEL


@pytest.mark.parametrize(
    "name",
    ["../x", "/etc/passwd", "a/../../x", "a.zip/x", "a.zip!x", "..", "", "weights.bin/", "WEIGHTS.BIN", "x.onnx", "C:\\x", "manifest.json"],
)
def test_a_manifest_that_names_something_else(tmp_path: Path, name: str) -> None:
    listed = {name: {"sha256": hashlib.sha256(b"").hexdigest(), "bytes": 0}}
    refused(write_bundle(tmp_path / "bundle", {}, files=listed), repr(name), "no bundle may have")


@pytest.mark.parametrize(("version", "advice"), [(VERSION + 1, "newer xai"), (VERSION - 1, "export it again")])
def test_another_format_version(tmp_path: Path, version: int, advice: str) -> None:
    refused(write_bundle(tmp_path / "bundle", CONTENT, version=version), f"version {version}", advice)


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "zip"},
        {"version": "1"},
        {"files": []},
        {"files": {"weights.bin": {"sha256": 3, "bytes": 0}}},
        {"graphs": {"boom": {"inputs": {}, "outputs": {}}}},
        {"graphs": {"answer": {"inputs": {"x": {"dtype": "float32", "axes": [1.5]}}, "outputs": {}}}},
        {"graphs": {}},
        {"precision": "float8"},
        {"precision": "float16", "formats": ["torchscript"]},
        {"formats": ["pickle"]},
        {"formats": [1]},
        {"formats": []},
        {"formats": ["onnx", "onnx"]},
        {"opset": "20"},
        {"opset": 0},
        {"model": {}},
        {"model": MODEL.to_json() | {"picture": MODEL.to_json()["picture"] | {"patch": 4}}},
        {"model": MODEL.to_json() | {"sites": MODEL.to_json()["sites"][:-1]}},
        {"model": MODEL.to_json() | {"width": 17}},
        {"model": MODEL.to_json() | {"picture": MODEL.to_json()["picture"] | {"std": [0, 1, 1]}}},
        {"model": MODEL.to_json() | {"picture": MODEL.to_json()["picture"] | {"mean": [0, 1]}}},
        {"model": MODEL.to_json() | {"hidden": 3}},
        {"heads": None},
        {"heads": {"cross_modal": 4, "said_by": "checkpoint"}},
        {"heads": {"cross_modal": 3, "said_by": "nobody"}},
        {"parity": None},
        {"parity": {"forced": [], "formats": {"onnx": {"logits": {"error": "none", "cosine": 1}}}}},
        {"parity": {"forced": [1], "formats": {}}},
        {"written_by": {"torch": 2}},
        {"more": 1},
    ],
)
def test_a_manifest_of_wrong_fields(tmp_path: Path, changes: dict[str, Any]) -> None:
    refused(write_bundle(tmp_path / "bundle", CONTENT, **changes), MANIFEST)


def change_graphs(graphs: dict[str, Any], change: str) -> None:
    """One of the ways in which what a manifest says of its graphs may not fit its model."""
    match change:
        case "an output gone":
            del graphs["evidence_all"]["outputs"]["image0/self/gradient"]
        case "outputs in another order":
            outputs = graphs["maps"]["outputs"]
            outputs["logits"] = outputs.pop("logits")
        case "an input of another name":
            graphs["answer"]["inputs"]["picture"] = graphs["answer"]["inputs"].pop("image_tokens")
        case "an output that no graph gives":
            graphs["evidence"]["outputs"]["image9/features"] = {"dtype": "float32", "axes": ["batch", "image", 48]}
        case "an axis of another length":
            graphs["embed_text"]["outputs"]["text_embeddings"]["axes"][2] = 64
        case "an axis of another name":
            graphs["answer"]["inputs"]["text_mask"]["axes"][1] = "image"
        case "a free axis that is fixed":
            graphs["evidence"]["outputs"]["text0/features"]["axes"][0] = 1
        case "another type":
            graphs["evidence"]["inputs"]["direction"]["dtype"] = "int32"
        case "a length of zero":
            graphs["encode_image"]["outputs"]["image_tokens"]["axes"][2] = 0
        case "two swapped":
            graphs["answer"], graphs["evidence"] = graphs["evidence"], graphs["answer"]
        case "one missing":
            del graphs["evidence_all"]


CHANGES = [
    "an output gone",
    "outputs in another order",
    "an input of another name",
    "an output that no graph gives",
    "an axis of another length",
    "an axis of another name",
    "a free axis that is fixed",
    "another type",
    "a length of zero",
    "two swapped",
    "one missing",
]


@pytest.mark.parametrize("change", CHANGES)
def test_graphs_that_are_not_the_models(folder: Path, change: str) -> None:
    content = json.loads((folder / MANIFEST).read_text())
    change_graphs(content["graphs"], change)
    refused(write_manifest(folder, content), MANIFEST, "export the bundle again")


def test_an_attention_that_the_answer_depends_on_is_not_left_out(folder: Path) -> None:
    """No graph would tell, and the relevance would be another one."""
    content = json.loads((folder / MANIFEST).read_text())
    content["model"]["sites"][0]["reached"] = False
    write_manifest(folder, content)
    refused(folder, "'sites' is wrong about whether the answer depends on", MANIFEST)


@pytest.mark.parametrize(("modality", "words"), [("text", "'special' is not one token"), ("image", "output image_tokens")])
def test_special_tokens_are_those_that_the_graphs_and_the_questions_have(folder: Path, modality: str, words: str) -> None:
    content = json.loads((folder / MANIFEST).read_text())
    content["model"]["special"][modality] = {"before": 2, "behind": 0}
    write_manifest(folder, content)
    refused(folder, words, MANIFEST)


@pytest.mark.parametrize("field", ["width", "answers", "vocab_size"])
def test_a_model_without_size(tmp_path: Path, field: str) -> None:
    refused(write_bundle(tmp_path / "bundle", CONTENT, model=MODEL.to_json() | {field: 0}), field)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("model", "vocab_size"), 99),
        (("written_by", "xai-vqa"), "9"),
        (("parity", "forced"), []),
        (("graphs", "evidence", "outputs"), {}),
        ((HASH,), "0" * 64),
        ((HASH,), None),
    ],
)
def test_an_altered_manifest_says_so_itself(folder: Path, path: tuple[str, ...], value: object) -> None:
    content = json.loads((folder / MANIFEST).read_text())
    place = content
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    (folder / MANIFEST).write_text(json.dumps(content))
    refused(folder, MANIFEST, HASH)


def test_the_hash_covers_the_order_that_graphs_depend_on() -> None:
    one, other = {"a": 1, "b": {"c": 2, "d": 3}}, {"a": 1, "b": {"d": 3, "c": 2}}
    assert hash_content(one) == hash_content(one | {HASH: "anything"}) != hash_content(other)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\xff", '{"format": "xai-bundle"}', "[" * 100_000])
def test_a_manifest_that_is_none(folder: Path, text: str) -> None:
    (folder / MANIFEST).write_bytes(text.encode("latin-1"))
    refused(folder, MANIFEST)


@pytest.mark.parametrize("make", [Path.touch, Path.mkdir, str])
def test_what_is_no_bundle(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "thing.zip")
    assert not is_bundle(tmp_path / "thing.zip")
    refused(tmp_path / "thing.zip", "thing.zip")
