"""Pictures that are given in memory: arrays of every type, range and shape, Pillow's images of every mode, open files, and what is none."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from xai.tests.fuzz.material import Material, encoded, sane
from xai.tests.fuzz.oracle import Call, Case, Expect

DTYPES = (
    "uint8",
    "int8",
    "uint16",
    "int16",
    "uint32",
    "int32",
    "uint64",
    "int64",
    "float16",
    "float32",
    "float64",
    ">u2",
    ">i4",
    ">f4",
    ">f8",
)
RANGES: dict[str, Callable[[Any], Any]] = {
    "0..255": lambda v: v,
    "0..1": lambda v: v / 255,
    "0..65535": lambda v: v * 257,
    "0..2**31": lambda v: v * 8421504,
    "-1..1": lambda v: v / 127.5 - 1,
    "-128..127": lambda v: v - 128,
    "HDR": lambda v: v / 255 * 40,
}
KEPT = {"0..255": DTYPES, "0..1": ("float16", "float32", "float64", ">f4", ">f8"), "0..65535": ("uint16", ">u2")}
"""Ranges that a type holds without loss in its usual meaning: the picture is that, or refused."""
NOT_LIGHT = ("-1..1", "-128..127", "HDR")
"""Ranges that no type has as its own, but for integers within 0..255: refused, or taken with a warning."""
MODES = ("1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "LA", "PA", "RGBX", "RGBa", "La", "I;16", "I;16B", "I;16N")


class Arrays:
    """The fuzzer of pictures in memory."""

    name = "arrays"

    def __init__(self, material: Material) -> None:
        self.material = material
        kinds = (self.array, self.array, self.array, self.shape, self.broken, self.layout, self.pillow, self.pillow, self.source)
        self.kinds: tuple[Callable[[random.Random, Path], Case], ...] = kinds

    def case(self, rng: random.Random, folder: Path) -> Case:
        return rng.choice(self.kinds)(rng, folder)

    def pixels(self, rng: random.Random) -> tuple[Any, Any]:
        """Of the picture or its greys (H, W[, 3]), as float64 of 0..255, with their numbers."""
        if rng.random() < 0.5:
            return np.asarray(self.material.grey, float), self.material.grey_numbers
        return np.asarray(self.material.picture, float), self.material.numbers

    def array(self, rng: random.Random, folder: Path) -> Case:
        """Values of some range in some type: where type and range do not say what white is, nothing may be guessed in silence."""
        values, expected = self.pixels(rng)
        dtype, scale = rng.choice(DTYPES), rng.choice(list(RANGES))
        with np.errstate(all="ignore"):
            array = RANGES[scale](values).astype(dtype)
        what = f"array {'grey' if array.ndim == 2 else 'RGB'} {dtype} of {scale} · "
        if dtype == "uint8" and scale == "0..255":
            return self.image(array, what, Expect.SAME, expected)
        if scale == "HDR" and array.dtype.kind == "i":  # within 0..255: taken as 8 bits
            return self.image(array, what, Expect.SAME, self.material.explain(array.astype("uint8")))
        if scale in NOT_LIGHT and array.dtype.kind in "if":
            return self.image(array, what, Expect.FAITHFUL)
        if dtype not in KEPT.get(scale, ()) or dtype == "int8":
            return self.image(array, what, Expect.EITHER)
        exact = np.array_equal(RANGES[scale](values), array) or scale == "0..1"
        return self.image(array, what, Expect.FAITHFUL if exact else Expect.EITHER, expected)

    def shape(self, rng: random.Random, folder: Path) -> Case:
        rgb = np.asarray(self.material.picture)
        grey = np.asarray(self.material.grey)
        white = np.full((*grey.shape, 1), 255, np.uint8)
        same, greys = self.material.numbers, self.material.grey_numbers
        found: dict[str, tuple[Any, Expect, Any]] = {
            "(H, W, 1)": (grey[..., None], Expect.FAITHFUL, greys),
            "(H, W, 2)": (np.concatenate([grey[..., None], white], 2), Expect.FAITHFUL, greys),
            "(H, W, 4)": (np.concatenate([rgb, white], 2), Expect.FAITHFUL, same),
            "(3, H, W)": (rgb.transpose(2, 0, 1), Expect.FAITHFUL, same),
            "(1, H, W, 3)": (rgb[None], Expect.FAITHFUL, same),
            "(H, W, 5)": (np.zeros((9, 9, 5), np.uint8), Expect.REFUSED, None),
            "(N,)": (rgb.ravel(), Expect.REFUSED, None),
            "()": (np.uint8(7), Expect.REFUSED, None),
            "0-d array": (np.array(7, np.uint8), Expect.REFUSED, None),
            "(0, 0, 3)": (np.zeros((0, 0, 3), np.uint8), Expect.REFUSED, None),
            "(5, 0)": (np.zeros((5, 0), np.uint8), Expect.REFUSED, None),
            "(1, 1, 3)": (rgb[:1, :1], Expect.EITHER, None),
            "(1, 50000)": (np.zeros((1, 50_000), np.uint8), Expect.EITHER, None),
            "(20000, 20000)": (np.broadcast_to(np.uint8(0), (20_000, 20_000)), Expect.REFUSED, None),
        }
        what = rng.choice(list(found))
        return self.image(found[what][0], f"array of shape {what} · ", *found[what][1:])

    def broken(self, rng: random.Random, folder: Path) -> Case:
        """Values or types that are no light."""
        rgb = np.asarray(self.material.picture, np.float32) / 255
        nan, infinite = rgb.copy(), rgb.copy()
        nan[5, 5], infinite[0, 0, 0] = np.nan, np.inf
        found: dict[str, Any] = {
            "NaN": nan, "infinite": infinite, "grey NaN": nan[..., 0], "all NaN": np.full((9, 9, 3), np.nan),
            "complex": rgb.astype(complex), "text": rgb.astype(str),
            "objects": rgb.astype(object), "objects None": np.full((9, 9), None), "dates": np.zeros((9, 9), "M8[s]"),
            "bytes": np.zeros((9, 9), "S3"),
            "records": np.zeros((9, 9), [("r", "u1"), ("g", "u1")]), "negative": -rgb, "huge": rgb * 1e30, "float16 infinite": np.full((9,
            9), np.inf, np.float16),
        }  # fmt: skip
        what = rng.choice(list(found))
        return self.image(found[what], f"array {what} · ", Expect.EITHER if what in ("objects", "negative", "huge") else Expect.REFUSED)

    def layout(self, rng: random.Random, folder: Path) -> Case:
        """The same pixels, lying otherwise in memory, or of a subclass."""
        rgb = np.asarray(self.material.picture)
        wide = np.repeat(np.repeat(rgb, 2, 0), 3, 1)
        frozen = rgb.copy()
        frozen.setflags(write=False)
        mapped = np.memmap(folder / "mapped", np.uint8, "w+", shape=rgb.shape)
        mapped[:] = rgb
        found: dict[str, Any] = {
            "strided": wide[::2, ::3], "Fortran": np.asfortranarray(rgb), "negative strides": rgb[::-1, ::-1].copy()[::-1, ::-1],
            "frozen": frozen,
            "a subclass": rgb.view(np.recarray), "mapped": mapped, "masked": np.ma.masked_array(rgb, mask=False), "BGR view": rgb[...,
            ::-1].copy()[..., ::-1],
        }  # fmt: skip
        what = rng.choice(list(found))
        return self.image(found[what], f"array {what} · ", Expect.SAME if what != "masked" else Expect.FAITHFUL, self.material.numbers)

    def pillow(self, rng: random.Random, folder: Path) -> Case:
        """Pillow's images: the greys in every mode that holds them, and modes that convert colours."""
        grey = self.material.grey
        mode = rng.choice(MODES)
        expected: Any = self.material.grey_numbers
        if mode in ("RGBA", "RGBX", "RGB"):
            image, expected = self.material.picture.convert(mode), self.material.numbers
        elif mode.startswith("I;16"):
            kind = ">u2" if mode.endswith("B") else "<u2"
            image = Image.frombytes(mode, grey.size, (np.asarray(grey).astype(np.uint16) * 257).astype(kind).tobytes())
        elif mode in ("LAB", "HSV", "CMYK", "YCbCr"):
            image, expected = (self.material.picture if mode != "LAB" else Image.new("LAB", (60, 50), (50, 10, 20))), None
            image = image if mode == "LAB" else image.convert(mode)
        elif mode in ("RGBa", "La", "PA"):
            image = grey.convert({"RGBa": "RGBA", "La": "LA", "PA": "P"}[mode]).convert(mode)
        elif mode == "1":
            image, expected = grey.convert("1"), None
        else:
            image = grey.convert(mode)
        expect = Expect.SAME if mode in ("L", "RGB", "RGBA", "P", "LA") else Expect.FAITHFUL if expected else Expect.EITHER
        if rng.random() < 0.15:
            other = Image.new("RGB", (4, 4)) if rng.random() < 0.5 else Image.open(io.BytesIO(encoded(self.material.picture, "PNG")))
            other.close()
            return self.image(other, "Pillow's image, closed · ", Expect.REFUSED)
        return self.image(image, f"Pillow's image of mode {mode} · ", expect, expected)

    def source(self, rng: random.Random, folder: Path) -> Case:
        """Things that are no picture, and files of every kind."""
        raw = self.material.png.read_bytes()
        same = self.material.numbers
        closed = io.BytesIO(raw)
        closed.close()
        behind = io.BytesIO(raw)
        behind.read()
        found: dict[str, tuple[Any, Expect]] = {
            "None": (None, Expect.REFUSED), "a number": (7, Expect.REFUSED), "a float": (0.5, Expect.REFUSED), "True": (True,
            Expect.REFUSED), "a list": ([1, 2], Expect.REFUSED),
            "a nested list": (np.asarray(self.material.picture).tolist(), Expect.FAITHFUL), "a dictionary": ({}, Expect.REFUSED),
            "a function": (print, Expect.REFUSED),
            "bytes": (raw, Expect.SAME), "a bytearray": (bytearray(raw), Expect.FAITHFUL), "a memoryview": (memoryview(raw),
            Expect.FAITHFUL),
            "a file": (io.BytesIO(raw), Expect.SAME), "a file at its end": (behind, Expect.FAITHFUL), "a closed file": (closed,
            Expect.REFUSED),
            "a text file": (io.StringIO("x"), Expect.REFUSED), "an open path": (self.material.png.open("rb"), Expect.SAME),
            "a path": (self.material.png, Expect.SAME),
            "a file opened as text": (self.material.png.open(encoding="latin1"), Expect.REFUSED), "empty bytes": (b"", Expect.REFUSED),
            "a name as bytes": (bytes(self.material.png), Expect.FAITHFUL),
            "a tensor": (torch.from_numpy(np.asarray(self.material.picture).copy()), Expect.FAITHFUL), "a NUL": ("a\0.png",
            Expect.REFUSED), "an unreadable file": (Unreadable(), Expect.REFUSED),
            "a file that does not seek": (Forward(raw), Expect.FAITHFUL), "an object": (object(), Expect.REFUSED),
            "a class": (Image.Image, Expect.REFUSED), "an empty image": (Image.Image(), Expect.REFUSED),
        }  # fmt: skip
        what = rng.choice(list(found))
        return self.image(found[what][0], f"{what} · ", found[what][1], same)

    def image(self, image: Any, what: str, expect: Expect, expected: Any = None) -> Case:
        return Case(
            what,
            expect,
            Call(f"xai.load().explain({what.removesuffix(' · ')}, ...)", lambda: self.material.explain(image)),
            expected,
            sane=sane,
        )


class Unreadable(io.RawIOBase):
    """A file whose disk fails."""

    def read(self, size: int = -1) -> bytes:
        raise OSError(5, "Input/output error")

    def seekable(self) -> bool:
        return True


class Forward(io.BytesIO):
    """A file like a pipe."""

    def seekable(self) -> bool:
        return False

    def seek(self, *_: Any) -> int:
        raise io.UnsupportedOperation("seek")
