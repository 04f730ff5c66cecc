"""Exported graphs against eager autograd and the reference, at shapes that no export has seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from xai.base.errors import XaiError
from xai.export.modules import list_graphs
from xai.export.onnx import export_graphs, write_graphs
from xai.export.torchscript import trace_graphs, write_torchscript
from xai.models.eager import EagerSession
from xai.runtime.bundle.manifest import FORMATS, Bundle, FileRecord
from xai.runtime.bundle.parity import MIN_GAP
from xai.runtime.engine import explain_tokens
from xai.runtime.inputs.decode import open_image
from xai.runtime.inputs.encode import encode_images
from xai.runtime.inputs.resize import preprocess
from xai.runtime.methods import METHODS
from xai.runtime.sessions.open import open_session
from xai.runtime.sessions.protocol import Session
from xai.runtime.target import Contrast, directions
from xai.tests.contrasts import DEPENDENT, by_formula, check_relevances

Inputs = dict[str, NDArray[Any]]

SHAPES = [(1, 1, 2), (1, 3, 2), (3, 12, 2), (1, 1, 37), (3, 3, 37), (1, 40, 37), (3, 1, 577), (1, 12, 577), (3, 40, 577), (1, 3, 1297)]
"""(B, T, N); the exports are traced at (2, 5, 7)."""


def make_inputs(session: EagerSession, batch: int, tokens: int, patches: int, padded: bool, seed: int = 0) -> Inputs:
    rng = np.random.default_rng(seed)
    text_mask, image_mask = np.ones((batch, tokens), dtype=bool), np.ones((batch, patches), dtype=bool)
    if padded:
        text_mask[0, max(1, tokens - 2) :] = False
        image_mask[-1, max(1, patches - 3) :] = False
    return {
        "image_tokens": rng.standard_normal((batch, patches, session.description.image_width), dtype=np.float32),
        "image_mask": image_mask,
        "text_embeddings": rng.standard_normal((batch, tokens, session.description.text_width), dtype=np.float32),
        "text_mask": text_mask,
        "direction": directions(rng.integers(-1, session.description.answers, batch).tolist(), session.description.answers),
    }


def error(found: NDArray[Any], expected: NDArray[Any]) -> float:
    assert found.shape == expected.shape
    return float(abs(found - expected).max() / max(abs(expected).max(), 1e-30))


@pytest.fixture(scope="module")
def eager(goldens: Callable[[str], Any]) -> EagerSession:
    return goldens("tiny").explainer.session


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_any_shape_gives_what_autograd_gives(
    exported_session: Session, eager: EagerSession, shape: tuple[int, int, int], padded: bool
) -> None:
    inputs = make_inputs(eager, *shape, padded)
    for graph in ("evidence",) if shape[2] > 600 else ("evidence", "maps"):
        expected = eager.run(graph, inputs)
        found = exported_session.run(graph, inputs)
        assert set(found) == set(expected)
        scale = max(abs(value).max() for name, value in expected.items() if name.endswith(("/gradient", "/grad")))
        for name in found:
            # Sums that cancel cannot be better than what is summed: Grad-CAM's by design, others where a stream has one token.
            size = max(abs(expected[name]).max(), scale * (1 if name.endswith("grad-cam") else 0.2))
            assert abs(found[name] - expected[name]).max() <= 2e-5 * size, name


@pytest.mark.parametrize("shape", [(1, 1), (3, 12), (2, 40)])
def test_any_text_is_embedded_and_any_number_of_images_encoded(
    exported_session: Session, eager: EagerSession, shape: tuple[int, int]
) -> None:
    rng = np.random.default_rng(1)
    for graph, inputs in (
        ("embed_text", {"ids": rng.integers(0, 120, shape)}),
        ("encode_image", {"pixels": rng.standard_normal((shape[0], 3, 96, 96), dtype=np.float32)}),
    ):
        expected, found = eager.run(graph, inputs), exported_session.run(graph, inputs)
        assert all(error(found[name], expected[name]) <= 1e-5 for name in expected)


def test_the_small_graphs_agree_with_the_large_one(exported_session: Session, eager: EagerSession) -> None:
    inputs = make_inputs(eager, 2, 6, 30, padded=True)
    large = exported_session.run("evidence", inputs)
    some = ["image0/self/gradient", "logits", "encoder1/self/product"]
    small = exported_session.run("evidence", inputs, some)
    assert list(small) == some
    assert all(error(small[name], large[name]) <= 1e-5 for name in some)
    del inputs["direction"]
    assert error(exported_session.run("answer", inputs)["logits"], large["logits"]) <= 1e-5


def test_gradients_change_with_the_input_and_with_the_target(exported_session: Session, eager: EagerSession) -> None:
    base = {**make_inputs(eager, 2, 6, 30, padded=False), "direction": directions([3, 4], eager.description.answers)}
    grads = [name for name in exported_session.run("maps", base) if name.endswith("/grad")]
    assert grads
    one = exported_session.run("maps", base, grads)
    swapped, other = directions([4, 3], eager.description.answers), make_inputs(eager, 2, 6, 30, padded=False, seed=5)
    for changed in ({**base, "direction": swapped}, {**other, "direction": base["direction"]}):
        found = exported_session.run("maps", changed, grads)
        assert all(error(found[name], one[name]) > 1e-2 for name in grads)


@pytest.mark.parametrize("target", [Contrast(4, 7), Contrast(7, 4), Contrast(0, 9)], ids=str)
def test_contrasts_are_those_of_autograd_in_double_precision(
    exported_session: Session, eager: EagerSession, goldens: Callable[[str], Any], target: Contrast
) -> None:
    tiny = goldens("tiny")
    for c, case in enumerate(tiny.cases):
        pixels, _ = preprocess(open_image(tiny.image(c)), eager.description)
        tokens, ids = encode_images(eager, pixels[None]), np.array(case["ids"])
        (found,) = explain_tokens(exported_session, tokens, [ids], [target], DEPENDENT)
        check_relevances(found.relevances, by_formula(eager.family, tokens, ids, target))


def test_a_padded_batch_equals_single_runs(exported_session: Session, eager: EagerSession) -> None:
    rng = np.random.default_rng(2)
    tokens = rng.standard_normal((3, 37, eager.description.image_width), dtype=np.float32)
    questions = [np.array([0, *rng.integers(4, 120, n), 2]) for n in (1, 9, 4)]
    methods = [method for method in METHODS.values() if method.name != "random" and not method.lrp]
    together = explain_tokens(exported_session, tokens, questions, [-1, 2, -1], methods)
    for b, target in enumerate([-1, 2, -1]):
        alone = explain_tokens(exported_session, tokens[b : b + 1], [questions[b]], [target], methods)[0]
        assert error(together[b].logits, alone.logits) <= 1e-5
        gaps = {stream: min([r.gap for r in alone.solver if r.graph.startswith(stream)]) for stream in ("text", "image")}
        for method, ours, single in zip(methods, together[b].relevances, alone.relevances, strict=True):
            for stream in ("text", "image"):
                loose = method.name.startswith("dsmi") or method.name == "grad-cam"  # rounding is divided by the gap, or by a cancelled sum
                if loose and gaps[stream] < MIN_GAP:
                    continue
                assert error(getattr(ours, stream), getattr(single, stream)) <= (1e-3 if loose else 1e-5), (method.name, stream)


@pytest.fixture(scope="module")
def encoder_alone(goldens: Callable[[str], Any], bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The image encoder of the resized model in both formats. The rest of that model is the tiny one but for the answers' bias."""
    tiny, resized = (goldens(name).explainer.session.family for name in ("tiny", "tiny_resized"))
    others = {
        name.removeprefix("model.") for name, value in tiny.state_dict().items() if not torch.equal(value, resized.state_dict()[name])
    }
    assert others == {"vit_model.visual.positional_embedding", "vqa_classifier.3.bias"}
    graphs = [graph for graph in list_graphs(resized, with_maps=False) if graph.name == "encode_image"]
    folder = tmp_path_factory.mktemp("encoder")
    write_graphs(export_graphs(graphs), folder)
    write_torchscript(trace_graphs(graphs), folder)
    files = {name: FileRecord("", 0) for name in ("encode_image.onnx", "graphs.pt")}
    specs = {graph.name: graph.spec for graph in graphs}
    return Bundle(folder, replace(bundle.manifest, model=resized.description, graphs=specs, files=files))


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", ["tiny", "tiny_resized"])
def test_bundles_meet_the_references_tolerances(
    name: str, form: str, bundle: Bundle, encoder_alone: Bundle, goldens: Callable[[str], Any]
) -> None:
    golden, session = goldens(name), open_session(bundle, form, trust=True, threads=1)
    encoder = session if name == "tiny" else open_session(encoder_alone, form, trust=True, threads=1)
    biases = [goldens(one).explainer.session.model.vqa_classifier[3].bias.numpy() for one in (name, "tiny")]
    compared = 0
    largest = max((abs(golden.expected[key]).max() for key in golden.expected if key.endswith("/grad")), default=0.0)
    for i, case in enumerate(golden.cases):
        pixels, _ = preprocess(open_image(golden.image(i)), encoder.description)
        tokens, ids = encode_images(encoder, pixels[None]), np.array(case["ids"])
        target = -1 if name == "tiny" else int(golden.expected[f"{i}/logits"].argmax())
        for layers in ("first", "all"):
            methods = [m for m in METHODS.values() if m.name != "random" and not m.lrp and (m.layers == "all") == (layers == "all")]
            one = explain_tokens(session, tokens, [ids], [target], methods)[0]
            assert abs(one.logits + (biases[0] - biases[1]) - golden.expected[f"{i}/logits"]).max() <= 1e-4
            for method, relevance in zip(methods, one.relevances, strict=True):
                for stream in ("text", "image"):
                    key = f"{i}/{method.reference_name}/{stream}"
                    narrow = [r for r in one.solver if r.graph.startswith(stream) and r.gap < MIN_GAP]
                    if key in golden.expected and not (method.name.startswith("dsmi") and narrow):
                        found, wanted = getattr(relevance, stream), golden.expected[key]
                        # One of Grad-CAM's sums cancels to a 100,000th of its gradients: 1e-8 of those is a tenth of float32's rounding.
                        size = max(abs(wanted).max(), 1e-4 * largest if method.name == "grad-cam" else 1e-30)
                        assert abs(found - wanted).max() <= 1e-4 * size, key
                        compared += 1
    assert compared >= 20 * len(golden.cases) - 40


