from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xai.bench.measures.areas import Curve, curve_rows
from xai.bench.perturb.plan import (
    MODALITIES,
    SIGNS,
    STEPS,
    Subset,
    batch_subsets,
    content_maps,
    exact_counts,
    keeping_order,
    plan_question,
    published_counts,
)
from xai.runtime.description import Special
from xai.runtime.relevance import Relevance
from xai.runtime.sessions.memory import Memory
from xai.tests.bench.perturb.plans import published_plan, scope_of

WORDS = Special(1, 1)
SPECIAL = {"text": WORDS, "image": Special(1, 0)}


def naive_kept(relevance, sign: str, count: int) -> list[int]:
    """The published loop: scale, negate for the positive test, take the top `count`, lowest index first among equals."""
    low, high = min(relevance), max(relevance)
    score = [(r - low) / (high - low) if high > low else 0.0 for r in relevance]
    if sign == "positive":
        score = [-s for s in score]
    return sorted(sorted(range(len(score)), key=lambda i: (-score[i], i))[:count])


# Small integers: many ties, and differences that scaling keeps apart.
vectors = st.lists(st.integers(0, 5), min_size=1, max_size=24)


@st.composite
def questions(draw):
    """Relevances of one question by several methods."""
    patches, words = draw(st.integers(1, 20)), draw(st.integers(1, 9))

    def values(n: int):
        return st.lists(st.integers(0, 4), min_size=n, max_size=n)

    methods = draw(st.lists(st.tuples(values(words), values(patches)), min_size=1, max_size=5))
    return [Relevance(np.array([0.0, *t, 0.0]), np.array(i, dtype=float)) for t, i in methods]


@settings(max_examples=60, deadline=None)
@given(questions())
def test_planned_subsets_equal_the_naive_loop(relevances) -> None:
    maps, plan = published_plan(relevances, WORDS)
    rows = curve_rows(maps, scope_of(len(relevances)))
    for m, relevance in enumerate(relevances):
        for modality, values in (("image", relevance.image), ("text", relevance.text[1:-1])):
            n = len(values)
            assert maps.tokens(modality) == n
            for sign in SIGNS:
                for count in {int((1 - step) * n) for step in STEPS} | set(exact_counts(n)):
                    subset = plan.subsets[plan.asked["published"][rows[Curve(m, modality, sign), count]]]
                    other = "text" if modality == "image" else "image"
                    assert getattr(subset, modality).tolist() == naive_kept(values.tolist(), sign, count)
                    assert getattr(subset, other).tolist() == list(range(maps.tokens(other)))
    keys = [(tuple(subset.image), tuple(subset.text)) for subset in plan.subsets]
    assert len(set(keys)) == len(keys)
    assert keys[0] == (tuple(range(maps.tokens("image"))), tuple(range(maps.tokens("text"))))
    assert set(plan.asked["published"].tolist()) == set(range(len(keys)))


@settings(max_examples=40, deadline=None)
@given(st.lists(questions(), min_size=1, max_size=4), st.integers(1, 7))
def test_batches_hold_every_subset_once_in_rows_of_one_length(asked, most) -> None:
    plans = [published_plan(relevances, WORDS)[1] for relevances in asked]
    seen = []
    for batch in batch_subsets(plans, SPECIAL, lambda *_: most):
        assert 1 <= len(batch.jobs) <= most
        for q, s in batch.jobs:
            kept = plans[q].subsets[s]
            assert (batch.image_tokens, batch.text_tokens) == (1 + len(kept.image), 2 + len(kept.text))
        seen += batch.jobs
    assert sorted(seen) == [(q, s) for q, plan in enumerate(plans) for s in range(1, len(plan.subsets))]


subsets = st.tuples(st.sets(st.integers(0, 2)), st.sets(st.integers(0, 2)))


