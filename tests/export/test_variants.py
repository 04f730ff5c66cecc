"""METER's variants exported: gradients against autograd, bundles in both formats against the reference's outputs."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

import xai
from xai.base.errors import XaiError
from xai.cli import main
from xai.export.bundle import export_bundle
from xai.export.derived import DerivedGraph
from xai.export.meter_evidence import EvidenceGraph
from xai.export.modules import evidence_graph
from xai.export.precision import lower
from xai.models.eager import differentiate, find_sites
from xai.models.reduce import REDUCTIONS, WHOLE
from xai.runtime.bundle.manifest import FORMATS, TORCHSCRIPT, Bundle
from xai.tests.families import DATA, error, make_inputs
from xai.tests.variants import HUB, SNLI, VARIANTS, Variant, compare, explain

CANCELS = "grad-cam"
"""Sums gradients of both signs: its error is relative to what is summed, not to the sum."""


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("shape", [(2, 7, 10), (1, 1, 1), (1, 3, 37), (3, 12, 2)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_gradients_equal_autograd(
    variant: Variant, padded: bool, shape: tuple[int, int, int], dtype: torch.dtype, tolerance: float
) -> None:
    family = copy.deepcopy(variant.explainer.session.family).to(dtype)
    inputs = {name: x.to(dtype) if x.is_floating_point() else x for name, x in make_inputs(family, shape, padded).items()}
    explained = differentiate(family, **inputs)
    expected = {"logits": explained.logits} | {f"{layer}/features": x for layer, x in explained.features.items()}
    for name, site in find_sites(family, explained, inputs["image_mask"], inputs["text_mask"]).items():
        expected |= {f"{name}/{kind}": reduce(site) for kind, reduce in (REDUCTIONS | WHOLE).items()}
    largest = max(float(value.abs().max()) for name, value in expected.items() if name.endswith("/grad"))
    graph = evidence_graph(family, list(expected))
    assert isinstance(graph, EvidenceGraph if variant.name == SNLI else DerivedGraph)
    for (name, wanted), found in zip(expected.items(), graph(**inputs), strict=True):
        assert found.shape == wanted.shape
        floor = 1e-3 * largest if name.endswith((CANCELS, "product", "gradient", "grad")) else 0
        bound = tolerance * max(float(wanted.abs().max()), floor) * (100 if name.endswith(CANCELS) else 1)
        assert float((found - wanted).abs().max()) <= bound, name


@pytest.fixture(scope="session")
def exported(variants: Callable[[str], Variant], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Bundle]:
    """A variant exported in both formats, once for all tests."""

    @functools.cache
    def export(name: str) -> Bundle:
        explainer = variants(name).explainer
        parts: tuple[Any, ...] = explainer.session.family, explainer.encoder.tokenizer, explainer.answers
        return export_bundle(*parts, tmp_path_factory.mktemp(name) / "bundle", formats=FORMATS).bundle

    return export


EXPORTED = [name if name == HUB else pytest.param(name, marks=pytest.mark.slow) for name in VARIANTS]
"""An export takes half a minute of two cores: one of them is in the usual run."""


@pytest.mark.parametrize("name", EXPORTED)
def test_bundles_give_the_references_numbers(variants: Callable[[str], Variant], exported, name: str) -> None:
    variant = variants(name)
    bundle: Bundle = exported(variant.name)
    assert bundle.manifest.model == variant.explainer.session.description
    assert set(bundle.manifest.parity["formats"]) == set(FORMATS)
    assert not bundle.manifest.parity["forced"]
    for session in FORMATS:
        explainer = xai.load(bundle.folder, session=session, trust=True, threads=1)
        assert explainer.answers.names == variant.explainer.answers.names
        for c, case in enumerate(variant.cases):
            found = explain(explainer, variant, c)
            assert {e.answer.text for e in found} == {case["answer"]}
            assert compare(variant, c, found) == 20


def test_a_bundle_is_verified_against_the_model_that_it_was_made_of(variants: Callable[[str], Variant], exported) -> None:
    folder, model = str(exported(HUB).folder), str(variants(HUB).model)
    verified = CliRunner().invoke(main, ["verify", folder, "--reference", model])
    assert verified.exit_code == 0, verified.output
    assert "onnx verified" in verified.output
    refused = CliRunner().invoke(main, ["verify", folder, "--reference", str(DATA / "vilt_tiny")])
    assert refused.exit_code == 1
    assert refused.stderr.count("\n") == 1


@pytest.mark.parametrize("name", EXPORTED)
def test_torchscript_runs_where_it_was_not_traced(exported, name: str) -> None:
    with pytest.warns((DeprecationWarning, FutureWarning), match="torch.jit"):
        module = torch.jit.load(exported(name).file(TORCHSCRIPT))
    for graph in exported(name).manifest.graphs:
        assert 'value="cpu"' not in str(getattr(module, graph).graph), graph


@pytest.mark.slow
def test_a_picture_without_a_token_answers_the_same_in_every_session(variants: Callable[[str], Variant], exported) -> None:
    eager = variants("meter_swin_tiny").explainer.session
    inputs = {name: x.numpy() for name, x in make_inputs(eager.family, (2, 5, 3)).items() if name != "direction"}
    inputs["image_mask"][1] = False
    wanted = eager.run("answer", inputs)["logits"]
    for session in FORMATS:
        found = xai.load(exported("meter_swin_tiny").folder, session=session, trust=True, threads=1).session.run("answer", inputs)
        assert error(found["logits"], wanted) < 1e-5


def test_products_in_bfloat16_are_for_the_gradient_that_is_written_out(variant: Variant, tmp_path: Path) -> None:
    family = variant.explainer.session.family
    if variant.name == SNLI:
        lower(family, "bfloat16")
        return
    with pytest.raises(XaiError, match=r"precision bfloat16 exists for METER with CLIP's encoder .* choose another"):
        lower(family, "bfloat16")
