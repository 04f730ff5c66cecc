from __future__ import annotations

import numpy as np
import pytest

from xai.bench.data.regions import Region, square_cells
from xai.bench.data.scenes import Scene, Shape, true_region
from xai.bench.measures.pointing import Pointing, energy_inside, is_hit, pointing_samples, pointing_table, wilson

SCENE = Scene((Shape("rectangle", "red", 0.25, 0.25, 0.125, 0.125), Shape("circle", "blue", 0.7, 0.7, 0.1, 0.1)), (255, 255, 255))


def covered_by(*shapes: int) -> Region:
    region = true_region(SCENE, shapes, square_cells(8, 8))
    assert region is not None
    return region


def test_the_truth_lies_where_the_shapes_are() -> None:
    covered = covered_by(0)
    assert covered.shape == (8, 8)
    inside = np.zeros((8, 8), bool)
    inside[1:3, 1:3] = True
    assert (covered[inside] > 0.95).all()
    assert covered[~inside].sum() < 0.5  # a line of pixels at most
    assert np.allclose(covered_by(0, 1), covered + covered_by(1))


def test_a_hit_is_a_maximum_in_the_region() -> None:
    covered = covered_by(0)
    relevance = np.zeros((8, 8))
    relevance[2, 1] = 1
    assert is_hit(relevance, covered)
    assert energy_inside(relevance, covered) == pytest.approx(covered[2, 1])
    relevance[6, 6] = 2
    assert not is_hit(relevance, covered)
    assert energy_inside(np.zeros((8, 8)), covered) == 0


def test_only_questions_with_a_region_are_played() -> None:
    played = pointing_samples(3, 50)
    assert len(played) == 50
    assert all(q.region for _, q in played)
    assert pointing_samples(3, 20) == played[:20]


def test_wilson_interval_holds_the_share_and_narrows() -> None:
    for hits, n in ((0, 10), (5, 10), (10, 10), (60, 500)):
        low, high = wilson(hits, n)
        assert 0 <= low <= hits / n <= high <= 1
    assert np.diff(wilson(50, 100)) > np.diff(wilson(500, 1000))


def test_the_table_has_a_row_for_each_variant() -> None:
    result = Pointing(
        ("a", "b@all"), np.array([[True, False]] * 4), np.full((4, 2), 0.5), np.array([True, False, True, True]), ("color",) * 4
    )
    rows = pointing_table(result).splitlines()
    assert len(rows) == 4
    assert rows[2].startswith("| a | 100.0%")
    assert rows[3].startswith("| b@all | 0.0%")
