"""Words and regions that `xai explain` leaves out, as they are written on the command line, and as masks of one question and picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from xai.base.errors import BadInput

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from xai.runtime.inputs.prepare import PreparedImage
    from xai.runtime.inputs.question import EncodedQuestion

Region = tuple[int, int, int, int]
"""Left, top, width and height, in pixels of the upright picture."""


def word_numbers(context: click.Context, option: click.Parameter, value: str | None) -> tuple[int, ...]:
    """Numbers from 0, separated by commas. Raises `click.BadParameter`."""
    parts = [] if value is None else value.split(",")
    if not all(part.strip().isdecimal() and len(part) < 10 for part in parts):
        raise click.BadParameter(f"{value!r} is no list of numbers: count words from 0, such as 2,5", context, option)
    return tuple(int(part) for part in parts)


def pixel_regions(context: click.Context, option: click.Parameter, values: tuple[str, ...]) -> tuple[Region, ...]:
    """Each x,y,w,h in whole pixels. Raises `click.BadParameter`."""
    found = []
    for value in values:
        parts = value.split(",")
        if len(parts) != 4 or not all(part.strip().isdecimal() and len(part) < 10 for part in parts):
            said = f"{value!r} is no region: give x,y,w,h in pixels from the top left, such as 120,40,64,64"
            raise click.BadParameter(said, context, option)
        x, y, width, height = (int(part) for part in parts)
        if not width or not height:
            raise click.BadParameter(f"{value!r} is empty: its width and height are at least 1", context, option)
        found.append((x, y, width, height))
    return tuple(found)


def words_mask(numbers: tuple[int, ...], question: EncodedQuestion) -> NDArray[np.bool_] | None:
    """(words,), True where one is left out; None where none is. Raises `BadInput` where the question has no such word."""
    import numpy as np

    if not numbers:
        return None
    words = question.words
    if beyond := [number for number in numbers if number >= len(words)]:
        listed = ", ".join(f"{i} {word.text!r}" for i, word in enumerate(words[:12])) + (", ..." if len(words) > 12 else "")
        raise BadInput(f"--without-words names {beyond[0]}: the question has the words {listed}")
    mask = np.zeros(len(words), dtype=bool)
    mask[list(numbers)] = True
    return mask


def patches_mask(regions: tuple[Region, ...], image: PreparedImage) -> NDArray[np.bool_] | None:
    """(rows, columns), True for every patch that a region touches; None where there is no region.

    Raises `BadInput` where a region does not lie in the picture, where the model saw nothing of it, and where it looks at boxes.
    """
    import numpy as np

    if not regions:
        return None
    if image.grid is None:
        raise BadInput(f"{image.name}: --without-region is about patches, and this model looks at boxes: leave those out in Python")
    mask = np.zeros(image.grid, dtype=bool)
    left, top, right, bottom = image.crop.box
    for x, y, width, height in regions:
        said = f"{image.name}: the region {x},{y},{width},{height}"
        if x + width > image.picture.width or y + height > image.picture.height:
            raise BadInput(f"{said} does not lie in the picture of {image.picture.width} x {image.picture.height} pixels")
        rows = _touched(y, y + height, top, bottom, image.grid[0])
        columns = _touched(x, x + width, left, right, image.grid[1])
        if not rows or not columns:
            raise BadInput(f"{said} is cut away: the model saw {left},{top},{right - left},{bottom - top} only")
        mask[np.ix_(rows, columns)] = True
    return mask


def _touched(start: int, stop: int, low: int, high: int, count: int) -> list[int]:
    """Which of `count` equal parts of low to high share more than an edge with start to stop; in whole numbers, so that edges are exact."""
    size = high - low
    return [i for i in range(count) if size * i < count * (stop - low) and size * (i + 1) > count * (start - low)]
