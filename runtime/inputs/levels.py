"""Arrays of numbers -> pictures of 8 bits, by a rule that looks at type and range and refuses what they leave open."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xai.base.errors import BadInput

MAX_8, MAX_16 = 255, 65535


def eight_bits(values: NDArray[Any], name: str) -> NDArray[np.uint8]:
    """Levels of 8 bits, 0 black and 255 white, of an array of any shape with at least one element:

    - booleans: False is black, True white;
    - unsigned integers of 8 bits: as they are;
    - unsigned integers of 16 bits: 65535 is white (divided by 257, to the nearest); refused where no level is above 255, as 8 bits
      that lie in a wider type do, for nothing tells the two apart;
    - other integers, which no picture has by nature: 255 is white where all lie in 0 to 255, else 65535 where all lie in 0 to 65535;
    - floating-point numbers: 1 is white (times 255, to the nearest), where all lie in 0 to 1.

    Raises `BadInput`, with `name`, for all else: other types, negative levels, larger ones, NaN, infinity.
    """
    kind = values.dtype.kind
    if values.dtype == np.uint8:
        return values
    if kind == "b":
        return values.astype(np.uint8) * np.uint8(MAX_8)
    if kind not in "iuf":
        raise BadInput(f"{name} holds {values.dtype}, not levels of light: give 8-bit integers")
    low, top = values.min(), values.max()
    if kind == "f":
        if not (np.isfinite(low) and np.isfinite(top)):
            raise BadInput(f"{name} has pixels that are NaN or infinite: repair it first")
        if low < 0 or top > 1:
            raise BadInput(f"{name} has levels from {low:g} to {top:g}: floating-point levels lie in 0 to 1; scale or clip them")
        return np.rint(values.astype(np.float32) * MAX_8).astype(np.uint8)
    if low < 0 or top > MAX_16:
        raise BadInput(f"{name} has levels from {low} to {top}: integers lie in 0 to 255 or 0 to 65535; scale or clip them")
    if top > MAX_8:
        return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if values.dtype.itemsize == 2 and kind == "u" and top > 0:
        raise BadInput(f"{name} has 16 bits but no level above {top}: give 8-bit integers, divided by 257 if it is really that dark")
    return values.astype(np.uint8)


def picture_of(array: NDArray[Any], name: str) -> Image.Image:
    """A picture of an array (H, W) or (H, W, 1), grey, (H, W, 3), RGB, or (H, W, 4), RGBA with the colours not multiplied by alpha.

    Its levels are read as `eight_bits` says. Raises `BadInput` as it does, and on another shape.
    """
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.ndim not in (2, 3) or channels not in (1, 3, 4):
        raise BadInput(f"{name} is an array of shape {array.shape}: give height x width, or height x width x 1, 3 or 4")
    if not array.size:
        raise BadInput(f"{name} is empty: {array.shape[1]} x {array.shape[0]} pixels")
    levels = eight_bits(array[..., 0] if array.ndim == 3 and channels == 1 else array, name)
    return Image.fromarray(np.ascontiguousarray(levels))
