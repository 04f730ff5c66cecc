"""A picture -> the square of pixels that the model sees, and where it lies in the picture (docs/methods.md, Model)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xai.base.description import ModelDescription
from xai.base.errors import BadInput
from xai.runtime.inputs.image import MAX_PIXELS


@dataclass(frozen=True)
class Crop:
    """The square (left, top, right, bottom) of the upright picture that the model saw, in its pixels, rounded."""

    box: tuple[int, int, int, int]


def preprocess(picture: Image.Image, model: ModelDescription, name: str = "the image") -> tuple[NDArray[np.float32], Crop]:
    """An upright RGB picture -> normalised pixels (3, S, S), and the square of the picture they show.

    The shorter side becomes S (bicubic), the longer one int(S * long / short); the centre is kept. Raises `BadInput`, with
    the image's name, where it is too long and thin to be scaled.
    """
    size = model.image_size
    width, height = picture.size
    short = min(width, height)
    scaled = [size if side == short else int(size * side / short) for side in (width, height)]
    if scaled[0] * scaled[1] > MAX_PIXELS:
        raise BadInput(f"{name} is {width} x {height} pixels: too long and thin to be scaled to {size} pixels across; crop it")
    left, top = (round((side - size) / 2) for side in scaled)
    seen = picture.resize((scaled[0], scaled[1]), Image.Resampling.BICUBIC).crop((left, top, left + size, top + size))
    pixels = np.asarray(seen, dtype=np.float32) / 255
    pixels = (pixels - np.array(model.image_mean, np.float32)) / np.array(model.image_std, np.float32)
    scale = short / size
    corner = round(left * scale), round(top * scale)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)), Crop((*corner, corner[0] + short, corner[1] + short))
