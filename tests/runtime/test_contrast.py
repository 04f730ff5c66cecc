"""Contrasts of two answers: identities, what each method says of itself, refusals; and what was published."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

import xai
from xai.base.description import TOP_ANSWER
from xai.base.errors import BadInput
from xai.runtime.answers import Answers
from xai.runtime.description import Description
from xai.runtime.engine import explain_as_published, explain_tokens
from xai.runtime.evidence import of_gradients
from xai.runtime.explainer import Explainer
from xai.runtime.inputs.encode import encode_images
from xai.runtime.inputs.question import EncodedQuestion, Token, Word
from xai.runtime.methods import AS_PUBLISHED, METHODS
from xai.runtime.target import EVERY_ANSWER, Contrast, directions
from xai.tests.families import FamilyGolden

IMAGE = Path(xai.__file__).parent / "examples" / "scene1.png"
QUESTION = "What color is the circle?"
EVERY = [name for name, method in METHODS.items() if not method.lrp]


@pytest.fixture(scope="module")
def explainer() -> Explainer:
    return xai.load()


@pytest.fixture(scope="module")
def red_versus_blue(explainer: Explainer):
    return {e.full_name: e for e in explainer.explain_methods(IMAGE, QUESTION, EVERY, "red", "blue")}


def test_opposite_directions_add_up_to_nothing() -> None:
    assert not directions([Contrast(3, 1)], 5).sum()
    assert not (directions([Contrast(3, 1)], 5) + directions([Contrast(3, 1).opposite], 5)).any()


def test_a_method_depends_on_the_answer_where_it_reads_gradients(explainer, family_golden: FamilyGolden) -> None:
    for description in (explainer.session.description, family_golden.family.description):
        for method in METHODS.values():
            assert bool(of_gradients(method.needs(description))) == (method.dependence != "none"), method.name


def test_the_other_side_of_a_contrast_is_its_opposite(explainer, red_versus_blue) -> None:
    for other in explainer.explain_methods(IMAGE, QUESTION, EVERY, "blue", "red"):
        one, dependence = red_versus_blue[other.full_name], METHODS[other.full_name].dependence
        assert one.signed == other.signed == (dependence == "linear")
        for part in ("image_relevance", "text_relevance", "word_relevance"):
            a, b = getattr(one, part), getattr(other, part)
            if dependence == "linear":
                assert_allclose(a, -b, rtol=0, atol=1e-5 * abs(a).max())
            elif dependence == "none":
                assert (a == b).all()
            else:
                assert a.min() >= 0 and b.min() >= 0
                assert abs(a - b).max() > 1e-3 * a.max()
    assert any(e.image_relevance.min() < 0 < e.image_relevance.max() for e in red_versus_blue.values())


def test_each_explanation_says_what_it_explains(explainer, red_versus_blue) -> None:
    said = {"linear": ("difference", ""), "clamped": ("difference", "has no signs"), "none": (None, "does not depend on the answer")}
    for name, e in red_versus_blue.items():
        explains, note = said[METHODS[name].dependence]
        assert (e.explains, e.target.text, e.versus.text) == (explains, "red", "blue")
        assert [note for note in e.notes if "sign" in note or "depend" in note] == [one for one in e.notes if note and note in one]
        assert not note or any(note in one for one in e.notes)
        assert "versus 'blue'" in repr(e)
    for e in explainer.explain_methods(IMAGE, QUESTION, EVERY, "blue"):
        assert (e.explains is None) == any("does not depend on the answer" in note for note in e.notes)
        assert e.versus is None and not e.signed
    for e in explainer.explain_methods(IMAGE, QUESTION, EVERY):
        assert not any("depend" in note for note in e.notes)
        assert e.explains == (None if METHODS[e.full_name].dependence == "none" else "answer")


def test_without_a_target_the_own_answer_is_held_against_the_other(explainer, red_versus_blue) -> None:
    for e in explainer.explain_methods(IMAGE, QUESTION, ["dsmi-grad", "relevance-maps"], versus="blue"):
        assert e == red_versus_blue[e.full_name]
    with pytest.raises(BadInput, match="versus names the model's own answer"):
        explainer.explain(IMAGE, QUESTION, versus="red")


def test_a_batch_may_mix_contrasts_and_answers(explainer) -> None:
    asked = [("red", "blue"), (None, None), (None, "no"), ("yes", None), ("no", "yes")]
    pairs = [(IMAGE, question) for question in (QUESTION, "Is there a star?", "Which shape is black?", QUESTION, "Is there a red circle?")]
    targets, versus = (list(each) for each in zip(*asked, strict=True))
    methods = [name for name in AS_PUBLISHED if not name.startswith("dsmi") and name != "random"]
    for pair, (target, other), found in zip(pairs, asked, explainer.explain_batch(pairs, methods, targets, versus), strict=True):
        for a, b in zip(found, explainer.explain_methods(*pair, methods, target, other), strict=True):
            assert (a.target.id, a.versus and a.versus.id, a.explains, a.signed) == (
                b.target.id,
                b.versus and b.versus.id,
                b.explains,
                b.signed,
            )
            for part in ("image_relevance", "text_relevance"):
                assert_allclose(getattr(a, part), getattr(b, part), rtol=0, atol=1e-4 * abs(getattr(b, part)).max())


def test_answers_that_cannot_be_told_apart_are_refused(explainer) -> None:
    def refused(message: str, **options) -> None:
        with pytest.raises(BadInput, match=message):
            explainer.explain_methods(IMAGE, QUESTION, **{"methods": "dsmi-grad"} | options)

    refused("target and versus are both 'red'", target="red", versus="red")
    refused("target and versus are both 'red'", target="red", versus=explainer.answers.find("red"))
    refused("does not know the answer 'blu': it knows 24, such as blue", target="red", versus="blu")
    refused("versus is -1", versus=-1)
    refused("versus says nothing to rollout, random", versus="blue", methods=["rollout", "random"])
    with pytest.raises(BadInput, match="1 targets, 2 answers that they are held against"):
        explainer.explain_batch([(IMAGE, QUESTION)], "dsmi-grad", ["red"], ["blue", "no"])
    with pytest.raises(BadInput, match="are both 'red'"):
        explainer.check(QUESTION, "red", versus="red")
    with pytest.raises(BadInput, match="versus says nothing to dsmi"):
        explainer.check(QUESTION, versus="red", methods="dsmi")


def test_near_names_are_the_nearest_first() -> None:
    with pytest.raises(BadInput, match=r"it knows 4, such as dark red$"):
        Answers(["dark red", "no", "blue", "yes"]).find("darkred")
    with pytest.raises(BadInput, match="among them a, b"):
        Answers(["a", "b"]).find("zebra")


def test_a_word_has_the_score_of_its_strongest_token() -> None:
    tokens = tuple(Token(i, str(i), str(i)) for i in range(5))
    question = EncodedQuestion("a b", tokens, (Word("a", (1, 2)), Word("b", (3,))))
    scores = np.array([0, 0.5, -2, 1, 0])
    assert question.word_relevance(scores).tolist() == [-2, 1]
    assert question.word_relevance(-scores).tolist() == [2, -1]
    assert question.word_relevance(abs(scores)).tolist() == [2, 1]


def test_as_published_is_the_default_of_meter(explainer) -> None:
    for a, b in zip(*(explainer.explain_methods(IMAGE, QUESTION, as_published=wanted) for wanted in (False, True)), strict=True):
        assert a == b
    for wrong, message in (
        ({"target": "red"}, "leave out target and versus"),
        ({"versus": "blue"}, "leave out target and versus"),
        ({"method": "dsmi-grad@all"}, "dsmi-grad@all was not published for meter: name dsmi-grad"),
    ):
        with pytest.raises(BadInput, match=message):
            explainer.explain(IMAGE, QUESTION, as_published=True, **wrong)


def test_as_published_takes_the_sum_of_all_where_that_was_published(family_golden: FamilyGolden) -> None:
    from xai.models.eager import EagerSession

    session = EagerSession(family_golden.family)
    description: Description = session.description
    methods = [METHODS[name] for name in AS_PUBLISHED]
    tokens, ids = encode_images(session, *family_golden.picture(0).values()), [np.array(family_golden.cases[0]["ids"])]
    (found,) = explain_as_published(session, tokens, ids, [TOP_ANSWER], methods)
    by_target = {target: explain_tokens(session, tokens, ids, [target], methods)[0] for target in (TOP_ANSWER, EVERY_ANSWER)}
    for number, method in enumerate(methods):
        target = EVERY_ANSWER if description.published.target == "all" and method.name in ("dsmi-grad", "dsmi-grad-attn") else TOP_ANSWER
        assert found.explained[number] == target
        for a, b in zip(found.relevances[number], by_target[target].relevances[number], strict=True):
            assert (a == b).all()
    assert {report.graph for report in found.solver} == {report.graph for report in by_target[TOP_ANSWER].solver}
