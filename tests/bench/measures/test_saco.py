"""SaCo on models by hand, and the paper's Algorithm 1 in plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from xai.bench.measures.saco import GROUPS, SACO, groups
from xai.tests.bench.measures.models import additive, arbitrary, falling, lines_of, question, values_of

PATCHES, WORDS = ([w / 2 for w in falling(n)] for n in (20, 6))
MODEL = additive(PATCHES, WORDS)


def test_a_perfect_explainer_gets_1_a_reversed_one_less_1_and_a_constant_one_0() -> None:
    asked = question([PATCHES, [1 - w for w in PATCHES], [0.3] * 20], [WORDS, [1 - w for w in WORDS], [0.3] * 6])
    for modality in ("image", "text"):
        assert values_of(SACO, asked, MODEL, modality) == pytest.approx([1, -1, 0])


@given(st.permutations(range(23)), st.permutations(range(7)))
def test_noise_gets_0_in_the_mean(image, text) -> None:
    """Each map has a mirror, as probable as itself, that gets the opposite where no two groups are worth the same: the mean is 0."""
    asked = question([image, [-v for v in image]], [text, [-v for v in text]])
    model = additive(*([2.0 ** -(i + 2) for i in range(n)] for n in (23, 7)))
    for modality in ("image", "text"):
        one, mirrored = values_of(SACO, asked, model, modality)
        assert one == pytest.approx(-mirrored, abs=1e-5)


def test_the_size_of_a_wrong_order_counts() -> None:
    """Two neighbours exchanged cost little, the first and the last much: the weight is the difference of the scores."""
    near, far = list(WORDS), list(WORDS)
    near[0], near[1] = near[1], near[0]
    far[0], far[-1] = far[-1], far[0]
    perfect, little, much = values_of(SACO, question([PATCHES] * 3, [WORDS, near, far]), MODEL, "text")
    assert perfect == 1 > little > 0.9 > 0 > much


def restated(relevance: list[float], modality: str, others: int, model, groups_wanted: int = 10) -> float:
    """Algorithm 1 of arXiv 2404.01415, of scores scaled to [0, 1]; groups of equal size from either end."""
    n = len(relevance)
    low, high = min(relevance), max(relevance)
    scores = [(r - low) / (high - low) for r in relevance]
    ranked = sorted(range(n), key=lambda i: (-scores[i], i))
    count = min(groups_wanted, n)
    size = n // count
    parts = []
    for g in range(count):
        start = g * size if g < (count + 1) // 2 else n - (count - g) * size
        parts.append([ranked[start + i] for i in range(size)])
    other = frozenset(range(others))

    def answered(kept) -> float:
        return model(frozenset(kept), other) if modality == "image" else model(other, frozenset(kept))

    s = [sum(scores[i] for i in part) for part in parts]
    change = [answered(range(n)) - answered(i for i in range(n) if i not in part) for part in parts]
    f = total = 0.0
    for i in range(count - 1):
        for j in range(i + 1, count):
            weight = s[i] - s[j] if change[i] >= change[j] else -(s[i] - s[j])
            f += weight
            total += abs(weight)
    return f / total if total else 0.0


@given(st.lists(st.integers(0, 50), min_size=2, max_size=34), st.sampled_from(["image", "text"]), st.integers(0, 999))
def test_it_equals_the_algorithm_restated(values, modality, seed) -> None:
    assume(len(set(values)) > 1)
    relevance, model = [float(v) for v in values], arbitrary(seed)
    other = [0.0, 1.0, 2.0]
    asked = question([relevance], [other]) if modality == "image" else question([other], [relevance])
    (found,) = values_of(SACO, asked, model, modality)
    assert found == pytest.approx(restated(relevance, modality, len(other), model), abs=2e-5)


@pytest.mark.parametrize("n", [*range(31), 144, 1296])
def test_groups_are_of_one_size_and_share_nothing(n) -> None:
    found = groups(np.arange(n))
    assert len(found) == (min(GROUPS, n) if n > 1 else 0)
    assert len({len(group) for group in found}) <= 1
    flat = np.concatenate([*found, np.arange(0)])
    assert len(set(flat.tolist())) == len(flat)
    assert flat.tolist() == sorted(flat.tolist())  # from the most relevant to the least
    assert n - len(flat) < GROUPS
    if n > 1:
        assert flat[0] == 0
        assert flat[-1] == n - 1


def test_one_word_has_nothing_to_be_compared_with() -> None:
    asked = question([PATCHES], [[1.0]])
    (line,) = lines_of(SACO, asked, additive(PATCHES, [0.5]))
    assert line["groups"]["text"] is None
    assert [len(values) for values in line["groups"]["image"].values()] == [10, 10]
    assert values_of(SACO, asked, additive(PATCHES, [0.5]), "text") == [None]
    (alone,) = lines_of(SACO, question([[1.0]], [WORDS], ["image"]), additive([0.5], WORDS))
    assert alone == {"groups": {"image": None, "text": None}}


def test_only_what_is_asked_for_is_planned() -> None:
    (line,) = lines_of(SACO, question([PATCHES], [WORDS], ["text"]), MODEL)
    assert line["groups"]["image"] is None
    assert line["groups"]["text"] is not None
    assert len(SACO.subsets(question([PATCHES], [WORDS], ["text"]))) == 6 + 1  # and nothing left out
