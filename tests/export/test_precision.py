"""Precisions below float32: what is kept, what is refused, and what the manifest says of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
from click.testing import CliRunner
from torch import nn

import xai.export.bundle
import xai.runtime.bundle.parity
from xai.base.errors import XaiError
from xai.commands.export import export
from xai.commands.verify import verify
from xai.export.bundle import Exported, ParityError, export_bundle
from xai.export.modules import Graph
from xai.export.torchscript import trace_graphs
from xai.runtime.bundle.manifest import TORCHSCRIPT, WEIGHTS
from xai.runtime.bundle.parity import MIN_COSINE
from xai.runtime.bundle.reader import read_bundle
from xai.runtime.sessions.open import open_session


@pytest.fixture(scope="module")
def traced() -> dict[torch.dtype, torch.jit.ScriptModule]:
    """The tiny model's graphs by the type of its products, each traced once: only the first of the tests is about that."""
    return {}


@pytest.fixture(autouse=True)
def _trace_once(traced: dict[torch.dtype, torch.jit.ScriptModule], monkeypatch: pytest.MonkeyPatch) -> None:
    def trace(graphs: list[Graph]) -> torch.jit.ScriptModule:
        dtype = graphs[0].module.family.model.cross_modal_text_transform.weight.dtype
        if dtype not in traced:
            traced[dtype] = trace_graphs(graphs)
        return traced[dtype]

    monkeypatch.setattr(xai.export.bundle, "trace_graphs", trace)


@pytest.fixture
def write(goldens, tmp_path: Path) -> Callable[..., Exported]:
    def write(form: str, precision: str, **options: bool) -> Exported:
        explainer = goldens("tiny").explainer
        parts = explainer.session.family, explainer.encoder.tokenizer, explainer.answers
        return export_bundle(*parts, tmp_path / precision, formats=[form], precision=precision, **options)

    return write


def test_bfloat16_is_kept_where_its_maps_are_close(write: Callable[..., Exported], bundle, tmp_path: Path) -> None:
    exported = write("torchscript", "bfloat16")
    relevances = {group: measure for group, measure in exported.parity["torchscript"].items() if group.startswith("relevance")}
    assert len(relevances) == 12
    assert all(measure.cosine >= MIN_COSINE for measure in relevances.values())
    assert any(measure.error > 1e-3 for measure in relevances.values())  # it is not float32 under another name
    manifest = exported.bundle.manifest
    assert (manifest.precision, manifest.parity["forced"]) == ("bfloat16", [])
    assert manifest.files[TORCHSCRIPT].bytes < 0.7 * bundle.manifest.files[TORCHSCRIPT].bytes
    assert open_session(exported.bundle, trust=True).precision == "bfloat16"
    assert CliRunner().invoke(verify, [str(tmp_path / "bfloat16"), "--trust"]).exit_code == 0


def test_maps_that_are_not_close_are_refused_with_the_table_unless_forced(
    goldens, write: Callable[..., Exported], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xai.runtime.bundle.parity, "MIN_COSINE", 0.99999)
    golden = goldens("tiny")
    options = ["--tokenizer", str(golden.tokenizer), "--precision", "bfloat16", "-o", str(tmp_path / "out")]
    with pytest.warns(UserWarning, match="left out"):
        result = CliRunner().invoke(export, [str(golden.checkpoint), *options])
    assert isinstance(result.exception, ParityError)
    assert "--force" in str(result.exception)
    assert "\n" not in str(result.exception)
    assert "relevance dsmi-grad first" in result.stderr
    assert not list(tmp_path.iterdir())

    forced = write("torchscript", "bfloat16", force=True)
    kept = read_bundle(forced.bundle.folder).manifest.parity["forced"]
    assert kept
    assert all(group.startswith("relevance") for group in kept)
    assert CliRunner().invoke(verify, [str(forced.bundle.folder), "--trust"]).exit_code == 0  # what was forced is known


@pytest.mark.slow
def test_float16(write: Callable[..., Exported], bundle) -> None:
    exported = write("onnx", "float16")
    assert exported.bundle.manifest.files[WEIGHTS].bytes < 0.6 * bundle.manifest.files[WEIGHTS].bytes
    assert min(m.cosine for group, m in exported.parity["onnx"].items() if group.startswith("relevance")) >= MIN_COSINE


@pytest.mark.slow
def test_int8_has_no_8_bit_gradient_and_is_refused_where_it_is_too_coarse(goldens, write: Callable[..., Exported], tmp_path: Path) -> None:
    with pytest.raises(ParityError, match="int8 is not close enough"):
        write("onnx", "int8")
    assert not list(tmp_path.iterdir())
    folder = write("onnx", "int8", force=True).bundle.folder
    counts = {}
    for name in ("encode_image", "answer", "evidence"):
        nodes = onnx.load(folder / f"{name}.onnx", load_external_data=False).graph.node
        counts[name] = sum(node.op_type == "MatMulInteger" for node in nodes)
    assert counts["encode_image"] > 0
    assert counts["answer"] > 0
    model = goldens("tiny").explainer.session.family
    parts = [part for name, part in model.named_children() if name not in ("vit_model", "vqa_classifier") and not name.endswith("pooler")]
    forward = sum(isinstance(module, nn.Linear) for part in parts for module in part.modules())
    assert counts["evidence"] == forward


def test_what_a_precision_does_not_exist_for(write: Callable[..., Exported]) -> None:
    with pytest.raises(XaiError, match="only for onnx"):
        write("torchscript", "int8")
