"""Synergistic faithfulness on models by hand: best, worst and expected values in closed form, and the paper's formula in plain loops."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xai.bench.measures.synergy import SYNERGY, top_counts
from xai.tests.bench.measures.models import additive, arbitrary, both_needed, either_will_do, falling, lines_of, peak, question, values_of

GAIN, BASE = 0.6, 0.1
MODEL = both_needed(9, 9, BASE, GAIN)


def first_at(place: int, n: int = 10) -> list[float]:
    """A map that gives item `n` - 1 the rank `place`, counted from 1."""
    others = [float(i) for i in range(n, 0, -1)]
    return [*others[: n - 1], others[place - 1] + 0.5]


def test_a_perfect_explainer_reaches_the_best_and_a_constant_or_reversed_one_the_worst() -> None:
    """Area of a curve that jumps from 0 to the gain at its first or at its last step of ten."""
    perfect, constant, reversed_one = peak(10, 9), [1.0] * 10, [1.0 - v for v in peak(10, 9)]
    asked = question([perfect, constant, reversed_one], [perfect, constant, reversed_one])
    assert values_of(SYNERGY, asked, MODEL, "raw") == pytest.approx([0.95 * GAIN, 0.05 * GAIN, 0.05 * GAIN])
    for column in ("normalised", "unclipped"):
        assert values_of(SYNERGY, asked, MODEL, column) == pytest.approx([0.95, 0.05, 0.05])


def test_noise_gets_the_mean_over_all_ranks() -> None:
    """The patch and the word are found together with probability (k / 10)^2: the trapezoid rule gives 0.335."""
    maps = [first_at(place) for place in range(1, 11)]
    pairs = list(product(maps, maps))
    found = values_of(SYNERGY, question([a for a, _ in pairs], [b for _, b in pairs]), MODEL, "raw")
    assert np.mean(found) == pytest.approx(0.335 * GAIN)
    assert np.mean(found) == pytest.approx(GAIN * np.trapezoid((np.arange(11) / 10) ** 2, np.arange(11) / 10))
    assert min(found) == pytest.approx(0.05 * GAIN)
    assert max(found) == pytest.approx(0.95 * GAIN)


def test_one_modality_found_and_the_other_not_is_as_bad_as_nothing_found() -> None:
    """What unimodal curves cannot see."""
    perfect, wrong = peak(10, 9), [1.0 - v for v in peak(10, 9)]
    found = values_of(SYNERGY, question([perfect, wrong], [wrong, perfect]), MODEL, "raw")
    assert found == pytest.approx([0.05 * GAIN] * 2)


def test_redundant_modalities_are_below_0_and_clipping_hides_it() -> None:
    asked = question([peak(10, 9)], [peak(10, 9)])
    model = either_will_do(9, 9, BASE, GAIN)
    assert values_of(SYNERGY, asked, model, "raw") == pytest.approx([-0.95 * GAIN])
    assert values_of(SYNERGY, asked, model, "unclipped") == pytest.approx([-0.95])
    assert values_of(SYNERGY, asked, model, "normalised") == [0]


def test_modalities_that_add_up_have_no_synergy() -> None:
    half = [w / 2 for w in falling(7)]
    for column in ("raw", "normalised", "unclipped"):
        (found,) = values_of(SYNERGY, question([falling(7)], [falling(7)[::-1]]), additive(half, half), column)
        assert found == pytest.approx(0, abs=2e-6)


def test_a_gain_near_0_is_not_divided_by() -> None:
    (found,) = values_of(SYNERGY, question([peak(10, 9)], [peak(10, 9)]), both_needed(9, 9, 0.3, 0.01), "unclipped")
    assert found == pytest.approx(0.95 * 0.01 / 0.05)


def restated(image: list[float], text: list[float], model) -> tuple[float, float]:
    """F_syn raw and normalised, from arXiv 2605.22168: sets, loops, trapezoids by hand."""
    patches, words = (sorted(range(len(m)), key=lambda i, m=m: (-m[i], i)) for m in (image, text))
    everything = frozenset(patches), frozenset(words)
    nothing = frozenset(), frozenset()
    whole, none = model(*everything), model(*nothing)
    insertion, deletion = [], []
    for step in range(11):
        counts = [int((Decimal(step) / 10 * len(order)).to_integral_value(ROUND_HALF_EVEN)) for order in (patches, words)]
        top_i, top_t = frozenset(patches[: counts[0]]), frozenset(words[: counts[1]])
        rest_i, rest_t = everything[0] - top_i, everything[1] - top_t
        insertion.append(model(top_i, top_t) - model(top_i, nothing[1]) - model(nothing[0], top_t) + none)
        deletion.append(model(rest_i, rest_t) - model(rest_i, everything[1]) - model(everything[0], rest_t) + whole)
    gain = max(abs(whole - none), 0.05)
    raw = normalised = 0.0
    for a in range(10):
        for curve in (insertion, deletion):
            raw += (curve[a] + curve[a + 1]) / 2 * 0.1 / 2
            clipped = [min(max(v / gain, 0.0), 1.0) for v in curve]
            normalised += (clipped[a] + clipped[a + 1]) / 2 * 0.1 / 2
    return raw, normalised


small = st.lists(st.integers(0, 4), min_size=1, max_size=13)


@given(small, small, st.integers(0, 999))
def test_it_equals_the_formula_restated(image, text, seed) -> None:
    """Also for ties, for one word and for one patch."""
    image, text = ([float(v) for v in values] for values in (image, text))
    asked, model = question([image], [text]), arbitrary(seed)
    raw, normalised = restated(image, text, model)
    assert values_of(SYNERGY, asked, model, "raw") == pytest.approx([raw], abs=3e-6)
    assert values_of(SYNERGY, asked, model, "normalised") == pytest.approx([normalised], abs=1e-4)
    (line,) = lines_of(SYNERGY, asked, model)
    assert line["insertion"][0] == line["deletion"][0] == 0
    assert line["insertion"][-1] == pytest.approx(line["deletion"][-1], abs=2e-6)


def test_counts_round_a_half_to_even() -> None:
    assert top_counts(1) == (0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1)
    assert top_counts(5) == (0, 0, 1, 2, 2, 2, 3, 4, 4, 4, 5)
    assert top_counts(10) == tuple(range(11))
