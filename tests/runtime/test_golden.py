"""Every method against the reference's relevances, through the public API and through the command."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from xai.cli import main
from xai.runtime.methods import METHODS

REFERENCE_METHODS = [method for method in METHODS.values() if method.published and method.name != "random" and not method.lrp]
MIN_GAP = 1e-3  # a Fiedler vector is only defined as well as its eigengap is open


def variants(explainer, image, question):
    """Explanations by reference key, such as `dsm_grad@all`."""
    first, every = ([m.name for m in REFERENCE_METHODS if (m.layers == "all") == whole] for whole in (False, True))
    found = explainer.explain_methods(image, question, first) + explainer.explain_methods(image, question, every)
    return {_key(e.method, e.layers): e for e in found}


def _key(method: str, layers: str | None) -> str:
    return METHODS[method].reference_name + ("@all" if layers == "all" else "")


def comparable(expected: np.ndarray, found: np.ndarray, solver: list[dict]) -> bool:
    """Whether a reference vector can be compared: its graphs' eigengaps are open. Also checks shape and finiteness."""
    assert expected.shape == found.shape
    assert np.isfinite(found).all()
    return all(report["gap"] is None or report["gap"] > MIN_GAP for report in solver)


def assert_equal(golden, case: int, key: str, text: np.ndarray, image: np.ndarray, solver: list[dict]) -> int:
    """Compare one variant; returns how many of its two vectors were compared."""
    failing = {name for name, _ in golden.cases[case]["fails_in_reference"]}
    compared = 0
    for stream, found in (("text", text), ("image", image)):
        assert np.isfinite(found).all(), (key, stream)
        name = f"{case}/{key}/{stream}"
        if name not in golden.expected:
            assert key in failing
            continue
        expected = golden.expected[name]
        if comparable(expected, found, [r for r in solver if r["graph"].startswith(stream)]):
            assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max(), name
            compared += 1
    return compared


def test_relevances_equal_the_reference(golden) -> None:
    compared = total = 0
    for c, case in enumerate(golden.cases):
        found = variants(golden.explainer, golden.image(c), case["question"])
        assert len(found) == 10
        for key, e in found.items():
            assert e.answer.text == case["answer"]
            solver = [vars(report) for report in e.solver]
            compared += assert_equal(golden, c, key, e.text_relevance, e.image_relevance.ravel(), solver)
        total += sum(f"{c}/{key}/{stream}" in golden.expected for key in found for stream in ("text", "image"))
    assert compared == total  # no eigengap of these cases is closed


def test_what_fails_in_the_reference_is_defined_and_flagged(tiny) -> None:
    for c, case in enumerate(tiny.cases):
        content = len(case["ids"]) - 2
        for e in variants(tiny.explainer, tiny.image(c), case["question"]).values():
            assert np.isfinite(e.text_relevance).all()
            text = [report for report in e.solver if report.graph.startswith("text")]
            if content == 1 and text:
                assert {report.status for report in text} == {"trivial"}
                assert e.notes
            if content == 2 and e.method == "dsmi":
                assert e.text_relevance[1] == pytest.approx(e.text_relevance[2], rel=1e-6)
                assert e.text_relevance[1] > 0


@pytest.mark.filterwarnings("default:.*left out:UserWarning")
def test_the_command_gives_the_same_numbers(golden, tmp_path) -> None:
    for c, case in enumerate(golden.cases):
        result = {}
        for layers in ("first", "all"):
            arguments = ["explain", str(golden.image(c)), case["question"], *golden.cli_options, "--layers", layers]
            run = CliRunner().invoke(main, [*arguments, "--method", "all", "--json", "-"])
            assert run.exit_code == 0, run.output
            result[layers] = json.loads(run.stdout)
        found = result["first"]
        assert found["answer"]["id"] == case["answer_id"]
        assert found["token_ids"] == case["ids"]
        assert abs(found["answer"]["logit"] - golden.expected[f"{c}/logits"].max()) < 1e-4
        for layers, content in result.items():
            for e in content["explanations"]:
                if METHODS[e["method"]] in REFERENCE_METHODS and (layers == "first" or e["layers"] == "all"):
                    text, image = np.array(e["text_relevance"]), np.array(e["image_relevance"])
                    assert len(image) == content["grid"][0] * content["grid"][1]
                    assert_equal(golden, c, _key(e["method"], e["layers"]), text, image, e["solver"])
