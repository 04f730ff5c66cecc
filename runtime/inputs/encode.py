"""Prepared images -> image tokens: each distinct one encoded once, those of one size together."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xai.runtime.engine import Clock, encode_images
from xai.runtime.inputs.prepare import PreparedImage
from xai.runtime.sessions.protocol import Session
from xai.spectral.arrays import Array, namespace

ENCODED_TOGETHER = 4
"""Images of a batch: while the session encodes some, threads decode the next."""


class EncodedImages(NamedTuple):
    """`images` as they came, the tokens (B, N, width) of each, and the mask (B, N) of real ones where their numbers differ."""

    images: list[PreparedImage]
    tokens: Array
    mask: NDArray[np.bool_] | None


def encode(session: Session, images: Iterable[PreparedImage], clock: Clock) -> EncodedImages:
    """Encode images as they come. `clock` gets the time that the model took."""
    taken: list[PreparedImage] = []
    places: dict[bytes, int] = {}
    rows: list[int] = []
    waiting: dict[tuple[int, ...], list[tuple[int, PreparedImage]]] = {}
    encoded: dict[int, Array] = {}
    batches: list[Array] = []

    def run(some: list[tuple[int, PreparedImage]]) -> None:
        batches.append(encode_images(session, np.stack([image.pixels for _, image in some])))
        encoded.update(zip((place for place, _ in some), batches[-1], strict=True))

    for image in images:
        taken.append(image)
        with clock.time("encode_image"):
            shape = image.pixels.shape
            key = hashlib.sha256(repr(shape).encode() + image.pixels.tobytes()).digest()
            if key not in places:
                places[key] = len(places)
                waiting.setdefault(shape, []).append((places[key], image))
            rows.append(places[key])
            if len(waiting.get(shape, ())) == ENCODED_TOGETHER:
                run(waiting.pop(shape))
    with clock.time("encode_image"):
        for some in waiting.values():
            run(some)
        if len(batches) == 1 and rows == list(range(len(batches[0]))):
            return EncodedImages(taken, batches[0], None)
        return EncodedImages(taken, *pad_tokens([encoded[row] for row in rows]))


def pad_tokens(rows: list[Array]) -> tuple[Array, NDArray[np.bool_] | None]:
    """Tokens (N, width) of unequal numbers -> (B, N, width), 0 behind each row's own, and the mask (B, N); no mask where all are equal."""
    xp = namespace(rows[0])
    lengths = np.array([len(row) for row in rows])
    if (lengths == lengths[0]).all():
        return xp.stack(rows), None
    tokens = xp.zeros((len(rows), int(lengths.max()), rows[0].shape[1]), rows[0].dtype)
    for b, row in enumerate(rows):
        tokens[b, : len(row)] = row
    return tokens, np.arange(lengths.max()) < lengths[:, None]
