"""Image files -> the square of pixels that the model sees, and where it lies in the picture (spec.md, Model)."""

from __future__ import annotations

import io
import struct
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from xai.base.description import ModelDescription
from xai.base.errors import XaiError

MAX_PIXELS = 64_000_000
"""Larger images are refused before they are decoded: a few kilobytes can unpack to gigabytes."""

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm")

_FILTERS = threading.Lock()
"""Warning filters belong to the process, and several threads open images."""

ImageSource = str | Path | bytes | BinaryIO | Image.Image | NDArray[np.uint8]


@dataclass(frozen=True)
class Crop:
    """The square (left, top, right, bottom) of the upright picture that the model saw, in its pixels, rounded."""

    box: tuple[int, int, int, int]


def source_name(source: ImageSource) -> str:
    """What to call an image in a message: its path, or the name of its open file."""
    if isinstance(source, str | Path):
        return str(source)
    name = getattr(source, "name", None)
    return name if isinstance(name, str) else "the image"


def open_image(source: ImageSource) -> Image.Image:
    """The picture upright (EXIF) and in RGB.

    Grey, palette, CMYK and 16-bit images are converted, transparency is laid on white, of an animation the first
    frame is taken. Raises `XaiError` where the source is no image that can be used.
    """
    name = source_name(source)
    try:
        if isinstance(source, np.ndarray):
            return _rgb(Image.fromarray(source), name)
        if isinstance(source, Image.Image):
            return _rgb(source, name)
        file = io.BytesIO(source) if isinstance(source, bytes) else source
        with _FILTERS, warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # MAX_PIXELS is the limit here
            opened = Image.open(file)
        with opened as image:
            return _rgb(image, name)
    except FileNotFoundError as error:
        raise XaiError(f"image {name} does not exist") from error
    except IsADirectoryError as error:
        raise XaiError(f"{name} is a folder, not an image") from error
    except UnidentifiedImageError as error:
        raise XaiError(f"{name} is not an image in a format that Pillow reads") from error
    except Image.DecompressionBombError as error:
        raise XaiError(f"{name} is larger than {MAX_PIXELS // 1_000_000} megapixels: make it smaller") from error
    # Pillow's decoders report damage by any of these.
    except (OSError, ValueError, TypeError, SyntaxError, EOFError, IndexError, KeyError, struct.error) as error:
        if isinstance(error, XaiError):
            raise
        raise XaiError(
            f"{name} cannot be read as an image: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
        ) from error


def _rgb(image: Image.Image, name: str) -> Image.Image:
    width, height = image.size
    if 0 in image.size:
        raise XaiError(f"{name} is empty: {width} x {height} pixels")
    if width * height > MAX_PIXELS:
        raise XaiError(f"{name} has {width} x {height} pixels, more than {MAX_PIXELS // 1_000_000} megapixels: make it smaller")
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        image = _eight_bits(image, name)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _eight_bits(image: Image.Image, name: str) -> Image.Image:
    """Grey of more than 8 bits: integers of 16, or floats of [0, 1], [0, 255] or 16 bits; one transparent level turns white."""
    values = np.asarray(image, dtype=np.float32)
    if not np.isfinite(values).all():
        raise XaiError(f"{name} has pixels that are NaN or infinite: repair it first")
    top = values.max()
    scale = 255 / 65535 if image.mode != "F" or top > 256 else 1 if top > 1.5 else 255
    scaled = (values * scale).clip(0, 255).round().astype(np.uint8)
    if (transparent := image.info.get("transparency")) is not None:
        scaled[values == transparent] = 255
    return Image.fromarray(scaled)


def preprocess(picture: Image.Image, model: ModelDescription, name: str = "the image") -> tuple[NDArray[np.float32], Crop]:
    """An upright RGB picture -> normalised pixels (3, S, S), and the square of the picture they show.

    The shorter side becomes S (bicubic), the longer one int(S * long / short); the centre is kept. Raises `XaiError`, with
    the image's name, where it is too long and thin to be scaled.
    """
    size = model.image_size
    width, height = picture.size
    short = min(width, height)
    scaled = [size if side == short else int(size * side / short) for side in (width, height)]
    if scaled[0] * scaled[1] > MAX_PIXELS:
        raise XaiError(f"{name} is {width} x {height} pixels: too long and thin to be scaled to {size} pixels across; crop it")
    left, top = (round((side - size) / 2) for side in scaled)
    seen = picture.resize((scaled[0], scaled[1]), Image.Resampling.BICUBIC).crop((left, top, left + size, top + size))
    pixels = np.asarray(seen, dtype=np.float32) / 255
    pixels = (pixels - np.array(model.image_mean, np.float32)) / np.array(model.image_std, np.float32)
    scale = short / size
    corner = round(left * scale), round(top * scale)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)), Crop((*corner, corner[0] + short, corner[1] + short))
