"""The ONNX side: what the files say, who runs them, and what an attacker could put into them."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from xai.base.errors import XaiError
from xai.models.eager import EagerSession
from xai.runtime.bundle.manifest import FORMATS, MANIFEST, WEIGHTS, Bundle, FileRecord, onnx_file
from xai.runtime.bundle.reader import read_bundle
from xai.runtime.sessions.onnx import CPU, CUDA, OnnxSession, find_provider
from xai.runtime.sessions.open import open_session


def test_files_are_valid_and_their_axes_are_those_of_the_manifest(bundle: Bundle) -> None:
    assert set(bundle.manifest.graphs) == {"encode_image", "embed_text", "answer", "evidence", "evidence_all", "maps"}
    for name, spec in bundle.manifest.graphs.items():
        path = bundle.file(onnx_file(name))
        onnx.checker.check_model(path, full_check=True)
        model = onnx.load(path, load_external_data=False)
        assert model.opset_import[0].version == bundle.manifest.opset
        for values, described in ((model.graph.input, spec.inputs), (model.graph.output, spec.outputs)):
            for value, (key, tensor) in zip(values, described.items(), strict=True):
                assert value.name in (key, f"{key}_out")
                assert tuple(d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim) == tensor.axes
                assert helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type) == np.dtype(tensor.dtype)


def test_weights_are_stored_once(bundle: Bundle, goldens) -> None:
    model = goldens("tiny").explainer.session.model
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    assert bundle.manifest.files[WEIGHTS].bytes < 1.01 * weights
    places = []
    for name in bundle.manifest.graphs:
        for tensor in onnx.load(bundle.file(onnx_file(name)), load_external_data=False).graph.initializer:
            if tensor.data_location == TensorProto.EXTERNAL:
                entries = {entry.key: entry.value for entry in tensor.external_data}
                assert entries["location"] == WEIGHTS
                places.append(entries["offset"])
    assert len(places) > 2 * len(set(places))


def test_the_default_evidence_holds_no_gradient_that_no_method_reads(bundle: Bundle) -> None:
    outputs = set(bundle.manifest.graphs["evidence"].outputs)
    assert outputs < set(bundle.manifest.graphs["evidence_all"].outputs)
    assert {name for name in outputs if name.endswith("/gradient")} == {"text0/self/gradient", "image0/self/gradient"}


def test_nothing_of_the_machine_that_exported_is_left(bundle: Bundle) -> None:
    for name in bundle.manifest.graphs:
        assert b"/site-packages/" not in bundle.file(onnx_file(name)).read_bytes()


def test_a_provider_that_is_not_here_is_refused() -> None:
    assert find_provider("cpu") == find_provider(CPU) == CPU
    for name in ("cuda", "CUDAExecutionProvider", "nonsense"):
        if name not in onnxruntime.get_available_providers():
            with pytest.raises(XaiError, match=name):
                find_provider(name)


def test_a_fallback_is_an_error_unless_allowed(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = {"ids": np.array([[0, 5, 2]])}
    monkeypatch.setattr("xai.runtime.sessions.onnx.find_provider", {"cpu": "AzureExecutionProvider"}.get)
    monkeypatch.setattr(onnxruntime.InferenceSession, "get_providers", lambda _: [CPU])  # as where CUDA's libraries are missing
    with pytest.raises(XaiError, match=f"on {CPU}, not on AzureExecutionProvider"):
        OnnxSession(bundle).run("embed_text", inputs)
    assert OnnxSession(bundle, allow_fallback=True).run("embed_text", inputs)["text_embeddings"].shape == (1, 3, 128)


@pytest.mark.parametrize("form", FORMATS)
def test_arrays_of_another_library_come_out_of_it_again(bundle: Bundle, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way of CuPy's arrays, walked by NumPy's: handed over by DLPack, outputs on the device of the inputs."""
    taken, waited = [], []

    def from_dlpack(value: object) -> np.ndarray:
        taken.append(value)
        return np.from_dlpack(value)

    other = SimpleNamespace(ascontiguousarray=np.ascontiguousarray, from_dlpack=from_dlpack)
    session = open_session(bundle, form, threads=1, trust=True)
    inputs = {"ids": np.array([[0, 5, 2]])}
    expected = session.run("embed_text", inputs)["text_embeddings"]
    monkeypatch.setattr(f"xai.runtime.sessions.{'onnx' if form == 'onnx' else 'tensors'}.namespace", lambda _: other)
    monkeypatch.setattr("xai.runtime.sessions.onnx.synchronised", lambda value: waited.append(value) or value)
    found = session.run("embed_text", inputs)["text_embeddings"]
    assert len(taken) == 1
    assert type(taken[0]).__module__.partition(".")[0] == {"onnx": "onnxruntime", "torchscript": "torch"}[form]
    assert len(waited) == (form == "onnx")
    assert (found == expected).all()


