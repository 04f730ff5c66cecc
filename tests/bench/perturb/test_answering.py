"""The engine of the perturbation test against the reference's own answers, and its identities."""

from __future__ import annotations

import re
from itertools import product

import numpy as np
import pytest
import torch

from xai.base.errors import XaiError
from xai.bench.measures.areas import Curve, curve_rows
from xai.bench.perturb.answering import Questions, answer_subsets, encode_questions, explain_questions
from xai.bench.perturb.plan import (
    MODALITIES,
    SIGNS,
    QuestionPlan,
    keeping_order,
    min_max,
    published_counts,
)
from xai.bench.perturb.request import table_methods
from xai.runtime.description import Special
from xai.runtime.inputs.decode import open_image
from xai.runtime.inputs.resize import preprocess
from xai.runtime.methods import METHODS, find_methods
from xai.runtime.relevance import Relevance
from xai.runtime.sessions.memory import Memory, session_memory
from xai.tests.bench.perturb.plans import published_plan, scope_of

REFERENCE = {m.reference_name: m.name for m in METHODS.values() if m.published and m.name != "random"}
KEYS = list(REFERENCE)
BIG = 2**30
WORDS = Special(1, 1)


class Counting:
    """A session that keeps what it was asked to run."""

    def __init__(self, session) -> None:
        self.session, self.calls = session, []
        self.name, self.precision, self.description = session.name, session.precision, session.description
        self.device = session.device

    def run(self, graph, inputs, outputs=None):
        self.calls.append((graph, {name: value.shape for name, value in inputs.items()}))
        return self.session.run(graph, inputs, outputs)


def questions_of(golden, session, memory, cases=None) -> Questions:
    cases = range(len(golden.cases)) if cases is None else cases
    pictures = [(preprocess(open_image(golden.image(c)), session.description)[0],) for c in cases]
    return encode_questions(session, pictures, [np.array(golden.cases[c]["ids"]) for c in cases], memory)


def reference_relevances(golden, case: int) -> dict[str, Relevance]:
    """What the reference computed, by key; it fails on some questions."""
    expected = golden.expected
    return {
        key: Relevance(expected[f"{case}/{key}/text"], expected[f"{case}/{key}/image"])
        for key in KEYS
        if f"{case}/{key}/text" in expected and f"{case}/{key}/image" in expected
    }


def tied(values: np.ndarray, sign: str, count: int) -> bool:
    """Whether the scores leave open which tokens are kept: equal ones lie on both sides of the cut."""
    order = keeping_order(values, sign)
    return 0 < count < len(values) and min_max(values)[order[count - 1]] == min_max(values)[order[count]]


def reference_choice(values: np.ndarray, sign: str, count: int) -> np.ndarray:
    """What the reference keeps: torch's choice among equals is its own."""
    score = torch.from_numpy(min_max(values).copy())
    return np.sort((-score if sign == "positive" else score).topk(count)[1].numpy())


def test_logits_equal_the_reference_given_its_relevances(golden) -> None:
    """Every step; where a tie leaves the subset open, the reference's choice among equals must give its logits."""
    session = golden.explainer.session
    memory = session_memory(session, BIG)
    compared = open_steps = 0
    for c in range(len(golden.cases)):
        questions = questions_of(golden, session, memory, [c])
        whole = golden.expected[f"{c}/logits"].ravel().astype(float)
        found = reference_relevances(golden, c)
        maps, plan = published_plan(list(found.values()), WORDS)
        asked, places = plan.asked["published"], curve_rows(maps, scope_of(len(found)))
        (logits,) = answer_subsets(session, questions, [plan], [whole], memory)
        for (m, (key, relevance)), modality, sign in product(enumerate(found.items()), MODALITIES, SIGNS):
            name = f"{c}/{key}/perturb/{modality}/{sign}"
            if f"{name}/argmax" not in golden.expected:
                continue
            values = relevance.image if modality == "image" else relevance.text[1:-1]
            counts = published_counts(len(values))
            rows = logits[[asked[places[Curve(m, modality, sign), count]] for count in counts]]
            choices = [(i, count) for i, count in enumerate(counts) if tied(values, sign, count)]
            if choices:
                chosen = (maps.keep(**{modality: reference_choice(values, sign, count)}) for _, count in choices)
                (again,) = answer_subsets(session, questions, [QuestionPlan((plan.subsets[0], *chosen), {})], [whole], memory)
                rows[[i for i, _ in choices]] = again[1:]
                assert key == "attn_gradcam"  # the only method here that gives many tokens the very same score
            assert np.array_equal(rows.argmax(1), golden.expected[f"{name}/argmax"]), name
            assert np.abs(rows - golden.expected[f"{name}/logits"]).max() < 1e-4, name
            names = golden.content["labels"]
            accuracies = [golden.cases[c]["label"].get(names[row.argmax()], 0) for row in rows]
            assert np.allclose(accuracies, golden.expected[f"{name}/accuracy"]), name
            compared += len(counts)
            open_steps += len(choices)
    assert compared == 9 * sum(name.endswith("/argmax") for name in golden.expected) > 0
    assert open_steps < 0.05 * compared


