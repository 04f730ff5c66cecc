"""A model that is served: its explainer, its queue, and the threads that decode and draw beside it."""

from __future__ import annotations

import asyncio
import contextlib
import io
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from prometheus_client import Histogram

from xai.base.errors import BadInput, XaiError, first_line
from xai.runtime.explainer import Explainer
from xai.runtime.explanation import Explanation
from xai.runtime.inputs.kept import KeptImages
from xai.runtime.inputs.prepare import PreparedImage
from xai.runtime.masked.prediction import Asked, Prediction
from xai.runtime.methods import AS_PUBLISHED, find_methods
from xai.runtime.sessions.memory import check_bounded, check_fits, explaining_takes, process_takes
from xai.serve.errors import Refusal, bad_input
from xai.serve.gauges import Gauges
from xai.serve.queue import Batcher, Passed
from xai.serve.settings import Settings

FORMATS = ("PNG", "JPEG", "WEBP")
"""Pictures that a stranger may send, by Pillow's names."""

WARM_UP_QUESTION = "Is there a circle?"

T = TypeVar("T")


def check_serving(explainers: Sequence[Explainer], settings: Settings, limit: int) -> None:
    """Raise `BadInput` where a server of these models is not known to stay below `limit` bytes, all of them running at once."""
    takes = process_takes()
    for explainer in explainers:
        check_bounded(explainer.session)
        takes += (
            explaining_takes(explainer.session, settings.max_batch, explainer.session.description.max_text_tokens) + settings.largest_load
        )
    check_fits(limit, takes, "with these settings; a lower --max-batch, --queue, --max-body, --max-pixels or --image-cache takes less")


class Picture(NamedTuple):
    """A picture as it came: its bytes, and the name that the client gave it."""

    content: bytes
    name: str = "the image"


@dataclass(frozen=True)
class Work:
    """One request, ready for the model: to be explained by these methods, or, where there are none, to be answered."""

    asked: Asked
    methods: tuple[str, ...]
    target: str | int | None
    top_k: int
    versus: str | int | None = None
    word_regions: bool = False


class Result(NamedTuple):
    """What the model says to one request, milliseconds by stage of the pass, and whether its image did not have to be encoded."""

    said: list[Explanation] | Prediction
    timings_ms: Mapping[str, float]
    kept: bool


class Threads(NamedTuple):
    """Who works beside the models: decoders let go of Python's lock, matplotlib wants to be alone."""

    decoding: Executor
    drawing: Executor