def test_a_gpu_without_cupy_is_refused(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xai.runtime.sessions.onnx.find_provider", {"cuda": CUDA}.get)
    monkeypatch.setattr("xai.runtime.sessions.protocol.gpu_state", lambda: "cupy is not installed")
    with pytest.raises(XaiError, match=r"needs CuPy.*cupy is not installed"):
        OnnxSession(bundle, "cuda")
    assert OnnxSession(bundle, "cuda", allow_fallback=True).device == "cpu"
    monkeypatch.setattr("xai.runtime.sessions.protocol.gpu_state", lambda: None)
    assert OnnxSession(bundle, "cuda").device == "cuda"


def test_what_a_bundle_lacks_is_named(bundle: Bundle) -> None:
    session = open_session(bundle, threads=1)
    assert session.name == "onnx"
    with pytest.raises(ValueError, match="no output image9/features"):
        session.run("evidence", {}, ["image9/features"])
    without = Bundle(bundle.folder, replace(bundle.manifest, graphs={k: v for k, v in bundle.manifest.graphs.items() if k != "maps"}))
    with pytest.raises(XaiError, match="'maps'"):
        OnnxSession(without).run("maps", {})
    only_torch = Bundle(bundle.folder, replace(bundle.manifest, formats=("torchscript",)))
    with pytest.raises(XaiError, match="no ONNX graphs"):
        OnnxSession(only_torch)
    with pytest.raises(XaiError, match="choose from onnx, torchscript"):
        open_session(bundle, "eager")


@pytest.mark.parametrize("ids", [np.full((1, 3), 10**6), np.zeros((1, 10**3), dtype=np.int64), np.zeros((1, 3), dtype=np.float32)])
def test_an_input_that_does_not_fit_is_one_line(bundle: Bundle, ids: np.ndarray) -> None:
    with pytest.raises(XaiError, match="embed_text") as raised:
        open_session(bundle, threads=1).run("embed_text", {"ids": ids})
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("location", ["../secret", "/etc/hostname", "sub/../../secret", "link"])
def test_weights_outside_the_bundle_are_not_read(tmp_path: Path, bundle: Bundle, location: str) -> None:
    """A manifest may be as false as the graph: hashes match, and the graph points outside."""
    folder = Path(shutil.copytree(bundle.folder, tmp_path / "bundle"))
    (tmp_path / "secret").write_bytes(np.arange(64, dtype=np.float32).tobytes())
    if location == "link":
        (folder / "link").symlink_to(tmp_path / "secret")
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[64], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", "256")):
        tensor.external_data.add(key=key, value=value)
    graph = helper.make_graph(
        [helper.make_node("Cast", ["ids"], ["x"], to=TensorProto.FLOAT), helper.make_node("Mul", ["x", "w"], ["text_embeddings"])],
        "embed_text",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, [64])],
        [helper.make_tensor_value_info("text_embeddings", TensorProto.FLOAT, [64])],
        [tensor],
    )
    data = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString()
    (folder / "embed_text.onnx").write_bytes(data)
    files = {**bundle.manifest.files, "embed_text.onnx": FileRecord(hashlib.sha256(data).hexdigest(), len(data))}
    (folder / MANIFEST).write_text(replace(bundle.manifest, files=files).to_json())
    with pytest.raises(XaiError) as raised:
        open_session(read_bundle(folder)).run("embed_text", {"ids": np.ones(64, dtype=np.int64)})
    assert "\n" not in str(raised.value)
    assert "is not the graph" not in str(raised.value)  # refused for what it reads, before anything else of it is looked at


def test_explaining_imports_no_torch_and_no_transformers(bundle: Bundle, goldens, tmp_path: Path) -> None:
    golden = goldens("tiny")
    program = """
import json, sys
from pathlib import Path
from xai.runtime.answers import load_answers
from xai.runtime.explainer import Explainer
from xai.runtime.bundle.reader import read_bundle
from xai.runtime.bundle.manifest import ANSWERS, TOKENIZER
from xai.runtime.methods import METHODS
from xai.runtime.inputs.question import QuestionEncoder
from xai.runtime.inputs.tokenizer import load_tokenizer
from xai.runtime.sessions.open import open_session

bundle = read_bundle(Path(sys.argv[1]))
model = bundle.manifest.model
encoder = QuestionEncoder(load_tokenizer(bundle.file(TOKENIZER)), model.max_text_tokens, model.vocab_size)
explainer = Explainer(open_session(bundle, threads=1), encoder, load_answers(bundle.file(ANSWERS), model.answers))
found = explainer.explain_methods(sys.argv[2], sys.argv[3])
print(json.dumps({"answer": found[0].answer.text, "methods": len(found), "modules": sorted(sys.modules)}))
"""
    case = golden.cases[0]
    command = [sys.executable, "-c", program, str(bundle.folder), str(golden.image(0)), case["question"]]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["answer"] == case["answer"]
    assert found["methods"] == 11
    assert not {"torch", "transformers", "onnx", "xai.meter", "xai.export"} & set(found["modules"])


def test_one_explanation_of_all_methods_loads_three_graphs(bundle: Bundle, goldens) -> None:
    from xai.runtime.engine import explain_tokens
    from xai.runtime.inputs.encode import encode_images
    from xai.runtime.methods import find_methods

    session = OnnxSession(bundle, threads=1)
    tokens = encode_images(session, np.zeros((1, 3, 96, 96), dtype=np.float32))
    explain_tokens(session, tokens, [np.array([0, 9, 2])], [-1], find_methods("all"))
    assert set(session._sessions) == {"encode_image", "embed_text", "evidence"}


def test_the_folder_may_be_moved(bundle: Bundle, tmp_path: Path, goldens) -> None:
    moved = read_bundle(Path(shutil.copytree(bundle.folder, tmp_path / "moved")))
    ids = {"ids": np.array([[0, 7, 9, 2]])}
    eager: EagerSession = goldens("tiny").explainer.session
    assert np.allclose(
        open_session(moved).run("embed_text", ids)["text_embeddings"], eager.run("embed_text", ids)["text_embeddings"], atol=1e-5
    )
