"""Scores of boxes drawn over a picture: the highest shows, the rest of the picture is left alone, the highest are named."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from xai.runtime.explanation import Explanation
from xai.runtime.show.boxes import LISTED, MARKED, box_lines, marks, spread_boxes
from xai.runtime.show.document import html
from xai.runtime.show.theme import FLAT, map_image, paint
from xai.tests.runtime.show.explanations import Page, explanation


def boxes_of(count: int, seed: int = 0) -> np.ndarray:
    corners = np.random.default_rng(seed).random((count, 2, 2))
    corners.sort(axis=1)
    return corners.reshape(count, 4).astype(np.float32)


def explained(scores: list[float], boxes: np.ndarray, size: tuple[int, int] = (200, 100)) -> Explanation:
    made = explanation(size=size, relevance=np.zeros((1, 1)))
    crop = replace(made.crop, box=(0, 0, *size))
    return replace(made, crop=crop, boxes=np.asarray(boxes, np.float32), image_relevance=np.asarray(scores, np.float32))


@pytest.mark.parametrize("seed", range(5))
def test_the_highest_score_of_the_boxes_over_a_place_shows(seed: int) -> None:
    rows, columns = 60, 90
    boxes, scores = boxes_of(12, seed), np.random.default_rng(seed + 9).random(12)
    boxes = np.concatenate([0.9 * boxes[:, :2], 0.9 * boxes[:, 2:] + 0.05], 1)  # wider than a place, which the smallest are widened to
    values, covered = spread_boxes(scores, boxes, rows, columns)
    y, x = ((np.arange(n) + 0.5) / n for n in (rows, columns))
    inside = (
        (boxes[:, None, None, 0] <= x) & (x <= boxes[:, None, None, 2])
        & (boxes[:, None, None, 1] <= y[:, None]) & (y[:, None] <= boxes[:, None, None, 3])
    )  # fmt: skip
    edge = np.min(np.abs(boxes[:, [0, 2], None] - x), axis=(0, 1)) < 0.51 / columns, np.min(np.abs(boxes[:, [1, 3], None] - y), axis=(0, 1))
    safe = ~edge[0][None, :] & (edge[1] >= 0.51 / rows)[:, None]
    assert safe.mean() > 0.3
    assert np.array_equal(covered[safe], inside.any(0)[safe])
    assert np.array_equal(values[safe], np.where(inside, scores[:, None, None], 0).max(0)[safe])
    turned = np.random.default_rng(seed).permutation(12)
    assert np.array_equal(spread_boxes(scores[turned], boxes[turned], rows, columns)[0], values)


def test_a_box_without_area_or_at_the_edge_is_still_seen() -> None:
    for box in ([0.5, 0.5, 0.5, 0.5], [1, 1, 1, 1], [0, 0, 0, 0], [0.2, 0, 0.2, 1.00001]):
        _, covered = spread_boxes(np.ones(1), np.array([box]), 20, 30)
        assert covered.any()


def test_the_overlay_has_the_picture_s_shape_and_is_clear_where_no_box_is() -> None:
    why = explained([1.0, 0.5], np.array([[0, 0, 0.25, 0.5], [0.75, 0.5, 1, 1]]))
    overlay = np.asarray(map_image(why, 100))
    assert overlay.shape == (50, 100, 4)
    assert tuple(overlay[5, 5, :3]) == tuple(paint(why.image_relevance)[0])
    assert tuple(overlay[45, 95, :3]) == tuple(paint(why.image_relevance)[1])
    assert overlay[5, 95, 3] == overlay[45, 5, 3] == overlay[25, 50, 3] == 0
    assert overlay[5, 5, 3] > overlay[45, 95, 3] > 0
    flat = np.asarray(map_image(explained([1.0, 1.0], why.boxes), 100))
    assert tuple(flat[5, 5, :3]) == tuple(FLAT) and flat[5, 95, 3] == 0


def test_the_highest_boxes_are_outlined_and_named_unless_all_are_alike() -> None:
    scores = [0.1, 0.9, 0.3, 0.9, 0.2, 0.0, 0.5]
    why = explained(scores, boxes_of(7))
    assert [mark.number for mark in marks(why)] == list(range(1, MARKED + 1))
    assert why.boxes is not None
    assert np.allclose(marks(why)[0].corners, why.boxes[1] * [200, 100, 200, 100])  # the first of equals
    (line,) = box_lines(why)
    assert "[1] box 1 (0.9), [2] box 3 (0.9), [3] box 6 (0.5)" in line and line.count("box ") >= LISTED
    assert marks(explained([0.5] * 7, why.boxes)) == []
    assert marks(explanation()) == [] and box_lines(explanation()) == []


def test_a_page_knows_every_box_and_outlines_the_highest_of_its_first_two_methods() -> None:
    why = explained([0.1, 0.9, 0.3, 0.2], boxes_of(4))
    other = replace(why, method="rollout", image_relevance=np.array([0.9, 0.1, 0.2, 0.3], np.float32))
    page = Page(html([why, other]))
    assert page.open == []
    data = json.loads(next(text for text in page.texts if text.lstrip().startswith('{"schema_version')))
    assert data["boxes"] == boxes_of(4).tolist()
    assert [one["image_relevance"] for one in data["explanations"]] == [why.image_relevance.tolist(), other.image_relevance.tolist()]
    numbers = sorted(text for text in page.texts if text in ("1", "2", "3"))
    assert numbers == ["1", "1", "2", "2", "3", "3"]  # outlined, without scripts, of the first two
