"""Target contrast and priors on maps and models by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cosine
from scipy.stats import spearmanr

from xai.base.errors import BadInput
from xai.bench.measures.contrast import CONTRAST, angle_distance, rank_distance
from xai.bench.measures.prior import PRIOR
from xai.bench.measures.table import MEASURES, check_measures, find_measures
from xai.bench.perturb.plan import Maps
from xai.tests.bench.measures.models import both_needed, either_will_do, falling, lines_of, peak, question, values_of


def contrasted(image, text, second_image, second_text, **options):
    second = Maps(tuple(map(np.array, second_image)), tuple(map(np.array, second_text)))
    return question(image, text, second=second, **options)


def nothing_answered(*_) -> float:
    raise AssertionError("the measure asks for no subset")


def test_the_same_map_is_at_0_its_mirror_at_2_and_noise_at_1() -> None:
    one = falling(9)
    mirrored = [1 - v for v in one]
    asked = contrasted([one, one], [one, one], [one, mirrored], [one, mirrored])
    for modality in ("image", "text"):
        assert values_of(CONTRAST, asked, nothing_answered, f"{modality} spearman") == [0, 2]
    rng = np.random.default_rng(0)
    noise = [rank_distance(*rng.random((2, 20))) for _ in range(2000)]
    assert np.mean(noise) == pytest.approx(1, abs=4 / np.sqrt(19 * 2000))  # Spearman's correlation of noise: mean 0, variance 1 / (n - 1)
    assert angle_distance(np.array([1.0, 0]), np.array([0, 2.0])) == 1
    assert angle_distance(np.array([1.0, 0]), np.array([-3.0, 0])) == 2


@given(st.data(), st.integers(2, 12))
def test_distances_equal_scipys(data, n) -> None:
    one, other = (np.array(data.draw(st.lists(st.integers(-9, 9), min_size=n, max_size=n)), float) for _ in range(2))
    if np.ptp(one) and np.ptp(other):
        assert rank_distance(one, other) == pytest.approx(1 - spearmanr(one, other).statistic, abs=2e-6)
    if one.any() and other.any():
        assert angle_distance(one, other) == pytest.approx(cosine(one, other), abs=1e-9)
    for distance in (rank_distance, angle_distance):
        assert 0 <= distance(one, other) <= 2
        assert distance(one, other) == distance(other, one)


def test_maps_without_order_or_angle() -> None:
    zero, even, one = np.zeros(3), np.full(3, 0.5), np.arange(3.0)
    assert (rank_distance(even, one), rank_distance(even, zero)) == (1, 0)
    assert (angle_distance(zero, one), angle_distance(zero, zero)) == (1, 0)


def test_a_method_without_a_target_scores_0_and_is_marked() -> None:
    one = falling(5)
    asked = contrasted([one, one], [one, one], [one, peak(5, 4)], [one, peak(5, 4)], follows=[False, True])
    same, other = lines_of(CONTRAST, asked, nothing_answered)
    assert same == {"target": False, "distances": {m: {"spearman": 0, "cosine": 0} for m in ("image", "text")}}
    assert other["target"]
    assert min(other["distances"]["image"].values()) > 0
    assert CONTRAST.mark(same) == "depends on no answer: 0 by its nature"
    assert CONTRAST.mark(other) is None


def test_one_word_or_one_patch_has_no_contrast() -> None:
    asked = contrasted([[1.0]], [[1.0]], [[2.0]], [[0.0]])
    assert lines_of(CONTRAST, asked, nothing_answered) == [{"target": True, "distances": {"image": None, "text": None}}]
    (line,) = lines_of(CONTRAST, contrasted([[1.0, 2]], [[1.0, 2]], [[1.0, 2]], [[2.0, 1]], modalities=["text"]), nothing_answered)
    assert line == {"target": True, "distances": {"image": None, "text": {"spearman": 2, "cosine": pytest.approx(0.2)}}}


def test_priors_are_what_one_modality_says_alone() -> None:
    asked = question([peak(4, 0)], [peak(3, 0)])
    assert lines_of(PRIOR, asked, both_needed(0, 0, 0.25, 0.5)) == [{"whole": 0.75, "no_image": 0.25, "no_text": 0.25}]
    assert lines_of(PRIOR, asked, either_will_do(0, 9, 0.25, 0.5)) == [{"whole": 0.75, "no_image": 0.25, "no_text": 0.75}]
    assert len(PRIOR.keys(asked.scope)) == 1


def test_measures_by_name() -> None:
    assert find_measures(["all"]) == tuple(MEASURES)
    assert find_measures(["saco", "synergy", "saco"]) == ("published", "synergy", "saco")
    assert find_measures([]) == find_measures(["published"]) == ("published",)
    with pytest.raises(BadInput, match="unknown measure 'sacco': choose from published, synergy"):
        find_measures(["saco", "sacco"])
    check_measures(("published", "saco"), 1)
    with pytest.raises(BadInput, match="measure contrast compares the model's first two answers"):
        check_measures(tuple(MEASURES), 1)
