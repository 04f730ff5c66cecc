"""Bundles of ViLT and LXMERT: both formats against the eager network, against the golden cases, and through the API."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from xai.base.description import TOP_ANSWER
from xai.models.eager import EagerSession
from xai.models.load import load
from xai.runtime.bundle.manifest import FORMATS, TORCHSCRIPT, onnx_file
from xai.runtime.engine import explain_tokens
from xai.runtime.inputs.encode import encode_images, pad_tokens
from xai.runtime.methods import METHODS, find_methods
from xai.runtime.sessions.open import open_session
from xai.runtime.sessions.protocol import Session
from xai.runtime.target import EVERY_ANSWER, Contrast, Target
from xai.tests.contrasts import DEPENDENT, by_formula, check_relevances
from xai.tests.families import FamilyGolden, error, make_inputs

SHAPES = [(2, 7, 10), (1, 3, 37), (3, 12, 4), (1, 30, 5), (2, 5, 3), (1, 1, 1)]  # (B, T, N)
CANCELS = "grad-cam"
"""Sums gradients of both signs: its error is relative to what is summed, not to the sum."""
RELEVANCE = 1e-4
"""Of relevance, which divides by sums that nearly cancel: float64 leaves 1e-6 to 1e-5 of random tokens."""


@pytest.fixture(params=FORMATS)
def session(request: pytest.FixtureRequest, family_bundles, family_golden: FamilyGolden) -> Session:
    return open_session(family_bundles(family_golden.name), request.param, trust=True, threads=1)


def arrays(golden: FamilyGolden, shape: tuple[int, int, int], padded: bool, seed: int = 0) -> dict[str, np.ndarray]:
    found = {name: x.numpy() for name, x in make_inputs(golden.plain, shape, padded, seed).items()}
    return found | {name: found[name].astype(golden.plain.description.token_type) for name in ("image_tokens", "text_embeddings")}


def test_a_bundle_is_certified_and_describes_itself(family_bundles, family_golden: FamilyGolden) -> None:
    bundle = family_bundles(family_golden.name)
    assert bundle.manifest.model == family_golden.plain.description
    assert set(bundle.manifest.parity["formats"]) == set(FORMATS)
    assert not bundle.manifest.parity["forced"]


def test_onnx_files_are_valid_and_their_axes_are_those_of_the_manifest(family_bundles, family_golden: FamilyGolden) -> None:
    bundle = family_bundles(family_golden.name)
    for name, spec in bundle.manifest.graphs.items():
        path = bundle.file(onnx_file(name))
        onnx.checker.check_model(path, full_check=True)
        model = onnx.load(path, load_external_data=False)
        for values, described in ((model.graph.input, spec.inputs), (model.graph.output, spec.outputs)):
            for value, tensor in zip(values, described.values(), strict=True):
                found = [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
                assert found == list(tensor.axes), (name, value.name)


def test_torchscript_runs_where_it_was_not_traced(family_bundles, family_golden: FamilyGolden) -> None:
    bundle = family_bundles(family_golden.name)
    with pytest.warns((DeprecationWarning, FutureWarning), match="torch.jit"):
        module = torch.jit.load(bundle.file(TORCHSCRIPT))
    for name in bundle.manifest.graphs:
        assert 'value="cpu"' not in str(getattr(module, name).graph), name


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_any_shape_gives_what_autograd_gives(
    session: Session, family_golden: FamilyGolden, shape: tuple[int, int, int], padded: bool
) -> None:
    inputs, eager = arrays(family_golden, shape, padded), EagerSession(family_golden.plain)
    for graph in ("maps", "evidence"):
        expected, found = eager.run(graph, inputs), session.run(graph, inputs)
        assert set(found) == set(expected)
        largest = max(float(abs(value).max()) for name, value in eager.run("maps", inputs).items() if name.endswith("/grad"))
        for name, value in found.items():
            floor = 1e-3 * largest if name.endswith((CANCELS, "product", "gradient", "grad")) else 0
            assert abs(value - expected[name]).max() <= 1e-5 * max(float(abs(expected[name]).max()), floor) * (
                10 if name.endswith(CANCELS) else 1
            ), name
    del inputs["direction"]
    assert error(session.run("answer", inputs)["logits"], eager.run("answer", inputs)["logits"]) <= 1e-5


@pytest.mark.parametrize("target", [Contrast(4, 7), Contrast(7, 4), Contrast(0, 9), TOP_ANSWER, EVERY_ANSWER], ids=str)
def test_relevances_are_those_of_autograd_in_double_precision(session: Session, family_golden: FamilyGolden, target: Target) -> None:
    eager = EagerSession(family_golden.plain)
    for c, case in enumerate(family_golden.cases):
        tokens, ids = encode_images(eager, *family_golden.picture(c).values()), np.array(case["ids"])
        (found,) = explain_tokens(session, tokens, [ids], [target], DEPENDENT)
        check_relevances(found.relevances, by_formula(family_golden.plain, tokens, ids, target))


def test_golden_relevances_in_one_padded_batch(session: Session, family_golden: FamilyGolden) -> None:
    """Where a value is stored, the graphs give it; the rest is the eager session's, which `tests/models` compares."""
    cases = range(len(family_golden.cases))
    ids = [np.array(family_golden.cases[c]["ids"]) for c in cases]
    eager = EagerSession(family_golden.plain)
    chosen = [method for method in find_methods("all", eager.description) if method.name != "random"]
    found = []
    for one in (session, eager):
        tokens, mask = pad_tokens([encode_images(one, *family_golden.picture(c).values())[0] for c in cases])
        found.append(explain_tokens(one, tokens, ids, [TOP_ANSWER] * len(ids), chosen, image_mask=mask))
    for c, ours, theirs in zip(cases, *found, strict=True):
        assert abs(ours.logits - family_golden.expected[f"{c}/logits"]).max() < 1e-4
        gaps = {report.graph: report.gap for report in theirs.solver}
        for method, a, b in zip(chosen, ours.relevances, theirs.relevances, strict=True):
            for stream in ("text", "image"):
                narrow = any(not gap > 1e-3 for graph, gap in gaps.items() if stream in (graph.rstrip("0123456789"), graph.split("/")[-1]))
                if not (method.name.startswith("dsmi") and narrow):
                    assert error(getattr(a, stream), getattr(b, stream)) < 1e-4, (c, method.name, stream)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMATS)
