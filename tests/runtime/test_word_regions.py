"""What goes with each word of the picture: against Chefer et al.'s recurrence with full matrices, on a model of each family."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xai
from xai.base.description import TOP_ANSWER
from xai.base.errors import BadInput
from xai.models.eager import EagerSession
from xai.runtime.engine import explain_tokens
from xai.runtime.inputs.encode import encode_images, pad_tokens
from xai.runtime.methods import METHODS
from xai.tests.families import error

Arrays = dict[str, np.ndarray]
MAPS = "relevance-maps"


def record(session: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[Arrays, list[list[str]]]:
    """What the evidence graph gives from now on, the last pass by name, and what each pass was asked for."""
    seen: Arrays = {}
    asked: list[list[str]] = []
    run = session.run

    def recorded(graph: str, inputs: Any, names: Any) -> Any:
        found = run(graph, inputs, names)
        if graph == "evidence":
            asked.append(list(names))
            seen.update({name: np.asarray(array, dtype=np.float64) for name, array in found.items()})
        return found

    def run_recorded(graph: str, inputs: Any, names: Any = None) -> Any:
        return recorded(graph, inputs, names) if names is not None else run(graph, inputs)

    monkeypatch.setattr(session, "run", run_recorded)
    return seen, asked


def meter(c: Arrays, encoder: int, layers: int) -> np.ndarray:
    """R_ti of one question, all tokens: eq. 5 to 10, each matrix whole."""
    t, n = c["text0/cross/product"].shape
    r_tt, r_ii, r_ti, r_it = np.eye(t), np.eye(n), np.zeros((t, n)), np.zeros((n, t))
    for i in range(encoder):
        r_tt = r_tt + c[f"encoder{i}/self/product"] @ r_tt
    for i in range(layers):
        own, cross = c[f"image{i}/self/product"], c[f"image{i}/cross/product"]
        r_ii, r_it = r_ii + own @ r_ii, r_it + own @ r_it
        r_it, r_ii = r_it + r_ii.T @ (cross @ r_tt), r_ii + cross @ r_ti
        own, cross = c[f"text{i}/self/product"], c[f"text{i}/cross/product"]
        r_tt, r_ti = r_tt + own @ r_tt, r_ti + own @ r_ti
        r_ti, r_tt = r_ti + r_tt.T @ (cross @ r_ii), r_tt + cross @ r_it
    return r_ti


def vilt(c: Arrays, layers: int) -> np.ndarray:
    """R of one question, text and image tokens: eq. 5 and 6."""
    r = np.eye(len(c["joint0/self/product"]))
    for i in range(layers):
        r = r + c[f"joint{i}/self/product"] @ r
    return r


def normalised(r: np.ndarray) -> np.ndarray:
    """Eq. 8 and 9: rows of R - I add up to 1, and I is added again."""
    difference = r - np.eye(len(r))
    sums = difference.sum(1)
    sums[sums == 0] = 1
    return difference / sums[:, None] + np.eye(len(r))


def lxmert(c: Arrays, encoder: int, vision: int, layers: int) -> np.ndarray:
    """R_ti of one question: eq. 5 to 11, both cross-attentions of a layer from the values before it; the last image side is not reached."""
    t, n = c["text0/cross/product"].shape
    r_tt, r_ii, r_ti, r_it = np.eye(t), np.eye(n), np.zeros((t, n)), np.zeros((n, t))
    for i in range(encoder):
        r_tt = r_tt + c[f"encoder{i}/self/product"] @ r_tt
    for i in range(vision):
        r_ii = r_ii + c[f"vision{i}/self/product"] @ r_ii
    for i in range(layers):
        n_tt, n_ii, before_ti, before_it = normalised(r_tt), normalised(r_ii), r_ti, r_it
        cross = c[f"text{i}/cross/product"]
        r_ti, r_tt = r_ti + n_tt.T @ cross @ n_ii, r_tt + cross @ before_it
        own = c[f"text{i}/self/product"]
        r_tt, r_ti = r_tt + own @ r_tt, r_ti + own @ r_ti
        if i < layers - 1:
            cross, own = c[f"image{i}/cross/product"], c[f"image{i}/self/product"]
            r_it, r_ii = before_it + n_ii.T @ cross @ n_tt, r_ii + cross @ before_ti
            r_ii, r_it = r_ii + own @ r_ii, r_it + own @ r_it
    return r_ti


def count(description: Any, layer: str) -> int:
    return len({site.layer for site in description.sites if site.layer.rstrip("0123456789") == layer})


def first(arrays: Arrays) -> Arrays:
    return {name: array[0] for name, array in arrays.items()}


def by_words(question: Any, rows: np.ndarray) -> np.ndarray:
    return np.stack([np.max([rows[token] for token in word.tokens], axis=0) for word in question.words])


def test_meter(golden, monkeypatch) -> None:
    explainer = golden.explainer
    description = explainer.session.description
    seen, _ = record(explainer.session, monkeypatch)
    for c, case in enumerate(golden.cases):
        seen.clear()
        found = explainer.explain(golden.image(c), case["question"], MAPS, word_regions=True)
        r_ti = meter(first(seen), count(description, "encoder"), count(description, "text"))
        assert found.word_regions.shape == (len(found.question.words), *found.image_relevance.shape)
        wanted = by_words(found.question, r_ti[:, 1:]).reshape(found.word_regions.shape)
        assert error(found.word_regions, wanted) < 1e-5
        assert found.word_regions_kind == "relevance"
        assert (found.region_words == np.moveaxis(found.word_regions, 0, -1)).all()


def test_vilt_on_grids_of_several_shapes(family_goldens, monkeypatch) -> None:
    golden = family_goldens("vilt_tiny")
    explainer = xai.load(golden.folder)
    seen, _ = record(explainer.session, monkeypatch)
    shapes = set()
    for case in golden.cases:
        seen.clear()
        found = explainer.explain(golden.folder / case["image"], case["question"], MAPS, word_regions=True)
        tokens = len(found.tokens)
        r = vilt(first(seen), count(explainer.session.description, "joint"))
        wanted = by_words(found.question, r[:tokens, tokens + 1 :])
        assert error(found.word_regions, wanted.reshape(-1, *case["grid"])) < 1e-5
        shapes.add(found.word_regions.shape[1:])
    assert any(rows != columns for rows, columns in shapes)


def lxmert_regions(golden: Any, session: EagerSession, cases: list[int], method: str, asked: bool = True) -> list[Any]:
    tokens, mask = pad_tokens([encode_images(session, *golden.picture(c).values())[0] for c in cases])
    ids = [np.array(golden.cases[c]["ids"]) for c in cases]
    answered = explain_tokens(session, tokens, ids, [TOP_ANSWER] * len(cases), [METHODS[method]], image_mask=mask, word_regions=asked)
    return [one.word_regions[0] if asked else one.word_regions for one in answered]


def test_lxmert_on_its_boxes(family_goldens, monkeypatch) -> None:
    golden = family_goldens("lxmert_tiny")
    session = EagerSession(golden.family)
    seen, _ = record(session, monkeypatch)
    counts = [count(session.description, layer) for layer in ("encoder", "vision", "text")]
    for c, case in enumerate(golden.cases):
        seen.clear()
        (found,) = lxmert_regions(golden, session, [c], MAPS)
        assert found.shape[0] == len(case["ids"])
        assert error(found, lxmert(first(seen), *counts)) < 1e-5


@pytest.mark.parametrize("method", [MAPS, "dsmi"])
def test_lxmert_in_a_padded_batch_is_as_alone(family_goldens, method) -> None:
    golden = family_goldens("lxmert_tiny")
    session = EagerSession(golden.family)
    cases = list(range(len(golden.cases)))
    together = lxmert_regions(golden, session, cases, method)
    assert len({found.shape for found in together}) > 1  # so that something was padded
    for c, found in zip(cases, together, strict=True):
        assert error(found, lxmert_regions(golden, session, [c], method)[0]) < 1e-4


def check_batch(explainer: Any, pairs: list[Any]) -> None:
    together = explainer.explain_batch(pairs, [MAPS, "dsmi"], word_regions=True)
    assert len({each[0].word_regions.shape for each in together}) > 1
    for pair, found in zip(pairs, together, strict=True):
        for one, alone in zip(found, explainer.explain_methods(*pair, [MAPS, "dsmi"], word_regions=True), strict=True):
            assert error(one.word_regions, alone.word_regions) < 1e-4
            assert one.word_regions_kind == alone.word_regions_kind


def test_meter_in_a_padded_batch_is_as_alone(golden) -> None:
    check_batch(golden.explainer, [(golden.image(c), case["question"]) for c, case in enumerate(golden.cases)])


def test_vilt_in_a_padded_batch_is_as_alone(family_goldens) -> None:
    golden = family_goldens("vilt_tiny")
    check_batch(xai.load(golden.folder), [(golden.folder / case["image"], case["question"]) for case in golden.cases])


def test_other_methods_give_the_cosine_of_features_and_say_so(tiny, family_goldens, monkeypatch) -> None:
    joint = family_goldens("vilt_tiny")
    places: list[tuple[Any, Any, Callable[[Arrays, int], tuple[np.ndarray, np.ndarray]]]] = [
        (tiny.explainer, tiny.image(0), lambda seen, tokens: (seen["text2/features"][:tokens], seen["image2/features"][1:])),
        (
            xai.load(joint.folder),
            joint.folder / joint.cases[2]["image"],
            lambda seen, tokens: (_last(seen)[:tokens], _last(seen)[tokens + 1 :]),
        ),
    ]
    for explainer, image, split in places:
        seen, _ = record(explainer.session, monkeypatch)
        question = tiny.cases[0]["question"] if explainer is tiny.explainer else joint.cases[2]["question"]
        found = explainer.explain(image, question, "grad-cam", word_regions=True)
        text, patches = split(first(seen), len(found.tokens))
        cosines = (text @ patches.T) / np.outer(np.linalg.norm(text, axis=1), np.linalg.norm(patches, axis=1))
        wanted = by_words(found.question, np.maximum(cosines, 0)).reshape(found.word_regions.shape)
        assert np.abs(found.word_regions - wanted).max() < 1e-5
        assert found.word_regions_kind == "affinity"


def _last(seen: Arrays) -> np.ndarray:
    (name,) = [name for name in seen if name.endswith("/features")]
    return seen[name]


def test_nothing_is_computed_for_who_does_not_ask(tiny, monkeypatch) -> None:
    explainer = tiny.explainer
    _, asked = record(explainer.session, monkeypatch)
    plain = explainer.explain(tiny.image(0), tiny.cases[0]["question"], "grad-cam")
    more = explainer.explain(tiny.image(0), tiny.cases[0]["question"], "grad-cam", word_regions=True)
    assert [sum(name.endswith("/features") for name in names) for names in asked] == [0, 2]
    assert plain.word_regions is plain.word_regions_kind is plain.region_words is None
    assert "word_regions" not in plain.to_json()["explanations"][0]
    assert (plain.image_relevance == more.image_relevance).all()
    assert (plain.text_relevance == more.text_relevance).all()
    assert plain != more


def test_every_method_says_what_its_word_regions_are() -> None:
    kinds = {name: method.between.kind for name, method in METHODS.items()}
    assert kinds == {name: "relevance" if name == MAPS else "affinity" for name in METHODS}


# Words and patches left out.


@pytest.fixture(scope="module")
def demo() -> Any:
    return xai.load()


QUESTION = "What color is the circle?"


@pytest.fixture(scope="module")
def scene() -> Path:
    return Path(xai.__file__).parent / "examples" / "scene1.png"


def masks(words: list[int], rows: int) -> dict[str, np.ndarray]:
    without_words, without_patches = np.zeros(5, bool), np.zeros((12, 12), bool)
    without_words[words] = True
    without_patches[:rows] = True
    return {"without_words": without_words, "without_patches": without_patches}


def test_what_is_left_out_counts_nothing_and_the_answer_is_that_of_the_perturbation_test(demo, scene) -> None:
    left = masks([4], 3)
    found = demo.explain_methods(scene, QUESTION, "all", **left, word_regions=True)
    wanted, before = demo.answer(scene, QUESTION, **left).answer, demo.answer(scene, QUESTION).answer
    for one in found:
        assert (one.answer.text, one.left_out.before.text) == (wanted.text, before.text)
        assert abs(one.answer.logit - wanted.logit) < 1e-4
        assert abs(one.left_out.before.logit - before.logit) < 1e-4
        assert one.left_out.words == (4,)
        assert one.left_out.patches == tuple(range(36))
        assert one.word_relevance[4] == 0
        assert not one.image_relevance[:3].any()
        assert one.image_relevance[3:].any()
        assert not one.word_regions[4].any()
        assert not one.word_regions[:, :3].any()


def test_nothing_left_out_is_the_plain_explanation(demo, scene) -> None:
    plain = demo.explain(scene, QUESTION, MAPS, word_regions=True)
    found = demo.explain(scene, QUESTION, MAPS, **masks([], 0), word_regions=True)
    assert found.left_out is not None
    assert found.left_out.before.id == plain.answer.id
    assert error(found.image_relevance, plain.image_relevance) < 1e-5
    assert error(found.text_relevance, plain.text_relevance) < 1e-5
    assert error(found.word_regions, plain.word_regions) < 1e-5


def test_a_stream_of_both_and_special_tokens_keep_their_places(family_goldens) -> None:
    golden = family_goldens("vilt_tiny")
    explainer, case = xai.load(golden.folder), golden.cases[2]
    image, question = golden.folder / case["image"], case["question"]
    patches, words = np.zeros(case["grid"], bool), np.zeros(len(explainer.check(question).words), bool)
    patches[-1], words[0] = True, True
    found = explainer.explain_methods(image, question, "all", without_patches=patches, without_words=words, word_regions=True)
    assert abs(found[0].answer.logit - explainer.answer(image, question, without_patches=patches, without_words=words).answer.logit) < 1e-4
    for one in found:
        assert not one.image_relevance[-1].any()
        assert one.word_relevance[0] == 0
        assert one.word_regions.shape == (len(words), *case["grid"])


def test_what_cannot_be_left_out_is_one_line(demo, scene) -> None:
    for left, said in (
        (masks([0, 1, 2, 3, 4], 0), "every word is left out"),
        (masks([], 12), "every patch is left out"),
        ({"without_words": np.zeros(4, bool)}, "give one boolean for each of the 5 words"),
    ):
        with pytest.raises(BadInput, match=said):
            demo.explain(scene, QUESTION, **left)
    with pytest.raises(BadInput, match="one pair at a time, not of 2"):
        demo.explain_batch([(scene, QUESTION)] * 2, **masks([0], 0))
