"""The published procedure, as `bench/published.py` has it, against the reference's own outputs; and the comparison with it."""

from __future__ import annotations

import json
from functools import partial
from itertools import product

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from xai.base.errors import XaiError
from xai.bench.data.sample import Sample
from xai.bench.perturb.crosscheck import cross_check
from xai.bench.perturb.plan import MODALITIES, SIGNS
from xai.bench.perturb.request import Request, table_methods
from xai.bench.published import ReferenceFails, arpack_fiedler, published_relevance, record, run_published, with_parameter_gradients
from xai.cli import main
from xai.runtime.inputs.decode import open_image
from xai.runtime.inputs.resize import preprocess
from xai.runtime.sessions.memory import Memory

MEMORY = Memory(2**30, 128, 3)
KEYS = ["dsm", "dsm_grad", "dsm_grad_cam", "dsm_grad@all", "dsm_grad_cam@all"]
KEYS += ["rm", "transformer_attr", "attn_gradcam", "rollout", "raw_attn"]


def inputs(golden, case: int) -> tuple[torch.Tensor, torch.Tensor]:
    pixels, _ = preprocess(open_image(golden.image(case)), golden.explainer.session.description)
    return torch.from_numpy(pixels)[None], torch.tensor(golden.cases[case]["ids"])[None]


def sample(golden, case: int) -> Sample:
    asked = golden.cases[case]
    return Sample(str(case), asked["image"], asked["question"], asked["label"], partial(golden.image, case))


def test_its_relevances_are_the_references(tiny) -> None:
    model = tiny.explainer.session.model
    compared = 0
    for c in range(len(tiny.cases)):
        with with_parameter_gradients(model):
            found = record(model, *inputs(tiny, c))
        for key in KEYS:
            if f"{c}/{key}/text" not in tiny.expected:
                continue
            name, _, layers = key.partition("@")
            for stream, own in zip(("text", "image"), published_relevance(found, name, layers or None), strict=True):
                expected = tiny.expected[f"{c}/{key}/{stream}"]
                assert np.abs(own.numpy() - expected).max() <= 1e-4 * np.abs(expected).max(), (c, key, stream)
                compared += 1
    assert compared == sum(name.count("/") == 2 and name.split("/")[1] in KEYS for name in tiny.expected) > 80


def test_its_runs_are_the_references(tiny) -> None:
    model = tiny.explainer.session.model
    for key, modality, sign in product(("dsm_grad", "attn_gradcam", "rm"), MODALITIES, SIGNS):
        with with_parameter_gradients(model):
            found = run_published(model, *inputs(tiny, 4), key, "first", modality, sign)
        expected = tiny.expected[f"4/{key}/perturb/{modality}/{sign}/logits"]
        assert np.abs(found.logits - expected).max() < 1e-4, (key, modality, sign)
    assert all(p.grad is None and not p.requires_grad for p in model.parameters())


def test_it_fails_where_the_published_code_does() -> None:
    with pytest.raises(ReferenceFails):
        arpack_fiedler(torch.ones(3, 4))


def test_the_engine_equals_it_but_for_ties(tiny) -> None:
    request = Request(table_methods(["all", "dsmi-grad@all"]), MEMORY, 2)
    checked = cross_check(tiny.explainer, tiny.explainer, [sample(tiny, c) for c in (0, 4)], request)
    assert checked.steps == 2 * 9 * 4 * 9
    assert checked.same_tokens + len(checked.ties) == checked.steps
    assert not checked.answers_differing
    assert not checked.orders_differing
    assert not checked.fails_in_reference
    assert all("grad-cam" in where for where in checked.ties)  # the one method that scores many tokens alike
    assert checked.max_logit_difference < 1e-4


class Wrong:
    """A session whose model answers otherwise once tokens are gone."""

    def __init__(self, session) -> None:
        self.session = session
        self.name, self.precision, self.description = "wrong", session.precision, session.description
        self.device = session.device

    def run(self, graph, inputs, outputs=None):
        found = self.session.run(graph, inputs, outputs)
        return found | {"logits": found["logits"] + np.eye(17)[3] * 0.01} if graph == "answer" else found


def test_a_difference_is_found_and_named(tiny) -> None:
    from xai.runtime.explainer import Explainer

    wrong = Explainer(Wrong(tiny.explainer.session), tiny.explainer.encoder, tiny.explainer.answers)
    request = Request(table_methods(["rollout"]), MEMORY, 2, ("text",), ("negative",))
    checked = cross_check(wrong, tiny.explainer, [sample(tiny, 0), sample(tiny, 0)], request)
    assert len(checked.answers_differing) == 2 * 8  # all but the unperturbed steps
    assert checked.answers_differing[0].startswith("question 0, rollout, text negative, 5 tokens kept: a logit differs by 1.0e-02")
    assert checked.answers_differing[0] in checked.summary()
    with pytest.raises(XaiError, match="eager PyTorch"):
        cross_check(tiny.explainer, wrong, [sample(tiny, 0)], request)


@pytest.mark.filterwarnings("default:.*left out:UserWarning")
def test_the_command_checks_and_reports(tiny, tmp_path) -> None:
    entry = {"image": str(tiny.image(0)), "question": tiny.cases[0]["question"], "label": tiny.cases[0]["label"]}
    (tmp_path / "questions.jsonl").write_text(json.dumps(entry))
    arguments = ["--data", str(tmp_path), "--methods", "dsmi-grad", "--cross-check", "1", "-o", str(tmp_path / "out")]
    result = CliRunner().invoke(main, ["bench", "perturb", *arguments, *tiny.cli_options])
    assert result.exit_code == 0, result.output
    assert "times as fast" in result.stderr
    content = json.loads((tmp_path / "out" / "cross_check.json").read_text())
    assert content["steps"] == content["same_tokens"] == 36
    assert content["speed_ratio"] > 0
