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

from xai.base.errors import XaiError
from xai.runtime.bundle.manifest import MANIFEST, VERSION, FileRecord, GraphSpec, Manifest, TensorSpec
from xai.runtime.bundle.reader import is_bundle, read_bundle
from xai.tests.runtime.test_description import DESCRIPTION

CONTENT = {"tokenizer.json": b"{}", "answers.json": b'["yes", "no"]', "answer.onnx": b"graph", "weights.bin": bytes(range(256)) * 4}
MODEL = DESCRIPTION


def write_bundle(folder: Path, content: dict[str, bytes], **changes: Any) -> Path:
    folder.mkdir()
    for name, data in content.items():
        (folder / name).write_bytes(data)
    graphs = {"answer": GraphSpec({"x": TensorSpec("float32", ("batch", 3))}, {"logits": TensorSpec("float32", ("batch", 2))})}
    files = {name: FileRecord(hashlib.sha256(data).hexdigest(), len(data)) for name, data in content.items()}
    manifest = Manifest(MODEL, "float32", ("onnx",), 20, graphs, files, {}, {"xai-vqa": "0"})
    (folder / MANIFEST).write_text(json.dumps(json.loads(manifest.to_json()) | changes))
    return folder


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
    assert bundle.manifest.graphs["answer"].inputs["x"].axes == ("batch", 3)
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
        else:  # a number, a version of a package, an axis: nothing that a file's name or hash depends on
            assert found.files == whole.files


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
        {"precision": "float8"},
        {"formats": ["pickle"]},
        {"formats": [1]},
        {"opset": "20"},
        {"model": {}},
        {"parity": None},
    ],
)
def test_a_manifest_of_wrong_fields(tmp_path: Path, changes: dict[str, Any]) -> None:
    refused(write_bundle(tmp_path / "bundle", CONTENT, **changes), MANIFEST)


@pytest.mark.parametrize("field", ["width", "answers", "vocab_size"])
def test_a_model_without_size(tmp_path: Path, field: str) -> None:
    refused(write_bundle(tmp_path / "bundle", CONTENT, model=MODEL.to_json() | {field: 0}), field)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\xff", '{"format": "xai-bundle"}', "[" * 100_000])
def test_a_manifest_that_is_none(folder: Path, text: str) -> None:
    (folder / MANIFEST).write_bytes(text.encode("latin-1"))
    refused(folder, MANIFEST)


@pytest.mark.parametrize("make", [Path.touch, Path.mkdir, str])
def test_what_is_no_bundle(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "thing.zip")
    assert not is_bundle(tmp_path / "thing.zip")
    refused(tmp_path / "thing.zip", "thing.zip")
