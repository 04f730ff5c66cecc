import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from xai.runtime.comparison import compare, overlap, spearman

VALUES = arrays(np.float32, 12, elements=st.integers(0, 6).map(lambda n: np.float32(n / 8)))
"""Few enough different ones that many tie."""
TOP = st.integers(1, 12)


@settings(deadline=None)
@given(VALUES, VALUES)
def test_rank_correlation_is_scipys(one, other):
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        assert spearman(one, other) is None
    else:
        assert spearman(one, other) == pytest.approx(stats.spearmanr(one, other).statistic, abs=2e-6)


@settings(deadline=None)
@given(VALUES, VALUES, TOP)
def test_agreement_is_symmetric_and_knows_itself(one, other, top):
    assert overlap(one, one, top) == 1
    assert overlap(one, other, top) == overlap(other, one, top)
    assert 0 <= overlap(one, other, top) <= 1
    assert spearman(one, other) == spearman(other, one)


@settings(deadline=None)
@given(VALUES, VALUES, TOP)
def test_only_the_order_counts(one, other, top):
    assert overlap(np.exp(one), other, top) == overlap(one, other, top)
    assert spearman(np.exp(one), other) == spearman(one, other)


def test_overlap_counts_common_places():
    assert overlap(np.array([4, 3, 2, 1, 0.0]), np.array([4, 0, 1, 2, 3.0]), 2) == 0.5
    assert overlap(np.array([4, 3, 2, 1, 0.0]), np.array([0, 1, 2, 3, 4.0]), 2) == 0


def test_ties_share_the_last_places():
    """A map without any order agrees with another as much as chance would: a method that scores all alike is no better."""
    assert overlap(np.zeros(10), np.arange(10.0), 2) == pytest.approx(0.2)


def test_every_two_methods_are_compared_once():
    rng = np.random.default_rng(0)
    images, words = rng.random((3, 30)), rng.random((3, 2))
    found = compare("abc", images, words)
    assert (found["patches"], found["words"]) == (3, 2)
    assert [pair["methods"] for pair in found["pairs"]] == [["a", "b"], ["a", "c"], ["b", "c"]]
    assert found["pairs"][1]["image"] == {"spearman": spearman(images[0], images[2]), "overlap": overlap(images[0], images[2], 3)}
    assert found["pairs"][1]["words"] == {"spearman": spearman(words[0], words[2]), "overlap": overlap(words[0], words[2], 2)}