class Served:
    """One model under its name."""

    def __init__(self, name: str, explainer: Explainer, settings: Settings, gauges: Gauges, threads: Threads) -> None:
        self.name, self.explainer, self.ready = name, explainer, False
        explainer.kept = KeptImages(settings.image_cache)
        self._settings, self._gauges, self._threads = settings, gauges, threads
        self._own = ThreadPoolExecutor(1, thread_name_prefix=f"model-{name}")
        self.batcher: Batcher[Work, Result] = Batcher(name, self._run, self._own, settings, gauges)

    async def warm_up(self) -> None:
        """Run one real explanation by every method as published, and one answer: their graphs are then loaded and known to work."""
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        image = await self._beside(self._threads.decoding, self.explainer.prepare, Image.fromarray(noise))
        asked = Asked(image, WARM_UP_QUESTION)
        for methods in (AS_PUBLISHED, ()):
            await self.batcher.submit(Work(asked, methods, None, 1), methods)
        self.ready = True

    async def explain(
        self,
        picture: Picture,
        question: str,
        methods: Sequence[str],
        target: str | int | None,
        versus: str | int | None,
        top_k: int,
        word_regions: bool = False,
    ) -> Passed[Result]:
        """The explanations of one answer. Raises `Refusal` on an input that cannot be used."""
        with _refusing():
            names = tuple(method.name for method in find_methods(methods, self.explainer.session.description))
            encoded = self.explainer.check(question, target, versus=versus, methods=names)
        image = await self._decode(picture)
        with self._timed(self._gauges.explain):
            work = Work(Asked(image, encoded), names, target, top_k, versus, word_regions)
            return await self.batcher.submit(work, (names, word_regions))

    async def answer(
        self, picture: Picture, question: str, without_patches: Sequence[int], without_words: Sequence[int], top_k: int
    ) -> Passed[Result]:
        """The answer, with patches and words left out that are named by number. Raises `Refusal` on an input that cannot be used."""
        with _refusing():
            encoded = self.explainer.check(question)
        words = _mask(without_words, len(encoded.words), "without_words", "words")
        image = await self._decode(picture)
        masks = _mask(without_patches, math.prod(image.shape), "without_patches", "patches"), words
        with self._timed(self._gauges.predict):
            return await self.batcher.submit(Work(Asked(image, encoded, *masks), (), None, top_k), ())

    async def draw(self, write: Callable[..., bytes], *arguments: Any) -> bytes:
        """What `write` makes of the arguments, in the thread that draws."""
        with self._timed(self._gauges.postprocess):
            return await self._beside(self._threads.drawing, write, *arguments)

    async def _decode(self, picture: Picture) -> PreparedImage:
        with self._timed(self._gauges.preprocess):
            return await self._beside(self._threads.decoding, self._prepare, picture)

    def _prepare(self, picture: Picture) -> PreparedImage:
        check_picture(picture, self._settings.max_pixels)
        file = io.BytesIO(picture.content)
        file.name = picture.name
        with _refusing():
            return self.explainer.prepare(file)

    def _run(self, works: Sequence[Work]) -> list[Result]:
        """One pass of the model, in its thread."""
        kept = self.explainer.kept
        hits, misses = kept.hits, kept.misses
        found: list[list[Explanation] | Prediction]
        most = max(work.top_k for work in works)
        if methods := works[0].methods:
            pairs = [(work.asked.image, work.asked.question) for work in works]
            targets, versus = [work.target for work in works], [work.versus for work in works]
            seeds, regions = [0] * len(works), works[0].word_regions
            explained = self.explainer.explain_batch(pairs, methods, targets, versus, top_k=most, seed=seeds, word_regions=regions)
            found, timings = [*explained], explained[0][0].timings_ms
        else:
            predictions = self.explainer.answer_batch([work.asked for work in works], top_k=most)
            found, timings = [*predictions], predictions[0].timings_ms
        self._gauges.observe_stages(timings)
        self._gauges.images.labels(self.name, "cache").inc(kept.hits - hits)
        self._gauges.images.labels(self.name, "encoder").inc(kept.misses - misses)
        self._gauges.kept_bytes.labels(self.name).set(kept.bytes)
        nothing_encoded = kept.misses == misses
        return [Result(_first(said, work.top_k), timings, nothing_encoded) for said, work in zip(found, works, strict=True)]

    @contextlib.contextmanager
    def _timed(self, histogram: Histogram) -> Iterator[None]:
        start = time.perf_counter()
        yield
        histogram.labels(self.name).observe(time.perf_counter() - start)

    async def _beside(self, executor: Executor, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(executor, work, *arguments)


def check_picture(picture: Picture, max_pixels: int) -> None:
    """Raises `Refusal` before anything is decoded: 415 for a format that is not on the list, 422 for too many pixels."""
    if not picture.content:
        raise bad_input(f"{picture.name} is empty: send a picture")
    try:
        with Image.open(io.BytesIO(picture.content), formats=FORMATS) as opened:
            width, height = opened.size
    except UnidentifiedImageError as error:
        raise Refusal(415, "picture_type", f"{picture.name} is not a picture of {', '.join(FORMATS)}: convert it") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(picture.name, max_pixels) from error
    except (OSError, ValueError, TypeError, SyntaxError, EOFError, IndexError, KeyError) as error:  # so Pillow reports damage
        raise bad_input(f"{picture.name} cannot be read as a picture: {first_line(error)}") from error
    if width * height > max_pixels:
        raise _too_large(picture.name, max_pixels)


def _too_large(name: str, max_pixels: int) -> Refusal:
    return bad_input(f"{name} has more than {max_pixels / 1e6:g} megapixels: make it smaller")


@contextlib.contextmanager
def _refusing() -> Iterator[None]:
    """What the command line would print becomes what the client is told."""
    try:
        yield
    except XaiError as error:
        raise bad_input(str(error)) from error


def refusal(error: XaiError) -> Refusal:
    """An error of the pass itself: the caller's where it says so, else the server's."""
    return bad_input(str(error)) if isinstance(error, BadInput) else Refusal(500, "model", str(error))


def _first(said: list[Explanation] | Prediction, top_k: int) -> list[Explanation] | Prediction:
    """As many answers as were asked for: the batch lists as many as its neediest."""
    if isinstance(said, Prediction):
        return replace(said, top=said.top[:top_k])
    return [replace(explanation, top=explanation.top[:top_k]) for explanation in said]


def _mask(numbers: Sequence[int], count: int, name: str, what: str) -> NDArray[np.bool_]:
    if wrong := [number for number in numbers if not 0 <= number < count]:
        raise bad_input(f"{name} names {wrong[0]}: there are {count} {what}, from 0 to {count - 1}")
    mask = np.zeros(count, dtype=bool)
    mask[list(numbers)] = True
    return mask
