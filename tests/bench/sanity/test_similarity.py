"""The similarities, against independent restatements of the papers' formulas."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from xai.bench.sanity.asking import Maps
from xai.bench.sanity.randomise import MEASURES, compare_maps
from xai.bench.sanity.similarity import entropy, entropy_rise, rank_correlation, ssim

RNG = np.random.default_rng(3)


def restated_spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's correlation of ranks; a rank is the number of smaller values and half of the equal ones."""

    def ranks(values: list[float]) -> list[float]:
        return [sum(v < w for v in values) + (sum(v == w for v in values) + 1) / 2 for w in values]

    x, y = ranks(a.ravel().tolist()), ranks(b.ravel().tolist())
    mean = (len(x) + 1) / 2
    covariance = sum((p - mean) * (q - mean) for p, q in zip(x, y, strict=True))
    return covariance / math.sqrt(sum((p - mean) ** 2 for p in x) * sum((q - mean) ** 2 for q in y))


def restated_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Patch by patch: weighted means, variances and covariance in a window of 11 x 11, mirrored beyond the edge."""
    x, y = ((m - m.min()) / (m.max() - m.min()) for m in (a, b))
    weight = {d: math.exp(-(d**2) / (2 * 1.5**2)) for d in range(-5, 6)}
    total = sum(weight.values())
    rows, columns = x.shape

    def mirrored(i: int, n: int) -> int:
        i %= 2 * n
        return i if i < n else 2 * n - 1 - i

    found = []
    for r in range(rows):
        for c in range(columns):
            window = [
                (
                    weight[i] * weight[j] / total**2,
                    x[mirrored(r + i, rows), mirrored(c + j, columns)],
                    y[mirrored(r + i, rows), mirrored(c + j, columns)],
                )
                for i in weight
                for j in weight
            ]
            mx, my = sum(w * p for w, p, _ in window), sum(w * q for w, _, q in window)
            vx, vy = sum(w * (p - mx) ** 2 for w, p, _ in window), sum(w * (q - my) ** 2 for w, _, q in window)
            cov = sum(w * (p - mx) * (q - my) for w, p, q in window)
            found.append((2 * mx * my + 1e-4) * (2 * cov + 9e-4) / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4)))
    return sum(found) / len(found)


def restated_entropy(values: np.ndarray) -> float:
    """Counted bin by bin; the largest value falls into the last bin."""
    scaled = (values.ravel() - values.min()) / (values.max() - values.min())
    counts = Counter(min(int(v * 100), 99) for v in scaled.tolist())
    return -sum(n / values.size * math.log(n / values.size) for n in counts.values())


@pytest.mark.parametrize("shape", [(12, 12), (9, 16), (3, 4)])
def test_each_equals_its_restatement(shape: tuple[int, int]) -> None:
    for _ in range(5):
        a = RNG.random(shape) ** 3
        b = np.round(a + RNG.random(shape), 1)  # with equal values
        assert rank_correlation(a, b) == pytest.approx(restated_spearman(a, b), abs=1e-6)
        assert ssim(a, b) == pytest.approx(restated_ssim(a, b), abs=1e-10)
        assert entropy(a) == pytest.approx(restated_entropy(a), abs=1e-12)


def test_equal_maps_are_alike_and_scale_does_not_matter() -> None:
    a = RNG.random((12, 12))
    assert rank_correlation(a, 3 * a + 7) == pytest.approx(1)
    assert rank_correlation(a, -a) == pytest.approx(-1)
    assert ssim(a, 3 * a + 7) == pytest.approx(1)
    assert entropy_rise(a, 3 * a + 7) == pytest.approx(0, abs=0.05)


def test_a_map_of_one_value_is_like_another_such_and_like_nothing_else() -> None:
    flat, a = np.full((12, 12), 0.3), RNG.random((12, 12))
    assert rank_correlation(flat, a) == rank_correlation(a, flat) == 0
    assert rank_correlation(flat, 2 * flat) == 1
    assert ssim(flat, 2 * flat) == pytest.approx(1)
    assert ssim(flat, a) < 0.1
    assert entropy(flat) == 0
    assert entropy_rise(a, flat) == -1
    assert math.isnan(entropy_rise(flat, a))
    assert math.isnan(rank_correlation(a[:1, :1], a[:1, :1]))


def test_entropy_is_largest_where_every_bin_has_as_many() -> None:
    even = np.arange(100.0)
    assert entropy(even) == pytest.approx(math.log(100))
    assert entropy(np.repeat([0.0, 1.0], 50)) == pytest.approx(math.log(2))
    assert entropy_rise(np.repeat([0.0, 1.0], 50), even) == pytest.approx(math.log(100) / math.log(2) - 1)


def test_boxes_have_no_structure() -> None:
    a = Maps(RNG.random(7), RNG.random(5))
    found = dict(zip(MEASURES, compare_maps(a, a), strict=True))
    assert math.isnan(found.pop("image_ssim"))
    assert found == {"image_spearman": pytest.approx(1), "words_spearman": pytest.approx(1), "image_entropy_rise": 0}
