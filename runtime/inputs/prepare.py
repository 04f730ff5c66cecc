"""Images -> what the model takes of them, by threads that work ahead of the model."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xai.runtime.description import Description
from xai.runtime.inputs.decode import ImageSource, open_image, source_name
from xai.runtime.inputs.resize import Crop, patch_grid, preprocess

THREADS = min(2, os.cpu_count() or 1)
"""That decode: Pillow lets go of Python's lock while it does, and the model keeps the other cores busy."""

LOOK_AHEAD = 2 * THREADS
"""Images that wait at most: a decoded one may take 192 MB."""

S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True)
class PreparedImage:
    """A picture, upright and in RGB, its normalised pixels (3, h, w), the part of it that they show, and the rows and columns of
    their patches."""

    name: str
    picture: Image.Image
    pixels: NDArray[np.float32]
    crop: Crop
    grid: tuple[int, int]
    decode_ms: float
    preprocess_ms: float


def prepare(source: ImageSource, model: Description) -> PreparedImage:
    """Decode and preprocess one image. Raises `BadInput` where it cannot be used."""
    name = source_name(source)
    start = time.perf_counter()
    picture = open_image(source)
    decoded = time.perf_counter()
    pixels, crop = preprocess(picture, model, name)
    done = time.perf_counter()
    return PreparedImage(name, picture, pixels, crop, patch_grid(pixels, model), 1e3 * (decoded - start), 1e3 * (done - decoded))


def prepare_all(sources: Sequence[ImageSource | PreparedImage], model: Description) -> Iterator[PreparedImage]:
    """Prepare images in their order, several of them by threads that work ahead; what is prepared already passes.

    Raises `BadInput` in place of one that cannot be used.
    """

    def finish(source: ImageSource | PreparedImage) -> PreparedImage:
        return source if isinstance(source, PreparedImage) else prepare(source, model)

    if len(sources) == 1:  # nothing to work ahead of
        yield finish(sources[0])
        return
    for future in ahead(finish, sources):
        yield future.result()


def ahead(work: Callable[[S], T], items: Iterable[S]) -> Iterator[Future[T]]:
    """`work` on each item, in order, done by threads at most `LOOK_AHEAD` items ahead of who reads.

    What `work` raises is raised by `result()` in its place; what has not begun when the reader stops is not done.
    """
    waiting: deque[Future[T]] = deque()
    with ThreadPoolExecutor(THREADS) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > LOOK_AHEAD:
                    yield waiting.popleft()
            while waiting:
                yield waiting.popleft()
        finally:
            for future in waiting:
                future.cancel()
