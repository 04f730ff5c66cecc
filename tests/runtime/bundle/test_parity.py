"""The comparison that decides whether an export is kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xai.base.errors import XaiError
from xai.runtime.bundle.parity import (
    GRADIENT_FLOOR,
    MIN_COSINE,
    MIN_GAP,
    TOLERANCES,
    compare_observed,
    failures,
)
from xai.runtime.bundle.trial import Observed, Trial, load_trial, make_trial, name_targets, save_trial
from xai.runtime.description import Aspect, Boxes, Description, Square
from xai.tests.runtime.test_description import DESCRIPTION, HALF

MODEL = Description(**{**vars(DESCRIPTION), "picture": Square(40, 8, "crop", HALF, HALF), "vocab_size": 50})


def observed(change: Callable[[dict[str, Any]], object] = len, gap: float = 0.1) -> Observed:
    rng = np.random.default_rng(0)
    arrays = {
        "logits/answer": rng.standard_normal((1, 7)),
        "tokens/image": rng.standard_normal((1, 5, 3)),
        "evidence/image0/self/gradient": rng.random((1, 5, 5)),
        "evidence/text0/self/grad-cam": rng.random((1, 4)) * 1e-6,
        "relevance/alone/dsmi/image": rng.random(4),
        "relevance/alone/rollout/image": rng.random(4),
        "relevance/batch/rollout/text": rng.random(4),
    }
    change(arrays)
    return Observed(arrays, {"image0": gap, "text0": float("nan")})


def scale(name: str, factor: float) -> Callable[[dict[str, Any]], None]:
    """Move the largest entry by a part of itself."""

    def change(arrays: dict[str, Any]) -> None:
        values = arrays[name] = arrays[name].copy()
        values.flat[abs(values).argmax()] *= 1 + factor

    return change


def test_what_is_equal_has_no_error() -> None:
    measures = compare_observed([observed()], [observed()])
    assert set(measures) == {"logits", "tokens", "evidence gradient", "evidence grad-cam", "relevance dsmi", "relevance rollout"}
    assert all(m.error == 0 and m.cosine == pytest.approx(1) for m in measures.values())
    assert not failures(measures, "float32")


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("logits/answer", "logits"),
        ("tokens/image", "tokens"),
        ("evidence/image0/self/gradient", "evidence gradient"),
        ("relevance/alone/dsmi/image", "relevance dsmi"),
        ("relevance/batch/rollout/text", "relevance rollout"),
    ],
)
def test_an_error_over_its_tolerance_fails_and_one_below_does_not(name: str, group: str) -> None:
    limit = TOLERANCES[group.split()[0]]
    assert failures(compare_observed([observed(scale(name, 1.2 * limit))], [observed()]), "float32") == [group]
    assert not failures(compare_observed([observed(scale(name, 0.8 * limit))], [observed()]), "float32")


def test_below_float32_the_relevances_direction_decides() -> None:
    name = "relevance/alone/rollout/image"
    near, far = (compare_observed([observed(scale(name, factor))], [observed()]) for factor in (0.02, 0.3))
    assert near["relevance rollout"].cosine > MIN_COSINE > far["relevance rollout"].cosine
    assert not failures(near, "bfloat16")
    assert failures(far, "bfloat16") == ["relevance rollout"]
    assert not failures(compare_observed([observed(scale("evidence/image0/self/gradient", 0.5))], [observed()]), "int8")


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_what_is_not_finite_fails(value: float, precision: str) -> None:
    def change(arrays: dict[str, Any]) -> None:
        arrays["relevance/alone/rollout/image"] = np.full(4, value)

    assert failures(compare_observed([observed(change)], [observed()]), precision) == ["relevance rollout"]


def test_what_was_stored_is_finite_too_and_hides_behind_no_other() -> None:
    for name in ("relevance/alone/rollout/image", "relevance/batch/rollout/text"):
        broken = observed(lambda arrays, name=name: arrays.update({name: np.full_like(arrays[name], np.nan)}))
        assert failures(compare_observed([observed()], [broken]), "float32") == ["relevance rollout"]
        assert failures(compare_observed([observed(), observed()], [broken, observed()]), "float16") == ["relevance rollout"]


def test_arrays_of_zeros_are_equal_to_zeros_only() -> None:
    def clear(arrays: dict[str, Any]) -> None:
        arrays |= {name: np.zeros_like(value) for name, value in arrays.items()}

    assert not failures(compare_observed([observed(clear)], [observed(clear)]), "float32")
    assert len(failures(compare_observed([observed()], [observed(clear)]), "float32")) == 6


@pytest.mark.parametrize("name", ["logits/answer", "evidence/image0/self/gradient", "tokens/image"])
def test_what_was_not_stored_does_not_pass(name: str) -> None:
    def forget(arrays: dict[str, Any]) -> None:
        del arrays[name]

    for ours, theirs in ((observed(), observed(forget)), (observed(forget), observed())):
        with pytest.raises(XaiError, match=f"do not fit this model, {name}"):
            compare_observed([ours], [theirs])


def test_a_method_that_came_later_is_not_compared_and_one_that_went_is_missed() -> None:
    def forget(arrays: dict[str, Any]) -> None:
        del arrays["relevance/alone/dsmi/image"]

    assert "relevance dsmi" not in compare_observed([observed()], [observed(forget)])
    with pytest.raises(XaiError, match="relevance/alone/dsmi"):
        compare_observed([observed(forget)], [observed()])


CHANGES = {
    "picture0/0": [np.zeros((40, 40, 3), np.float32), np.zeros((30, 40, 3), np.uint8), np.zeros((40, 40), np.uint8)],
    "1/image": [np.array(2), np.array(0.0), np.array([0, 1])],
    "1/ids": [np.array([0, 50, 2]), np.array([0, -1, 2]), np.array([0.0, 2.0]), np.array([[0, 2]]), np.arange(21), np.array([0])],
    "1/target": [np.array(7), np.array(-2), np.array("x")],
    "1/arrays/logits/answer": [np.zeros(3, complex), np.array(["x"]), np.array([None], object)],
    "0/gaps/image0": [np.array("x"), np.array([1, 2])],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in CHANGES.items() for value in values])
def test_a_stored_trial_that_cannot_be_asked_is_one_line(tmp_path: Path, name: str, value: np.ndarray) -> None:
    path, model = tmp_path / "parity.npz", MODEL
    trial = make_trial(MODEL)
    save_trial(path, trial, [observed() for _ in trial.questions])
    assert load_trial(path, model)[0].questions[1].target == -1
    with np.load(path) as file:
        content = dict(file)
    assert name in content
    np.savez(path, allow_pickle=True, **content | {name: value})
    with pytest.raises(XaiError, match=r"parity\.npz holds .*: export the bundle again"):
        load_trial(path, model)


def test_a_stored_trial_without_a_part_is_one_line(tmp_path: Path) -> None:
    path, trial = tmp_path / "parity.npz", make_trial(MODEL)
    save_trial(path, trial, [observed() for _ in trial.questions])
    with np.load(path) as file:
        content = dict(file)
    for lost in ("picture1/0", "0/ids", "1/image", "0/target", "relevance"):
        np.savez(path, **{name: value for name, value in content.items() if name != lost and not (lost == "relevance" and lost in name)})
        with pytest.raises(XaiError, match="export the bundle again"):
            load_trial(path, MODEL)


def test_another_shape_fails() -> None:
    def change(arrays: dict[str, Any]) -> None:
        arrays["logits/answer"] = np.zeros((1, 8))

    assert failures(compare_observed([observed(change)], [observed()]), "float32") == ["logits"]


def test_a_fiedler_vector_of_a_narrow_gap_is_not_compared() -> None:
    worse = observed(scale("relevance/alone/dsmi/image", 1), gap=MIN_GAP / 2)
    assert "relevance dsmi" not in compare_observed([worse], [observed(gap=MIN_GAP / 2)])
    assert failures(compare_observed([worse], [observed(gap=MIN_GAP * 2)]), "float32") == ["relevance dsmi"]


def test_sums_of_gradients_that_cancel_are_not_held_to_their_own_size() -> None:
    """Grad-CAM's values of 1e-6 stand beside gradients of 1: an error of 1e-8 is rounding, of 1e-6 it is not."""

    def change(by: float) -> Callable[[dict[str, Any]], None]:
        def add(arrays: dict[str, Any]) -> None:
            arrays["evidence/text0/self/grad-cam"] = arrays["evidence/text0/self/grad-cam"] + by

        return add

    assert not failures(compare_observed([observed(change(1e-8))], [observed()]), "float32")
    assert failures(compare_observed([observed(change(1e-6))], [observed()]), "float32") == ["evidence grad-cam"]
    assert GRADIENT_FLOOR * TOLERANCES["evidence"] == pytest.approx(5e-7)


