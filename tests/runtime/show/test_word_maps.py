"""The sheet's small maps: one for each word, in its place, over what the model saw."""

from dataclasses import replace

import numpy as np
import pytest

from xai.runtime.explanation import Explanation, LeftOut
from xai.runtime.show.boxes import left_out_boxes
from xai.runtime.show.sheet import draw
from xai.runtime.show.theme import word_maps
from xai.tests.runtime.show.explanations import NASTY, explanation, panels, pixels, texts

LONG = " ".join(["How many of the small red houses that stand left of the hill are as high as this tree?"])


def with_words(one: Explanation, kind: str = "relevance", seed: int = 0) -> Explanation:
    words = len(one.question.words)
    regions = np.random.default_rng(seed).random((words, *one.image_relevance.shape)).astype(np.float32)
    return replace(one, word_regions=regions, word_regions_kind=kind)


@pytest.mark.parametrize("size", [(320, 240), (240, 320), (1000, 120), (20, 20)])
@pytest.mark.parametrize("text", ["How many are?", "What stands left of the sun over there now?", LONG])
def test_there_is_a_map_for_each_word_that_leaves_no_room_empty_and_covers_no_other(size, text) -> None:
    plain = explanation(size=size, text=text)
    sheet = draw([with_words(plain)])
    boxes = panels(sheet)[len(panels(draw([plain]))) :]
    assert len(boxes) == len(plain.question.words)
    height, width, _ = pixels(sheet).shape
    for i, (left, top, right, bottom) in enumerate(boxes):
        assert left > 0 and top > 0 and right < width and bottom < height
        assert right - left == pytest.approx(bottom - top, abs=1)  # the crop is a square
        for other in boxes[i + 1 :]:
            assert right <= other[0] or bottom <= other[1]  # in reading order, apart


def test_nothing_is_drawn_for_who_did_not_ask() -> None:
    assert word_maps([explanation()]) == []


def test_maps_that_several_methods_share_are_drawn_once() -> None:
    alike = [with_words(explanation(method=method), "affinity", 1) for method in ("dsmi", "rollout")]
    own = with_words(explanation(method="relevance-maps", layers=None), "relevance", 2)
    found = word_maps([*alike, own])
    assert [one.title for one in found] == ["What goes with each word, by features", "What goes with each word, by relevance-maps"]
    assert "No relevance" in found[0].caption
    told = texts(draw([*alike, own]))
    assert [one.title for one in found] == [text for text in told if text.startswith("What goes with")]


def test_each_map_carries_its_word_and_its_highest_score() -> None:
    one = with_words(explanation(text=NASTY))
    told = texts(draw([one]))
    for values in one.word_regions:
        assert f"highest {values.max():.3g}" in told


def test_a_map_shows_its_own_peak() -> None:
    one = explanation(text="left right", hot=None)
    regions = np.zeros((2, 8, 8), np.float32)
    regions[0, 4, 1] = regions[1, 4, 6] = 1
    drawn = draw([replace(one, word_regions=regions, word_regions_kind="relevance")])
    sheet = pixels(drawn)
    glow = (sheet[..., 0] - sheet[..., 2] > 60) & (sheet[..., 0] > 170)
    for (left, top, right, bottom), place in zip(panels(drawn)[-2:], (1.5 / 8, 6.5 / 8), strict=True):
        inside = glow[top:bottom, left:right]
        assert np.nonzero(inside)[1].mean() / (right - left) == pytest.approx(place, abs=0.03)


def test_what_was_left_out_is_one_box_a_row_and_is_named() -> None:
    one = explanation(size=(400, 200), text="left right")
    one = replace(one, left_out=LeftOut((1,), (0, 1, 2, 8, 63), one.answer))
    assert left_out_boxes(one) == [(100, 0, 175, 25), (100, 25, 125, 50), (275, 175, 300, 200)]
    told = texts(draw([with_words(one)]))
    assert "left out" in told
    assert "With nothing left out" in told
    assert any("the word 'right' and 5 of 64 patches" in text for text in told)
