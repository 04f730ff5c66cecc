from __future__ import annotations

import numpy as np
import pytest

from xai.bench.statistics import bootstrap, holm, questions_needed, sign_flips


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


def test_questions_needed_by_hand() -> None:
    """n z^2 V / mean^2 with V = s^2 / n, s the standard deviation of the sample: 7.849 s^2 / mean^2."""
    values = np.array([3.0, 1, 2, -1, 5, 2])
    assert questions_needed(values, np.arange(6)) == int(np.ceil(7.849 * values.var(ddof=1) / values.mean() ** 2))
    assert questions_needed(np.append(values, np.nan), np.arange(7)) == questions_needed(values, np.arange(6))
    assert questions_needed(-values, np.arange(6)) == questions_needed(values, np.arange(6))
    assert questions_needed(np.ones(4), np.arange(4)) == 1
    assert questions_needed(np.array([1.0, -1]), np.arange(2)) is None
    assert questions_needed(values, np.zeros(6, np.int64)) is None


def test_so_many_questions_have_the_power_that_is_said() -> None:
    """Of 4,000 samples of that size about 80 % differ from 0 by a z-test; of questions that come nine to an image just as many images."""
    rng = np.random.default_rng(0)
    needed = questions_needed(0.3 + rng.standard_normal(10**6), np.arange(10**6))
    assert needed == pytest.approx(7.849 / 0.09, rel=0.02)
    samples = 0.3 + rng.standard_normal((4000, needed))
    z = samples.mean(1) / samples.std(1, ddof=1) * np.sqrt(needed)
    assert (np.abs(z) > 1.96).mean() == pytest.approx(0.8, abs=0.03)
    values = 0.3 + rng.standard_normal(10**5)
    copies = questions_needed(np.repeat(values, 9), np.repeat(np.arange(10**5), 9))
    assert copies == pytest.approx(9 * questions_needed(values, np.arange(10**5)), rel=0.02)