def test_each_image_is_encoded_once_evidence_runs_once_and_each_subset_once(tiny) -> None:
    memory = Memory(BIG, 128, 3)
    session = Counting(tiny.explainer.session)
    variants = table_methods(["all", "dsmi-grad@all"])
    questions = questions_of(tiny, session, memory, [0, 1, 2, 0])
    explained = explain_questions(session, questions, variants, range(4), memory)
    plans = [published_plan(one.relevances, WORDS)[1] for one in explained]
    answer_subsets(session, questions, plans, [one.logits for one in explained], memory)
    assert sum(shapes["pixels"][0] for graph, shapes in session.calls if graph == "encode_image") == 3
    assert sum(shapes["direction"][0] for graph, shapes in session.calls if graph == "evidence") == 4
    answered = sum(shapes["image_mask"][0] for graph, shapes in session.calls if graph == "answer")
    assert answered == sum(len(plan.subsets) - 1 for plan in plans)


def test_memory_bounds_every_run_and_changes_no_answer(tiny) -> None:
    session = Counting(tiny.explainer.session)
    variants = table_methods(["dsmi-grad", "rollout"])
    results = []
    for limit in (BIG, 3_000_000):
        memory = Memory(limit, 128, 3)
        session.calls.clear()
        questions = questions_of(tiny, session, memory)
        explained = explain_questions(session, questions, variants, range(6), memory)
        plans = [published_plan(one.relevances, WORDS)[1] for one in explained]
        results.append(answer_subsets(session, questions, plans, [one.logits for one in explained], memory))
        for graph, shapes in session.calls:
            if graph == "answer":
                rows, image = shapes["image_mask"]
                assert rows <= memory.answers(image, shapes["text_mask"][1])
    assert all(np.abs(a - b).max() < 1e-4 for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("modality", MODALITIES)
def test_dropping_by_mask_equals_dropping_by_shorter_input(tiny, modality) -> None:
    session = tiny.explainer.session
    memory = session_memory(session, BIG)
    rng = np.random.default_rng(0)
    case = len(tiny.cases) - 1
    questions = questions_of(tiny, session, memory, [case])
    words, patches = len(tiny.cases[case]["ids"]) - 2, 36
    relevance = Relevance(np.concatenate([[0], rng.random(words), [0]]), rng.random(patches))
    _, plan = published_plan([relevance], WORDS, [modality])
    (logits,) = answer_subsets(session, questions, [plan], [np.zeros(17)], memory)
    embeddings = session.run("embed_text", {"ids": questions.ids[0][None]})["text_embeddings"]
    for subset, shorter in zip(plan.subsets[1:], logits[1:], strict=True):
        image_mask, text_mask = np.ones((1, patches + 1), bool), np.ones((1, words + 2), bool)
        if modality == "image":
            image_mask[0, 1:] = np.isin(np.arange(patches), subset.image)
        else:
            text_mask[0, 1:-1] = np.isin(np.arange(words), subset.text)
        inputs = {"image_tokens": questions.images.tokens, "image_mask": image_mask, "text_embeddings": embeddings, "text_mask": text_mask}
        assert np.abs(session.run("answer", inputs)["logits"][0] - shorter).max() < 1e-5


def test_the_floor_differs_between_questions_and_repeats(tiny) -> None:
    session, memory = tiny.explainer.session, Memory(BIG, 128, 3)
    questions = questions_of(tiny, session, memory, [0, 0])
    variants = table_methods(["raw-attention"])
    first, again = (explain_questions(session, questions, variants, (7, 8), memory) for _ in range(2))
    assert [v.name for v in variants] == ["raw-attention", "random"]
    assert not np.array_equal(first[0].relevances[1].image, first[1].relevances[1].image)
    assert np.array_equal(first[1].relevances[1].image, again[1].relevances[1].image)
    assert np.array_equal(first[0].relevances[0].image, first[1].relevances[0].image)


def test_variants() -> None:
    names = [v.name for v in table_methods(["all", "dsm_grad@all", "rm"])]
    assert names == [*(m.name for m in find_methods("all") if m.name != "random"), "dsmi-grad@all", "random"]
    assert {v.name: v.layers for v in table_methods(["dsmi", "dsmi-grad", "dsmi-grad@all"])} == {
        "dsmi": None,
        "dsmi-grad": "first",
        "dsmi-grad@all": "all",
        "random": None,
    }
    for name in ("lime", "rollout@all", "dsmi-grad@last"):
        with pytest.raises(XaiError, match="choose from dsmi"):
            table_methods([name])


def test_both_choices_of_layers_equal_the_explainers(tiny) -> None:
    session, memory = tiny.explainer.session, Memory(BIG, 128, 3)
    variants = table_methods(["dsmi-grad", "dsmi-grad@all"])
    (found,) = explain_questions(session, questions_of(tiny, session, memory, [0]), variants, [0], memory)
    for variant, relevance in zip(variants, found.relevances, strict=False):
        expected = tiny.explainer.explain(tiny.image(0), tiny.cases[0]["question"], variant.name)
        assert np.allclose(relevance.image, expected.image_relevance.ravel(), rtol=1e-5)


def test_an_answer_to_a_subset_that_is_no_number_names_the_model(tiny, monkeypatch) -> None:
    """Else the run would write NaN, and blame the file of results for it."""
    session = tiny.explainer.session
    memory = session_memory(session, BIG)
    questions = questions_of(tiny, session, memory, [0])
    _, plan = published_plan([Relevance(np.zeros(len(tiny.cases[0]["ids"])), np.zeros(36))], WORDS)
    run = session.run

    def overflowing(*given):
        return {name: value * np.inf if name == "logits" else value for name, value in run(*given).items()}

    monkeypatch.setattr(session, "run", overflowing)
    with pytest.raises(XaiError, match=re.escape(f"the answer of {tiny.checkpoint} is not a number")):
        answer_subsets(session, questions, [plan], [np.zeros(17)], memory)
