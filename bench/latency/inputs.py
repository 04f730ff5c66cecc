"""Make what a latency is measured on: encoded images, all of them different, since equal ones are encoded only once."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from xai.base.errors import XaiError
from xai.bench.data.scenes import UNSEEN_SEED, samples
from xai.runtime.inputs.decode import open_image

QUESTION = "What is in the picture?"
PHOTO = 640, 480  # COCO's usual size
SCENE_SIDE = 384


class Inputs(NamedTuple):
    """Pairs of an image's file, as bytes, and a question; `name` says what they are."""

    name: str
    pairs: list[tuple[bytes, str]]

    @property
    def sha256(self) -> str:
        digest = hashlib.sha256()
        for image, question in self.pairs:
            digest.update(hashlib.sha256(image).digest() + hashlib.sha256(question.encode()).digest())
        return digest.hexdigest()


def given(images: Sequence[Path], question: str | None, count: int) -> Inputs:
    """Read the user's images. Raises `XaiError` where one is no image that can be read, or where they are not `count` different ones."""
    found: dict[bytes, None] = {}
    for path in images:
        try:
            found.setdefault(path.read_bytes())
        except OSError as error:
            raise XaiError(f"image {path} cannot be read: {error.strerror}") from error
        open_image(path)
    if len(found) < count:
        raise XaiError(f"a batch of {count} needs {count} different images and {len(found)} are given: equal ones are encoded once")
    return Inputs("given", [(image, _asked(question, QUESTION)) for image in found])


def scenes(count: int, question: str | None) -> Inputs:
    """Draw scenes with questions about them, as the demo model knows them: PNG."""
    drawn = samples(UNSEEN_SEED, count)
    return Inputs("scenes", [(_encoded(scene.draw(SCENE_SIDE), "PNG"), _asked(question, asked.text)) for scene, asked in drawn])


def photos(count: int, question: str | None) -> Inputs:
    """Draw pictures of a photograph's size and detail: JPEG."""
    found = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize(PHOTO, Image.Resampling.BICUBIC)
        noisy = np.asarray(coarse, np.int16) + rng.integers(-12, 13, (*PHOTO[::-1], 1), dtype=np.int16)
        found.append((_encoded(Image.fromarray(noisy.clip(0, 255).astype(np.uint8)), "JPEG"), _asked(question, QUESTION)))
    return Inputs("generated photographs", found)


def _asked(question: str | None, default: str) -> str:
    return default if question is None else question


def _encoded(picture: Image.Image, form: str) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, form)
    return buffer.getvalue()
