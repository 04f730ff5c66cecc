"""Image files, and whatever else holds a picture -> the picture, upright and in RGB."""

from __future__ import annotations

import ctypes
import functools
import importlib
import io
import logging
import os
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError, features

from xai.base.errors import BadInput, first_line
from xai.base.wording import one_line
from xai.runtime.inputs.levels import eight_bits, picture_of

MAX_PIXELS = 64_000_000
"""Larger images are refused before they are decoded: a few kilobytes can unpack to gigabytes."""

FORMATS: dict[str, tuple[str, ...]] = {
    "AVIF": (".avif",),
    "BMP": (".bmp", ".dib"),
    "GIF": (".gif",),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "JPEG2000": (".jp2", ".j2k", ".jpf", ".jpx", ".j2c"),
    "PNG": (".png", ".apng"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
} | ({"HEIF": (".heic", ".heif")} if find_spec("pillow_heif") else {})
"""The formats that are decoded, whatever a file's name says, and how such files are called. Pillow's other decoders see no file: some
are rarely tested against hostile bytes, and one starts a program."""

SUFFIXES = tuple(suffix for suffixes in FORMATS.values() for suffix in suffixes)
"""Of the files of a folder that are taken for images."""

NEEDED = {"AVIF": "avif", "JPEG": "jpg", "JPEG2000": "jpg_2000", "WEBP": "webp"}
"""Formats that Pillow can be built without, by Pillow's name for the library."""

ImageSource = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | Image.Image | NDArray[Any]


def source_name(source: object) -> str:
    """What to call an image in a message: its path, or the name of its open file."""
    if isinstance(source, str | os.PathLike):
        return os.fsdecode(source)
    name = getattr(source, "name", None)
    return name if isinstance(name, str) else "the image"


@functools.cache
def _decoders() -> tuple[str, ...]:
    """The formats of `FORMATS` that this installation decodes, those first that Pillow knows without loading its other forty."""
    Image.preinit()
    found = [name for name in FORMATS if name not in NEEDED or features.check(NEEDED[name])]
    if "HEIF" in found:
        importlib.import_module("pillow_heif").register_heif_opener()
    return tuple(sorted(found, key=lambda name: name not in Image.OPEN))


@functools.cache
def _silence_decoders() -> None:
    """Keep decoders from printing what they find wrong: Pillow raises the same.

    Its handler is taken from libtiff, in the one copy that Pillow holds, rather than file descriptor 2 turned away while a picture is
    decoded: that would swallow what other threads print. Pillow's other decoders print nothing. Where Pillow is built so
    that the function cannot be reached, libtiff goes on printing. What Pillow logs goes where the program's logging sends it, and
    nowhere if it has none.
    """
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    from PIL import _imaging

    for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
        handler = getattr(ctypes.CDLL(_imaging.__file__), name, None)
        if handler is not None:
            handler.restype = ctypes.c_void_p
            handler(None)


def open_image(source: ImageSource) -> Image.Image:
    """The picture upright (EXIF) and in RGB.

    `source` is a file's path, its bytes or the open file, in one of `FORMATS`; a picture of PIL; or an array as
    `levels.picture_of` takes it. Grey, palette and CMYK images are converted, more than 8 bits as `levels.eight_bits` says,
    transparency is laid on white, of an animation the first frame is taken.
    Raises `BadInput` where the source is no image that can be used.
    """
    name = one_line(source_name(source)) or "''"
    if isinstance(source, np.ndarray):
        _check_size(source.shape[1::-1], name)
        return _read(picture_of(source, name), name)
    if isinstance(source, Image.Image):
        return _read(source, name)
    if isinstance(source, bytes | bytearray | memoryview):
        return _read(io.BytesIO(source), name)
    if isinstance(source, str | os.PathLike) or hasattr(source, "read"):
        return _read(source, name)
    raise BadInput(f"the image is of type {type(source).__name__}: give a path, bytes, an open file, a PIL image or a NumPy array")


def _read(source: Any, name: str) -> Image.Image:
    """The picture in RGB; whatever Pillow raises becomes a `BadInput`."""
    try:
        if isinstance(source, Image.Image):
            return _rgb(source, name)
        _silence_decoders()
        with Image.open(source, formats=_decoders()) as image:
            return _rgb(image, name)
    except BadInput:
        raise
    except FileNotFoundError as error:
        raise BadInput(f"image {name} does not exist") from error
    except IsADirectoryError as error:
        raise BadInput(f"{name} is a folder, not an image") from error
    except UnidentifiedImageError as error:
        raise BadInput(f"{name} is not an image in a format that is read here: {', '.join(sorted(_decoders()))}") from error
    except Image.DecompressionBombError as error:
        raise BadInput(f"{name} is larger than {MAX_PIXELS // 1_000_000} megapixels: make it smaller") from error
    except OSError as error:
        raise BadInput(f"{name} cannot be read as an image: {error.strerror or first_line(error)}") from error
    except Exception as error:  # decoders report damage by any class there is
        raise BadInput(f"{name} cannot be read as an image: {first_line(error)}") from error


def _check_size(size: Sequence[int], name: str) -> None:
    if 0 in size:
        raise BadInput(f"{name} is empty: {' x '.join(map(str, size))} pixels")
    if len(size) == 2 and size[0] * size[1] > MAX_PIXELS:
        raise BadInput(f"{name} has {size[0]} x {size[1]} pixels, more than {MAX_PIXELS // 1_000_000} megapixels: make it smaller")


def _rgb(image: Image.Image, name: str) -> Image.Image:
    _check_size(image.size, name)
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        return _grey_of_more_bits(image, name).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _grey_of_more_bits(image: Image.Image, name: str) -> Image.Image:
    """Grey of 8 bits; the one level that may be transparent turns white."""
    values = np.asarray(image)
    levels = eight_bits(values, name)
    if (transparent := image.info.get("transparency")) is not None:
        levels = np.where(values == transparent, np.uint8(255), levels)
    return Image.fromarray(levels)
