"""Answers with patches or words left out, and images that are kept: identities with explaining and with the perturbation test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import xai
from xai.base.errors import BadInput
from xai.bench.perturb.answering import answer_subsets, encode_questions
from xai.bench.perturb.plan import QuestionPlan, Subset
from xai.runtime.inputs.kept import KeptImages
from xai.runtime.masked.prediction import Asked
from xai.runtime.sessions.memory import session_memory

IMAGE = Path(__file__).parents[2] / "examples" / "scene2.png"
QUESTION = "Is the black circle left of the red rectangle?"


@pytest.fixture(scope="module")
def explainer():
    return xai.load()


def test_the_whole_answer_is_the_one_that_is_explained(explainer) -> None:
    found, explained = explainer.answer(IMAGE, QUESTION), explainer.explain(IMAGE, QUESTION)
    assert found.answer.id == explained.answer.id
    assert found.answer.logit == pytest.approx(explained.answer.logit, abs=1e-4)
    assert [a.id for a in found.top] == [a.id for a in explained.top]
    assert found.to_json()["words"] == explained.to_json()["words"]


def test_leaving_out_is_what_the_perturbation_test_does(explainer) -> None:
    session, question = explainer.session, explainer.encoder.encode(QUESTION)
    memory = session_memory(session, 2**30)
    image = explainer.prepare(IMAGE)
    patches = np.zeros((session.description.grid,) * 2, dtype=bool)
    patches[::2] = True
    words = np.arange(len(question.words)) == 2
    kept_patches = np.flatnonzero(~patches)
    kept_tokens = np.array([i for i in range(len(question.tokens) - 2) if i + 1 not in question.words[2].tokens])
    patches_of_all, words_of_all = np.arange(session.description.grid**2), np.arange(len(question.tokens) - 2)
    kept = (Subset(patches_of_all, words_of_all), Subset(kept_patches, words_of_all), Subset(patches_of_all, kept_tokens))
    plan = QuestionPlan(kept, {})
    whole = np.zeros(session.description.answers)
    questions = encode_questions(session, [(image.pixels,)], [question.ids], memory)
    (expected,) = answer_subsets(session, questions, [plan], [whole], memory)
    for row, masks in ((1, {"without_patches": patches}), (2, {"without_words": words})):
        found = explainer.answer(image, QUESTION, **masks, top_k=session.description.answers)
        logits = {answer.id: answer.logit for answer in found.top}
        assert [logits[i] for i in range(len(logits))] == expected[row].tolist()
    found = explainer.answer(image, QUESTION, without_patches=patches, without_words=words)
    assert (found.without_patches, found.without_words) == (tuple(np.flatnonzero(patches)), (2,))


def test_a_batch_answers_as_each_alone_does(explainer) -> None:
    grid = explainer.session.description.grid
    masks = [None, np.eye(grid, dtype=bool), np.ones((grid, grid), dtype=bool)]
    asked = [Asked(IMAGE, question, mask) for mask in masks for question in (QUESTION, "Which shape is black?")]
    for one, found in zip(asked, explainer.answer_batch(asked), strict=True):
        alone = explainer.answer(one.image, one.question, without_patches=one.without_patches)
        assert found.answer.id == alone.answer.id
        assert found.answer.logit == pytest.approx(alone.answer.logit, abs=1e-4)
    assert explainer.answer_batch([]) == []


@pytest.mark.parametrize(
    "masks",
    [{"without_patches": np.zeros(3, dtype=bool)}, {"without_words": np.zeros(99, dtype=bool)}, {"without_words": np.zeros(9)}],
)
def test_a_mask_that_does_not_fit(explainer, masks) -> None:
    with pytest.raises(BadInput, match="one boolean for each of the"):
        explainer.answer(IMAGE, QUESTION, **masks)


def test_targets_and_seeds_for_each_pair(explainer) -> None:
    pairs = [(IMAGE, QUESTION)] * 3
    found = explainer.explain_batch(pairs, ["dsmi-grad", "random"], ["yes", None, "no"], seed=[0, 0, 7])
    for (spectral, floor), target, seed in zip(found, ["yes", None, "no"], [0, 0, 7], strict=True):
        alone = explainer.explain_methods(IMAGE, QUESTION, ["dsmi-grad", "random"], target, seed=seed)
        assert spectral.target.id == alone[0].target.id
        np.testing.assert_allclose(spectral.image_relevance, alone[0].image_relevance, atol=1e-4 * alone[0].image_relevance.max())
        np.testing.assert_array_equal(floor.image_relevance, alone[1].image_relevance)


def test_targets_and_seeds_must_be_one_for_each_pair(explainer) -> None:
    for lists in ({"target": ["yes"]}, {"seed": [1, 2, 3]}, {"target": []}):
        with pytest.raises(BadInput, match="for 2 pairs: give one for each"):
            explainer.explain_batch([(IMAGE, QUESTION)] * 2, **lists)


def test_an_image_that_was_kept_is_not_encoded_again() -> None:
    explainer = xai.load()
    ran = []
    session, run = explainer.session, explainer.session.run
    session.run = lambda graph, *rest: ran.append(graph) or run(graph, *rest)
    explainer.kept = KeptImages(10**7)
    first = explainer.explain(IMAGE, QUESTION)
    again = explainer.explain(IMAGE, "Which shape is black?")
    assert ran.count("encode_image") == 1
    assert (explainer.kept.hits, explainer.kept.misses, len(explainer.kept)) == (1, 1, 1)
    repeated = explainer.explain(IMAGE, QUESTION)
    np.testing.assert_array_equal(first.image_relevance, repeated.image_relevance)
    assert again.question.text == "Which shape is black?"


def test_the_least_recently_used_image_goes_first() -> None:
    tokens = np.ones((2, 3), np.float32)
    kept = KeptImages(2 * tokens.nbytes)
    kept.keep(b"a", tokens)
    kept.keep(b"b", tokens)
    assert kept.find(b"a") is not None
    kept.keep(b"c", tokens)
    assert [kept.find(key) is None for key in (b"a", b"b", b"c")] == [False, True, False]
    assert kept.bytes == 2 * tokens.nbytes
    kept.keep(b"huge", np.ones((9, 9), np.float32))
    assert kept.find(b"huge") is None
    assert kept.bytes == 2 * tokens.nbytes
