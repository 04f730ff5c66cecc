"""A picture -> the pixels that the model takes, and where they lie in the picture; one way for each recipe of a description."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xai.base.errors import BadInput
from xai.runtime.description import Aspect, Boxes, Description, Square
from xai.runtime.inputs.decode import MAX_PIXELS


@dataclass(frozen=True)
class Crop:
    """The part (left, top, right, bottom) of the upright picture that the model saw, in its pixels, rounded."""

    box: tuple[int, int, int, int]


def preprocess(picture: Image.Image, model: Description, name: str = "the image") -> tuple[NDArray[np.float32], Crop]:
    """An upright RGB picture -> normalised pixels (3, h, w), and the part of the picture that they show.

    Raises `BadInput`, with the image's name, where the model takes boxes, and where the picture is too long and thin to be scaled.
    """
    recipe = model.picture
    if isinstance(recipe, Boxes):
        raise BadInput(f"{name}: this model takes boxes with features, not pixels")
    seen, crop = _fit_square(picture, recipe, name) if isinstance(recipe, Square) else _keep_aspect(picture, recipe, name)
    pixels = np.asarray(seen, dtype=np.float32) / 255
    pixels = (pixels - np.array(recipe.mean, np.float32)) / np.array(recipe.std, np.float32)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)), crop


def patch_grid(pixels: NDArray[np.float32], model: Description) -> tuple[int, int]:
    """Rows and columns of patches of pixels (3, h, w)."""
    recipe = model.picture
    if isinstance(recipe, Boxes):
        raise BadInput(f"{model.family} takes boxes, which lie in no grid")
    return pixels.shape[1] // recipe.patch, pixels.shape[2] // recipe.patch


def _fit_square(picture: Image.Image, recipe: Square, name: str) -> tuple[Image.Image, Crop]:
    """The shorter side becomes S (bicubic), the longer one int(S * long / short), and the centre is kept; or both become S."""
    size = recipe.size
    width, height = picture.size
    if recipe.fit == "squash":
        return picture.resize((size, size), Image.Resampling.BICUBIC), Crop((0, 0, width, height))
    short = min(width, height)
    scaled = [size if side == short else int(size * side / short) for side in (width, height)]
    _check_size(scaled[0], scaled[1], picture, f"{size} pixels across", name)
    left, top = (round((side - size) / 2) for side in scaled)
    seen = picture.resize((scaled[0], scaled[1]), Image.Resampling.BICUBIC).crop((left, top, left + size, top + size))
    scale = short / size
    corner = round(left * scale), round(top * scale)
    return seen, Crop((*corner, corner[0] + short, corner[1] + short))


def _keep_aspect(picture: Image.Image, recipe: Aspect, name: str) -> tuple[Image.Image, Crop]:
    """ViLT's own scaling: the shorter side to its length, both shrunk where the longer one is then too long, floored to patches."""
    width, height = picture.size
    scale = recipe.shorter / min(width, height)
    sides = [recipe.shorter if side == min(width, height) else scale * side for side in (width, height)]
    if max(sides) > recipe.longer:
        sides = [side * (recipe.longer / max(sides)) for side in sides]
    pixels = [int(side + 0.5) // recipe.patch * recipe.patch for side in sides]
    if 0 in pixels:
        raise BadInput(f"{name} is {width} x {height} pixels: too long and thin for patches of {recipe.patch} pixels; crop it")
    return picture.resize((pixels[0], pixels[1]), Image.Resampling.BICUBIC), Crop((0, 0, width, height))


def _check_size(width: int, height: int, picture: Image.Image, to: str, name: str) -> None:
    if width * height > MAX_PIXELS:
        raise BadInput(f"{name} is {picture.width} x {picture.height} pixels: too long and thin to be scaled to {to}; crop it")
