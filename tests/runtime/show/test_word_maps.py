"""The sheet's small maps: one for each word, in its place, over what the model saw."""

from dataclasses import replace

import numpy as np
import pytest

from xai.runtime.explanation import Explanation, LeftOut
from xai.runtime.show.boxes import left_out_boxes
from xai.runtime.show.sheet import draw
from xai.runtime.show.theme import word_maps
from xai.tests.runtime.show.explanations import NASTY, explanation, pixels

LONG = " ".join(["How many of the small red houses that stand left of the hill are as high as this tree?"])


def with_words(one: Explanation, kind: str = "relevance", seed: int = 0) -> Explanation:
    words = len(one.question.words)
    regions = np.random.default_rng(seed).random((words, *one.image_relevance.shape)).astype(np.float32)
    return replace(one, word_regions=regions, word_regions_kind=kind)


@pytest.mark.parametrize("size", [(320, 240), (240, 320), (1000, 120), (20, 20)])
@pytest.mark.parametrize("text", ["How many are?", "What stands left of the sun over there now?", LONG])
def test_there_is_a_map_for_each_word_that_leaves_no_room_empty_and_covers_no_other(size, text) -> None:
    plain = explanation(size=size, text=text)
    figure = draw([with_words(plain)])
    before = len(draw([plain]).axes)
    pixels(figure)
    boxes = [axes.get_window_extent() for axes in figure.axes[before:]]
    assert len(boxes) == len(plain.question.words)
    width, height = figure.canvas.get_width_height()
    for i, box in enumerate(boxes):
        assert box.x0 > 0 and box.y0 > 0 and box.x1 < width and box.y1 < height
        assert box.width == pytest.approx(box.height, rel=1e-3)  # the crop is a square
        for other in boxes[i + 1 :]:
            assert box.x1 <= other.x0 or other.y1 <= box.y0  # in reading order, apart


def test_nothing_is_drawn_for_who_did_not_ask() -> None:
    assert word_maps([explanation()]) == []


def test_maps_that_several_methods_share_are_drawn_once() -> None:
    alike = [with_words(explanation(method=method), "affinity", 1) for method in ("dsmi", "rollout")]
    own = with_words(explanation(method="relevance-maps", layers=None), "relevance", 2)
    found = word_maps([*alike, own])
    assert [one.title for one in found] == ["What goes with each word, by features", "What goes with each word, by relevance-maps"]
    assert "No relevance" in found[0].caption
    texts = [text.get_text() for text in draw([*alike, own]).texts]
    assert [one.title for one in found] == [text for text in texts if text.startswith("What goes with")]


def test_each_map_carries_its_word_and_its_highest_score() -> None:
    one = with_words(explanation(text=NASTY))
    texts = [text.get_text() for text in draw([one]).texts]
    for values in one.word_regions:
        assert f"highest {values.max():.3g}" in texts


def test_a_map_shows_its_own_peak() -> None:
    one = explanation(text="left right", hot=None)
    regions = np.zeros((2, 8, 8), np.float32)
    regions[0, 4, 1] = regions[1, 4, 6] = 1
    figure = draw([replace(one, word_regions=regions, word_regions_kind="relevance")])
    sheet = pixels(figure)
    glow = (sheet[..., 0] - sheet[..., 2] > 60) & (sheet[..., 0] > 170)
    for axes, place in zip(figure.axes[-2:], (1.5 / 8, 6.5 / 8), strict=True):
        box = axes.get_window_extent()
        inside = glow[round(len(sheet) - box.y1) : round(len(sheet) - box.y0), round(box.x0) : round(box.x1)]
        assert np.nonzero(inside)[1].mean() / box.width == pytest.approx(place, abs=0.03)


def test_what_was_left_out_is_one_box_a_row_and_is_named() -> None:
    one = explanation(size=(400, 200), text="left right")
    one = replace(one, left_out=LeftOut((1,), (0, 1, 2, 8, 63), one.answer))
    assert left_out_boxes(one) == [(100, 0, 175, 25), (100, 25, 125, 50), (275, 175, 300, 200)]
    texts = [text.get_text() for text in draw([with_words(one)]).texts]
    assert "left out" in texts
    assert "With nothing left out" in texts
    assert any("the word 'right' and 5 of 64 patches" in text for text in texts)
