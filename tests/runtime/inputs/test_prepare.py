from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from PIL import Image

from xai.base.errors import XaiError
from xai.runtime.explainer import ENCODED_TOGETHER
from xai.runtime.inputs.prepare import LOOK_AHEAD, THREADS, ahead


def test_work_is_done_ahead_in_order_and_bounded() -> None:
    begun, main = [], threading.current_thread()

    def work(item: int) -> int:
        assert threading.current_thread() is not main
        begun.append(item)
        time.sleep(0.002 * (5 - item % 5))  # later ones finish first
        return item

    for place, future in enumerate(ahead(work, range(40))):
        assert future.result() == place
        assert len(begun) <= place + 2 + LOOK_AHEAD + THREADS
    assert sorted(begun) == list(range(40))


def test_an_error_keeps_its_place_and_the_rest_is_done() -> None:
    def work(item: int) -> int:
        if item == 3:
            raise XaiError("three")
        return item

    found = [future.exception() or future.result() for future in ahead(work, range(6))]
    assert str(found.pop(3)) == "three"
    assert found == [0, 1, 2, 4, 5]


def test_what_has_not_begun_when_the_reader_stops_is_not_done() -> None:
    begun = []
    reading = ahead(lambda item: begun.append(item) or time.sleep(0.01), range(1000))
    next(reading)
    reading.close()
    assert len(begun) <= LOOK_AHEAD + THREADS + 1


def test_a_batch_prepared_ahead_gives_what_single_images_give(tiny) -> None:
    rng = np.random.default_rng(0)
    pictures = [Image.fromarray(rng.integers(0, 256, (96, 96, 3), dtype=np.uint8)) for _ in range(2 * ENCODED_TOGETHER + 1)]
    pictures.insert(2, pictures[0])  # an image that comes twice is encoded once
    pairs = [(picture, tiny.cases[0]["question"]) for picture in pictures]
    explainer = tiny.explainer
    encoded = []
    run = explainer.session.run
    explainer.session.run = lambda graph, inputs, outputs=None: (
        encoded.append(len(inputs.get("pixels", ()))) or run(graph, inputs, outputs)  # rows that the image encoder sees
    )
    try:
        together = explainer.explain_batch(pairs)
        prepared = explainer.explain_batch([(explainer.prepare(picture), question) for picture, question in pairs])
    finally:
        del explainer.session.run
    assert sum(encoded) == 2 * (len(pictures) - 1)
    assert max(encoded) <= ENCODED_TOGETHER
    for (picture, question), (one,), (other,) in zip(pairs, together, prepared, strict=True):
        alone = explainer.explain(picture, question)
        for found in (one, other):
            assert np.allclose(found.image_relevance, alone.image_relevance, rtol=1e-4, atol=1e-6)
            assert found.answer.text == alone.answer.text
            assert {"decode", "preprocess", "assemble", "total"} <= set(found.timings_ms)


def test_of_a_batch_the_broken_image_is_named(tiny, tmp_path) -> None:
    (tmp_path / "broken.png").write_text("no image")
    pairs = [(tiny.image(0), "t5"), (tiny.image(1), "t5"), (tmp_path / "broken.png", "t5"), (tmp_path / "none.png", "t5")]
    with pytest.raises(XaiError, match=r"broken\.png is not an image"):
        tiny.explainer.explain_batch(pairs)