def test_the_certificate_says_what_was_compared(bundle: Bundle) -> None:
    manifest = bundle.manifest
    for form in FORMATS:
        measures = manifest.parity["formats"][form]
        variants = {name for name in measures if name.startswith("relevance ")}
        assert len(variants) == 12
        assert {
            "logits",
            "tokens",
            "evidence attention",
            "evidence gradient",
            "evidence product",
            "evidence grad-cam",
            "evidence grad",
        } <= set(measures)
        assert all(0 <= measure["error"] < 1e-3 for measure in measures.values())
    assert manifest.parity["forced"] == []


def test_runs_need_no_autograd(bundle: Bundle, eager: EagerSession) -> None:
    session = open_session(bundle, "torchscript", trust=True)
    inputs = make_inputs(eager, 1, 4, 9, padded=False)
    with torch.inference_mode():
        inside = session.run("evidence", inputs)
    outside = session.run("evidence", inputs)
    assert all((inside[name] == outside[name]).all() for name in inside)


def test_a_direction_among_other_answers_is_one_line(exported_session: Session, eager: EagerSession) -> None:
    inputs = {**make_inputs(eager, 1, 4, 9, padded=False), "direction": np.ones((1, 3), np.float32)}
    with pytest.raises(XaiError, match="evidence") as raised:
        exported_session.run("evidence", inputs)
    assert "\n" not in str(raised.value)
