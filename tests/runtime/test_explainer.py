"""The pipeline as a user of the package sees it."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

import xai
from xai.base.errors import BadInput, XaiError
from xai.runtime.clock import STAGES, Clock
from xai.runtime.methods import METHODS, find_methods


@pytest.fixture(scope="module")
def explainer(tiny):
    return tiny.explainer


def same(a, b) -> bool:
    """Whether two explanations agree within 1e-5."""

    def close(x, y):
        return np.abs(x - y).max() <= max(1e-5 * np.abs(y).max(), 1e-7)

    return (
        a.answer.id == b.answer.id
        and abs(a.answer.logit - b.answer.logit) < 1e-5
        and close(a.image_relevance, b.image_relevance)
        and close(a.text_relevance, b.text_relevance)
    )


def test_one_padded_batch_equals_single_runs(tiny, explainer) -> None:
    pairs = [(tiny.image(c), case["question"]) for c, case in enumerate(tiny.cases)]
    names = [name for name, method in METHODS.items() if name != "random" and not method.lrp]
    batch = explainer.explain_batch(pairs, names)
    for (image, question), found in zip(pairs, batch, strict=True):
        for a, b in zip(found, explainer.explain_methods(image, question, names), strict=True):
            assert same(a, b), (question, a.method, a.layers)


def test_equal_images_are_encoded_once(tiny, explainer, monkeypatch) -> None:
    encoded = []
    run = explainer.session.run

    def spy(graph, inputs, outputs=None):
        if graph == "encode_image":
            encoded.append(len(inputs["pixels"]))
        return run(graph, inputs, outputs)

    monkeypatch.setattr(explainer.session, "run", spy)
    pairs = [(tiny.image(i), q) for i, q in ((0, "t5 t6"), (1, "t5"), (0, "t7 t8 t9"), (1, "t9"))]
    found = explainer.explain_batch(pairs)
    assert encoded == [2]
    monkeypatch.undo()
    assert all(same(e[0], explainer.explain(image, question)) for (image, question), e in zip(pairs, found, strict=True))


def test_an_explanation_says_everything_and_cannot_be_changed(tiny, explainer) -> None:
    e = explainer.explain(tiny.image(0), tiny.cases[0]["question"], top_k=3)
    assert e.method == "dsmi-grad"
    assert e.layers == "first"
    assert e.image_relevance.shape == (6, 6)
    assert len(e.text_relevance) == len(e.tokens) == len(tiny.cases[0]["ids"])
    assert [a.probability for a in e.top] == sorted((a.probability for a in e.top), reverse=True)
    assert len(e.top) == 3
    assert e.top[0] == e.answer == e.target
    assert {r.graph: r.status for r in e.solver} == {"text0": "converged", "image0": "converged"}
    assert sum(v for k, v in e.timings_ms.items() if k != "total") == pytest.approx(e.timings_ms["total"])
    assert (e.session, e.precision) == ("eager", "float32")
    with pytest.raises(dataclasses.FrozenInstanceError):
        e.method = "other"
    json.loads(json.dumps(e.to_json(), allow_nan=False))


def test_all_probabilities_sum_to_one(tiny, explainer) -> None:
    e = explainer.explain(tiny.image(0), "t5", top_k=1000)
    assert len(e.top) == 17
    assert sum(a.probability for a in e.top) == pytest.approx(1)


def test_another_target_is_explained_and_the_answer_stays(tiny, explainer) -> None:
    own = explainer.explain(tiny.image(0), tiny.cases[0]["question"])
    other = explainer.explain(tiny.image(0), tiny.cases[0]["question"], target="answer3")
    assert other.answer == own.answer
    assert (other.target.text, other.target.id) == ("answer3", 3)
    assert not same(own, other)
    named = explainer.explain(tiny.image(0), tiny.cases[0]["question"], target=own.answer.text)
    assert same(own, named)


def test_a_method_alone_equals_the_method_among_others(tiny, explainer) -> None:
    question = tiny.cases[0]["question"]
    for e in explainer.explain_methods(tiny.image(0), question):
        if e.method != "random":
            assert same(e, explainer.explain(tiny.image(0), question, e.method))


def test_a_reference_name_gives_the_methods_own(tiny, explainer) -> None:
    assert explainer.explain(tiny.image(0), "t5 t6 t7", "dsm_grad_cam").method == "dsmi-grad-attn"


@pytest.mark.parametrize("words", [1, 2, 3, 40])
@pytest.mark.parametrize("picture", ["constant", "noise"])
def test_short_questions_and_plain_images_give_finite_flagged_results(explainer, words, picture) -> None:
    image = Image.new("RGB", (96, 96), (90, 90, 90))
    if picture == "noise":
        image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8))
    question = " ".join(f"t{5 + i}" for i in range(words))
    for e in explainer.explain_methods(image, question, [name for name, method in METHODS.items() if not method.lrp]):
        assert np.isfinite(e.image_relevance).all()
        assert np.isfinite(e.text_relevance).all()
        assert (e.image_relevance >= 0).all()
        flagged = [r for r in e.solver if r.status != "converged"]
        assert len(e.notes) == len(flagged)
        if words == 1:
            assert {"trivial"} == {r.status for r in e.solver if r.graph.startswith("text")} or not e.solver


def test_wrong_arguments_are_named(tiny, explainer) -> None:
    image = tiny.image(0)
    with pytest.raises(XaiError, match="unknown method 'lime'"):
        explainer.explain(image, "t5", "lime")
    with pytest.raises(XaiError, match="does not know the answer 'maybe'"):
        explainer.explain(image, "t5", target="maybe")
    assert explainer.explain_batch([]) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"question": None}, "the question is of type NoneType: give text"),
        ({"question": b"t5"}, "the question is of type bytes"),
        ({"image": None}, "the image is of type NoneType: give a path"),
        ({"image": np.arange(5)}, r"an array of shape \(5,\)"),
        ({"top_k": -3}, "top_k is -3: give a whole number of 1 or more"),
        ({"top_k": 0}, "top_k is 0"),
        ({"top_k": 2.0}, r"top_k is 2\.0"),
        ({"top_k": True}, "top_k is True"),
        ({"seed": -1}, "seed is -1: give a whole number of 0 or more"),
        ({"seed": None}, "seed is None"),
        ({"target": 3.0}, r"the target is 3\.0"),
        ({"target": np.int64(17)}, "does not know the answer"),
        ({"methods": []}, "no method is named"),
        ({"methods": None}, "methods is None: name one, or several in a list"),
        ({"methods": [None]}, "unknown method None: choose from dsmi"),
        ({"methods": ["rollout", "r"]}, "unknown method 'r'"),
    ],
)
def test_arguments_are_checked_at_the_door(tiny, explainer, arguments, message) -> None:
    with pytest.raises(BadInput, match=message):
        explainer.explain_methods(**{"image": tiny.image(0), "question": "t5"} | arguments)


def test_one_method_is_one_name(tiny, explainer) -> None:
    for wrong in ("all", None, ["dsmi"]):
        with pytest.raises(BadInput, match="unknown method"):
            explainer.explain(tiny.image(0), "t5", wrong)


@pytest.mark.parametrize("pairs", [None, "ab", [("a.png",)], [("a.png", "t5", "yes")], ["ab"], [None]])
def test_pairs_are_an_image_and_a_question_each(explainer, pairs) -> None:
    with pytest.raises(BadInput, match=r"give a list of \(image, question\)|is no \(image, question\)"):
        explainer.explain_batch(pairs)


def test_what_names_the_same_may_be_given_in_several_ways(tiny, explainer) -> None:
    image, question = tiny.image(0), tiny.cases[0]["question"]
    (one,) = explainer.explain_methods(image, question, "rollout", target=np.int64(3), top_k=np.int8(2), seed=np.uint16(1))
    assert (one.method, one.target.id, len(one.top)) == ("rollout", 3, 2)
    asked = explainer.check(question, target=3)
    ((again,),) = explainer.explain_batch(((explainer.prepare(image), asked) for _ in range(1)), "rollout", 3, top_k=2)
    assert again == one
    assert [e.method for e in explainer.explain_methods(image, question, "all")] == [method.name for method in find_methods("all")]


def test_a_question_is_encoded_once(tiny, explainer, monkeypatch) -> None:
    asked = explainer.check("t5 t6")
    monkeypatch.setattr(explainer.encoder, "encode", None)
    assert explainer.explain(tiny.image(0), asked).question is asked


def test_explanations_are_equal_where_they_say_the_same_about_the_same_picture(tiny, explainer) -> None:
    image, question = tiny.image(0), tiny.cases[0]["question"]
    one, two = (explainer.explain(image, question) for _ in range(2))
    assert one.timings_ms != two.timings_ms
    assert one == two and hash(one) == hash(two) and len({one, two}) == 1
    trivial = [explainer.explain(image, "t5", "dsmi") for _ in range(2)]  # its report holds NaN
    assert trivial[0] == trivial[1]
    picture = one.picture.copy()
    picture.putpixel((0, 0), tuple(255 - v for v in picture.getpixel((0, 0))))
    others = {"image_relevance": one.image_relevance * 1.001, "picture": picture, "notes": ("note",), "method": "dsmi"}
    for name, value in others.items():
        assert dataclasses.replace(one, **{name: value}) != one, name
    assert one != explainer.explain(image, question, "dsmi-grad@all")
    assert one != "something else"


def test_an_explanation_prints_in_one_line(tiny, explainer) -> None:
    e = explainer.explain(tiny.image(0), "t5\n" * 40, "dsmi-grad@all", target="answer3")
    assert repr(e).startswith(f"<Explanation of {tiny.image(0)}, 't5")
    assert repr(e).endswith("explained: 'answer3', by dsmi-grad, all layers>")
    assert len(repr(e)) < 300 and "\n" not in repr(e) and str(e) == repr(e)


def test_a_path_is_a_path(explainer, tiny) -> None:
    e = explainer.explain(tiny.image(0), "t5", "rollout")
    for path in (None, 7, b"a.json"):
        with pytest.raises(BadInput, match=f"the file to save is of type {type(path).__name__}: give a path"):
            e.save(path)


def test_timings_name_the_stages_and_nothing_else(tiny, explainer) -> None:
    e = explainer.explain(tiny.image(0), "t5")
    assert set(e.timings_ms) == {*STAGES, "total"}
    with pytest.raises(ValueError, match="no stage is called decoding"):
        Clock().add("decoding", 1.0)


def test_the_position_limit_is_named_and_can_be_cut_to(tiny, explainer) -> None:
    question = "t5 " * 600
    with pytest.raises(XaiError, match="602 tokens and the model takes 512"):
        explainer.explain(tiny.image(0), question)
    e = explainer.explain(tiny.image(0), question, "raw-attention", truncate=True)
    assert len(e.tokens) == 512
    assert any("cut to its first 512 tokens" in note for note in e.notes)


def test_load_names_what_does_not_fit(tiny) -> None:
    with pytest.raises(XaiError, match="the demo model brings its own"):
        xai.load(tokenizer=tiny.tokenizer)
    with pytest.warns(UserWarning, match="left out"), pytest.raises(XaiError, match="local Hugging Face cache"):
        xai.load(tiny.checkpoint, tokenizer="no/such")
    with pytest.warns(UserWarning, match="left out"):
        assert xai.load(tiny.checkpoint, tokenizer=tiny.tokenizer).answers.names[16] == "answer_16"