@given(st.lists(st.lists(subsets, max_size=8), min_size=1, max_size=3))
def test_what_measures_share_is_planned_once_and_costs_the_first(wanted) -> None:
    asked = {f"m{i}": [Subset(*(np.array(sorted(part), np.int64) for part in one)) for one in own] for i, own in enumerate(wanted)}
    everything = Subset(np.arange(3), np.arange(3))
    plan = plan_question(everything, asked)
    keys = [(tuple(subset.image), tuple(subset.text)) for subset in plan.subsets]
    assert len(set(keys)) == len(keys)
    known = {((0, 1, 2), (0, 1, 2))}
    for (name, own), cost in zip(asked.items(), plan.costs(3).values(), strict=True):
        mine = [(tuple(subset.image), tuple(subset.text)) for subset in own]
        assert [keys[row] for row in plan.asked[name]] == mine
        new = set(mine) - known
        assert cost == (len(set(mine) - {keys[0]}), len(new), sum(len(image) + len(text) + 3 for image, text in new))
        known |= new
    assert sum(cost.new for cost in plan.costs(3).values()) == len(plan.subsets) - 1


def test_counts() -> None:
    assert published_counts(10) == (10, 7, 5, 2, 1, 1, 0, 0, 0)
    assert exact_counts(10) == (10, 7, 5, 2, 2, 1, 1, 0, 0)
    assert published_counts(7) == (7, 5, 3, 1, 1, 1, 0, 0, 0)
    for n in range(1, 2000):
        published, exact = published_counts(n), exact_counts(n)
        assert all(p in (e, e - 1) for p, e in zip(published, exact, strict=True))
        assert exact == tuple(n * Fraction(100 - round(100 * s), 100) // 1 for s in STEPS)
        assert published[0] == n
        assert published[-1] == 0


@given(vectors)
def test_kept_sets_are_nested_and_signs_mirror_each_other_without_ties(values) -> None:
    n = len(values)
    distinct = np.array(values) + np.linspace(0, 0.5, n)
    assert keeping_order(distinct, "positive").tolist() == keeping_order(distinct, "negative").tolist()[::-1]
    for sign in SIGNS:
        assert sorted(keeping_order(np.array(values, dtype=float), sign)) == list(range(n))


@pytest.mark.parametrize("sign", SIGNS)
def test_a_constant_relevance_is_a_tie(sign) -> None:
    assert keeping_order(np.full(5, 0.3), sign).tolist() == [0, 1, 2, 3, 4]
    almost = np.full(5, 0.3, np.float32)
    almost[0] = np.nextafter(almost[0], np.float32(1))
    assert keeping_order(almost, sign).tolist() == [0, 1, 2, 3, 4]


def test_only_what_is_asked_for_is_planned() -> None:
    relevance = Relevance(np.array([0, 3.0, 1, 2, 0]), np.arange(8.0))
    maps, plan = published_plan([relevance, relevance], WORDS, ("text",), ("positive",))
    assert {curve for curve, _ in curve_rows(maps, scope_of(2, ("text",), ("positive",)))} == {
        Curve(0, "text", "positive"),
        Curve(1, "text", "positive"),
    }
    assert len(plan.subsets) == 1 + len(set(published_counts(3)) - {3})  # the second method asks for nothing new
    assert all(len(subset.image) == 8 for subset in plan.subsets)
    assert set(MODALITIES) == {"image", "text"}


def test_maps_leave_special_words_out() -> None:
    maps = content_maps([Relevance(np.array([9.0, 1, 2, 9, 9]), np.arange(3.0))], Special(1, 2))
    assert [values.tolist() for values in (*maps.text, *maps.image)] == [[1, 2], [0, 1, 2]]
    assert [part.tolist() for part in maps.keep(text=np.array([1, 0]))] == [[0, 1, 2], [0, 1]]


def test_memory_bounds_the_rows() -> None:
    for limit in (1, 10**8, 10**10):
        memory = Memory(limit, 768, 6)
        rows = [memory.answers(n, 10) for n in (1, 65, 325, 1297)]
        assert rows == sorted(rows, reverse=True)
        assert min(rows) >= 1
        assert memory.evidence(1297, 10) <= memory.answers(1297, 10)
    full = Memory(4 * 2**30, 768, 6)
    assert full.evidence(1297, 10) >= 1
    assert full.answers(1297, 10) >= 8
    assert full.questions(1297) == 1
    assert Memory(8 * 2**30, 128, 3).questions(145) == 32
