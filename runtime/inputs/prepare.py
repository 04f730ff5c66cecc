"""Images -> what the model takes of them, by threads that work ahead of the model."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xai.base.errors import BadInput
from xai.runtime.description import Boxes, Description
from xai.runtime.inputs.boxes import BoxFeatures, GivenBoxes, find_boxes, is_box_file
from xai.runtime.inputs.decode import ImageSource, open_image, source_name
from xai.runtime.inputs.resize import Crop, patch_grid, preprocess

THREADS = min(2, os.cpu_count() or 1)
"""That decode: Pillow lets go of Python's lock while it does, and the model keeps the other cores busy."""

LOOK_AHEAD = 2 * THREADS
"""Images that wait at most: a decoded one may take 192 MB."""

S = TypeVar("S")
T = TypeVar("T")


PAPER = (640, 640)
"""Size in pixels of what boxes are drawn on where neither a picture nor its size is given."""

NO_PICTURE = "no picture was given: the boxes are drawn on empty paper"


@dataclass(frozen=True)
class PreparedImage:
    """A picture, upright and in RGB, what the model takes of it (`runtime.description.picture_inputs`: normalised pixels (3, h, w), or
    features and boxes), the part of it that this shows, and the rows and columns of its patches; None where it has boxes."""

    name: str
    picture: Image.Image
    arrays: tuple[NDArray[np.float32], ...]
    crop: Crop
    grid: tuple[int, int] | None
    decode_ms: float
    preprocess_ms: float
    notes: tuple[str, ...] = ()
    """What a reader should know about the picture."""

    @property
    def pixels(self) -> NDArray[np.float32]:
        """Normalised pixels (3, h, w). Raises `BadInput` where the model takes boxes."""
        if self.grid is None:
            raise BadInput(f"{self.name} is given as boxes, not as pixels")
        return self.arrays[0]

    @property
    def boxes(self) -> NDArray[np.float32] | None:
        """The boxes (N, 4), as shares of the picture's width and height; None where it has patches."""
        return self.arrays[1] if self.grid is None else None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a map: rows and columns of patches, or the number of boxes."""
        return (len(self.arrays[0]),) if self.grid is None else self.grid


def check_takes_boxes(model: Description) -> None:
    """Raises `BadInput` where a model takes no box features."""
    if not isinstance(model.picture, Boxes):
        raise BadInput(f"{model.family} looks at a picture's pixels, not at boxes: give the picture alone")


def prepare(source: ImageSource | BoxFeatures, model: Description, boxes: GivenBoxes | None = None) -> PreparedImage:
    """Decode and preprocess one image; `boxes` are its box features, for a model that takes them. Of such a model the features may also
    stand in place of the image. Raises `BadInput` where it cannot be used."""
    if isinstance(model.picture, Boxes):
        return _prepare_boxes(source, model.picture.width, boxes)
    if boxes is not None or is_box_file(source):
        check_takes_boxes(model)
    assert not isinstance(source, BoxFeatures)
    name = source_name(source)
    start = time.perf_counter()
    picture = open_image(source)
    decoded = time.perf_counter()
    pixels, crop = preprocess(picture, model, name)
    done = time.perf_counter()
    return PreparedImage(name, picture, (pixels,), crop, patch_grid(pixels, model), 1e3 * (decoded - start), 1e3 * (done - decoded))


def _prepare_boxes(source: ImageSource | BoxFeatures, width: int, boxes: GivenBoxes | None) -> PreparedImage:
    """A picture and its box features, or these alone on empty paper."""
    start = time.perf_counter()
    notes: tuple[str, ...] = ()
    if isinstance(source, BoxFeatures) or is_box_file(source):
        if boxes is not None:
            raise BadInput(f"{source_name(source)} are box features, and others are given with them: give a picture with one of them")
        found, size = find_boxes(source, None, width)
        picture = Image.new("RGB", size or PAPER, "white")
        notes = (NO_PICTURE if size else f"{NO_PICTURE}, whose shape means nothing",)
        decoded = start
    elif boxes is None:
        raise BadInput(
            f"{source_name(source)}: this model takes boxes with features, not pixels: give those of the picture "
            "(--boxes FILE, in Python boxes=...), or their file as the image"
        )
    else:
        picture = open_image(source)
        decoded = time.perf_counter()
        image_id = Path(os.fsdecode(source)).stem if isinstance(source, str | os.PathLike) else None
        found, _ = find_boxes(boxes, image_id, width)
    done = time.perf_counter()
    name = "the boxes" if isinstance(source, BoxFeatures) else source_name(source)
    crop = Crop((0, 0, *picture.size))
    return PreparedImage(name, picture, tuple(found), crop, None, 1e3 * (decoded - start), 1e3 * (done - decoded), notes)


def prepare_all(
    sources: Sequence[ImageSource | BoxFeatures | PreparedImage], model: Description, boxes: Sequence[GivenBoxes | None] | None = None
) -> Iterator[PreparedImage]:
    """Prepare images in their order, each with its `boxes`, several of them by threads that work ahead; what is prepared already passes.

    Raises `BadInput` in place of one that cannot be used.
    """

    def finish(given: tuple[ImageSource | BoxFeatures | PreparedImage, GivenBoxes | None]) -> PreparedImage:
        source, own = given
        if not isinstance(source, PreparedImage):
            return prepare(source, model, own)
        if own is not None:
            raise BadInput(f"{source.name} is prepared already: give its box features to `prepare`")
        return source

    items = list(zip(sources, boxes or [None] * len(sources), strict=True))
    if len(items) == 1:  # nothing to work ahead of
        yield finish(items[0])
        return
    for future in ahead(finish, items):
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