def test_relevance_propagation_is_exported_where_it_is_asked_for(family_bundles, family_goldens, form: str) -> None:
    golden: FamilyGolden = family_goldens("lxmert_tiny")
    bundle = family_bundles(golden.name, "--lrp")
    assert bundle.manifest.model == golden.family.description
    session, eager = open_session(bundle, form, trust=True, threads=1), EagerSession(golden.family)
    for shape, padded in ((shape, padded) for shape in SHAPES for padded in (False, True)):
        inputs = {name: x.numpy() for name, x in make_inputs(golden.family, shape, padded, 0).items()}
        inputs |= {name: inputs[name].astype(np.float64) for name in ("image_tokens", "text_embeddings")}
        expected, found = eager.run("lrp", inputs), session.run("lrp", inputs)
        assert set(found) == set(expected)
        assert max(error(value, expected[name]) for name, value in found.items()) <= RELEVANCE
    methods = [method for method in METHODS.values() if method.lrp]
    for c, case in enumerate(golden.cases):
        tokens = encode_images(session, *golden.picture(c).values())
        (found,) = explain_tokens(session, tokens, [np.array(case["ids"])], [TOP_ANSWER], methods)
        for method, relevance in zip(methods, found.relevances, strict=True):
            for stream in ("text", "image"):
                wanted = golden.expected[f"{c}/{method.reference_name}@float64/{stream}"]
                assert error(getattr(relevance, stream), wanted) < 1e-4, (c, method.name, stream)


def test_no_box_at_all_is_one_that_is_masked(family_bundles, family_goldens) -> None:
    golden: FamilyGolden = family_goldens("lxmert_tiny")
    wanted = golden.expected["3/rm/perturb/image/positive/logits"][-1]
    assert not golden.expected["3/rm/perturb/image/positive/kept"][-1].any()
    for form in FORMATS:
        session = open_session(family_bundles("lxmert_tiny"), form, trust=True, threads=1)
        inputs = {
            "image_tokens": np.ones((1, 1, 64), np.float32),
            "image_mask": np.zeros((1, 1), bool),
            "text_embeddings": session.run("embed_text", {"ids": np.array([golden.cases[3]["ids"]])})["text_embeddings"],
            "text_mask": np.ones((1, len(golden.cases[3]["ids"])), bool),
        }
        assert abs(session.run("answer", inputs)["logits"][0] - wanted).max() < 1e-4


@pytest.mark.parametrize("form", FORMATS)
def test_a_vilt_bundle_explains_pictures_of_any_shape(family_bundles, family_goldens, form: str) -> None:
    golden: FamilyGolden = family_goldens("vilt_tiny")
    explainer = load(family_bundles("vilt_tiny").folder, session=form, trust=True, threads=1)
    pairs: list[tuple[Path, str]] = [(golden.folder / case["image"], case["question"]) for case in golden.cases]
    for c, (found,) in enumerate(explainer.explain_batch(pairs, ["relevance-maps"])):
        assert found.answer.text == golden.cases[c]["answer"]
        assert found.image_relevance.shape == tuple(golden.cases[c]["grid"])
        assert error(found.image_relevance.ravel(), golden.expected[f"{c}/rm/image"]) < 1e-4
        assert error(found.text_relevance, golden.expected[f"{c}/rm/text"]) < 1e-4
