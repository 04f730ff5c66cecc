"""Graphs that are not what their manifest says, whatever hashes say: refused in one line, and nothing is printed."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

import xai
from xai.base.errors import XaiError
from xai.base.files import hash_file
from xai.meter.demo import BUNDLE
from xai.runtime.bundle.manifest import HASH, MANIFEST, WEIGHTS, GraphSpec, TensorSpec, hash_content, onnx_file
from xai.runtime.bundle.reader import read_bundle
from xai.runtime.sessions.check_graph import Declared, check_outputs, check_tensors
from xai.runtime.sessions.onnx import OnnxSession

IDS = {"ids": np.array([[0, 7, 9, 2]])}


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    return Path(shutil.copytree(BUNDLE, tmp_path / "bundle"))


def renew(folder: Path) -> None:
    """Make the manifest fit the files that are there now."""
    content = json.loads((folder / MANIFEST).read_text())
    for name, record in content["files"].items():
        record |= {"sha256": hash_file(folder / name), "bytes": (folder / name).stat().st_size}
    (folder / MANIFEST).write_text(json.dumps(content | {HASH: hash_content(content)}))


def refused(folder: Path, *words: str) -> None:
    with pytest.raises(XaiError) as raised:
        OnnxSession(read_bundle(folder), threads=1).run("embed_text", IDS)
    assert "\n" not in str(raised.value)
    for word in (onnx_file("embed_text"), *words):
        assert word in str(raised.value)


def test_the_whole_bundle_runs(demo: Path) -> None:
    renew(demo)
    assert OnnxSession(read_bundle(demo), threads=1).run("embed_text", IDS)["text_embeddings"].shape == (1, 4, 128)


@pytest.mark.parametrize("other", ["encode_image", "answer", "evidence"])
def test_a_graph_of_another_kind_under_a_listed_name(demo: Path, other: str) -> None:
    shutil.copy(demo / onnx_file(other), demo / onnx_file("embed_text"))
    renew(demo)
    refused(demo, "is not the graph that its manifest describes: its inputs differ")


def give(tensor: onnx.ValueInfoProto, axis: int, value: int | str) -> None:
    field = tensor.type.tensor_type.shape.dim[axis]
    field.Clear()
    setattr(field, "dim_value" if isinstance(value, int) else "dim_param", value)


def add_axis(tensor: onnx.ValueInfoProto) -> None:
    tensor.type.tensor_type.shape.dim.add().dim_value = 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda graph: give(graph.input[0], 1, 5), "input ids is int64[batch, 5], not int64[batch, text]"),
        (lambda graph: add_axis(graph.input[0]), "input ids"),
        (lambda graph: give(graph.output[0], 1, 9), "text_embeddings"),
        (lambda graph: setattr(graph.input[0].type.tensor_type, "elem_type", onnx.TensorProto.INT32), "embed_text.onnx"),
    ],
)
def test_a_graph_of_other_shapes_or_types(demo: Path, change: Callable[[onnx.GraphProto], None], words: str) -> None:
    path = demo / onnx_file("embed_text")
    model = onnx.load(path, load_external_data=False)
    change(model.graph)
    path.write_bytes(model.SerializeToString())
    renew(demo)
    refused(demo, words)


def test_any_byte_of_a_graph_is_one_line_or_the_graph_that_was_described(demo: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = demo / onnx_file("embed_text")
    content, rng, lines = path.read_bytes(), np.random.default_rng(0), 0
    for place, value in zip(rng.integers(0, len(content), 120), rng.integers(0, 256, 120), strict=True):
        changed = bytearray(content)
        changed[place] = value
        path.write_bytes(changed)
        renew(demo)
        try:
            found = OnnxSession(read_bundle(demo), threads=1).run("embed_text", IDS)
        except XaiError as error:
            assert "\n" not in str(error)
            lines += 1
        else:
            assert found["text_embeddings"].shape == (1, 4, 128)
    assert lines > 20
    assert capfd.readouterr() == ("", "")


def test_an_answer_that_is_no_number_names_the_bundle(demo: Path) -> None:
    """Of weights that hold NaN: no hash is wrong, and every graph runs."""
    weights = demo / WEIGHTS
    weights.write_bytes(b"\xff" * weights.stat().st_size)
    renew(demo)
    with pytest.raises(XaiError, match=re.escape(f"the answer of bundle {demo} is not a number")):
        xai.load(demo, threads=1).explain(np.zeros((96, 96, 3), np.uint8), "What color is it?")


def test_order_names_types_and_axes_are_compared() -> None:
    wanted = {"a": TensorSpec("float32", ("batch", 3)), "b": TensorSpec("int64", ("batch",))}
    right = [Declared("a", "float32", ("N", 3)), Declared("b_out", "int64", (None,))]
    check_tensors(right, wanted, "output", "x.onnx")
    a, b = right
    for wrong in (
        right[::-1],
        right[:1],
        [a, a],
        [a, b._replace(dtype="bool")],
        [a._replace(axes=(1, 3)), b],
        [a._replace(axes=("N", 4)), b],
    ):
        with pytest.raises(XaiError, match=r"^x\.onnx is not the graph"):
            check_tensors(wrong, wanted, "output", "x.onnx")


def test_outputs_have_the_lengths_of_the_inputs() -> None:
    spec = GraphSpec({"a": TensorSpec("float32", ("batch", "text"))}, {"b": TensorSpec("float32", ("text", "batch", 2))})
    inputs = {"a": np.zeros((3, 5), np.float32)}
    check_outputs(spec, inputs, {"b": np.zeros((5, 3, 2), np.float32)}, "graph x")
    for shape, dtype in (((3, 5, 2), "float32"), ((5, 3), "float32"), ((5, 3, 1), "float32"), ((5, 3, 2), "float16")):
        with pytest.raises(XaiError, match="graph x gives b as"):
            check_outputs(spec, inputs, {"b": np.zeros(shape, dtype)}, "graph x")
