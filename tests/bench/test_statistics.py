from __future__ import annotations

import numpy as np
import pytest

from xai.bench.statistics import bootstrap, holm, sign_flips


def test_the_interval_is_that_of_a_mean_of_independent_questions() -> None:
    values = np.random.default_rng(0).normal(5, 2, (400, 1))
    low, high = bootstrap(values, np.arange(400))[:, 0]
    half = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - half, abs=0.05)
    assert high == pytest.approx(values.mean() + half, abs=0.05)


def test_questions_about_one_image_count_once() -> None:
    values = np.random.default_rng(0).normal(0, 1, (100, 1))
    copies, images = np.repeat(values, 9, 0), np.repeat(np.arange(100), 9)
    widths = [np.diff(bootstrap(copies, i), axis=0)[0, 0] for i in (images, np.arange(900))]
    assert widths[0] == pytest.approx(np.diff(bootstrap(values, np.arange(100)), axis=0)[0, 0])
    assert widths[0] > 2 * widths[1]


def test_what_is_unknown_is_left_out() -> None:
    values = np.array([[1.0, np.nan], [1.0, np.nan], [np.nan, np.nan], [1.0, np.nan]])
    found = bootstrap(values, np.arange(4))
    assert np.allclose(found[:, 0], 1)
    assert np.isnan(found[:, 1]).all()


def test_sign_flips_find_a_difference_and_none_where_there_is_none() -> None:
    rng = np.random.default_rng(1)
    differences = np.stack([rng.normal(0, 1, 200), rng.normal(0.5, 1, 200), np.zeros(200)], 1)
    none, some, equal = sign_flips(differences, np.arange(200))
    assert none > 0.05
    assert some < 0.001
    assert equal == 1
    exact = sign_flips(np.ones((4, 1)), np.arange(4))[0]
    assert exact == pytest.approx(2 / 16, abs=0.015)  # both signs all equal


def test_p_is_uniform_where_nothing_differs() -> None:
    p = sign_flips(np.random.default_rng(2).normal(0, 1, (60, 400)), np.arange(60))
    assert np.mean(p < 0.1) == pytest.approx(0.1, abs=0.05)


def test_holm_by_hand() -> None:
    assert np.allclose(holm(np.array([0.01, 0.04, 0.03])), [0.03, 0.06, 0.06])
    assert np.allclose(holm(np.array([0.5, 0.9])), [1, 1])