PICTURES = {
    Square(40, 8, "crop", HALF, HALF): [[(40, 40, 3)], [(40, 40, 3)]],
    Aspect(30, 45, 15, HALF, HALF): [[(30, 30, 3)], [(30, 40, 3)]],
    Boxes(6): [[(12, 6), (12, 4)], [(7, 6), (7, 4)]],
}


@pytest.mark.parametrize("picture", PICTURES)
def test_the_trial_of_a_model_is_always_the_same_and_fits_it(picture: Any) -> None:
    model = Description(**{**vars(MODEL), "picture": picture})
    one, other = make_trial(model), make_trial(model)
    assert [[array.shape for array in parts] for parts in one.pictures] == PICTURES[picture]
    assert all((a == b).all() for x, y in zip(one.pictures, other.pictures, strict=True) for a, b in zip(x, y, strict=True))
    for a, b in zip(one.questions, other.questions, strict=True):
        assert (a.ids == b.ids).all()
        assert a.target == b.target < MODEL.answers
        assert a.ids.max() < MODEL.vocab_size
    short = make_trial(Description(**{**vars(MODEL), "max_text_tokens": 5}))
    assert max(len(question.ids) for question in short.questions) == 5


@pytest.mark.parametrize("picture", PICTURES)
def test_a_trial_survives_its_file(picture: Any, tmp_path: Path) -> None:
    model = Description(**{**vars(MODEL), "picture": picture})
    trial = make_trial(model)
    save_trial(tmp_path / "parity.npz", trial, [observed() for _ in trial.questions])
    found, expected = load_trial(tmp_path / "parity.npz", model)
    assert [[array.tolist() for array in parts] for parts in found.pictures] == [[a.tolist() for a in parts] for parts in trial.pictures]
    assert [(q.image, q.ids.tolist(), q.target) for q in found.questions] == [(q.image, q.ids.tolist(), q.target) for q in trial.questions]
    assert len(expected) == len(trial.questions)


def test_named_targets_are_the_answers_that_were_explained() -> None:
    trial = make_trial(MODEL)
    expected = [observed(scale("logits/answer", 0)) for _ in trial.questions]
    named = name_targets(Trial(trial.pictures, trial.questions), expected)
    top = int(expected[0].arrays["logits/answer"].argmax())
    assert [question.target for question in named.questions] == [top, top, top, trial.questions[3].target]
