"""Pixels and token ids -> what the model makes of each alone, done once, before it looks at both."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xai.runtime.clock import Clock
from xai.runtime.inputs.kept import KeptImages
from xai.runtime.sessions.protocol import Session
from xai.spectral.arrays import Array, namespace, to_device


def place(session: Session, array: Array) -> Array:
    """The array where the session computes, so that all that follows stays there."""
    return to_device(array) if session.device == "cuda" else array


def encode_images(session: Session, pixels: NDArray[np.float32]) -> Array:
    """Normalised pixels (B, 3, S, S) -> image tokens (B, N, width)."""
    return session.run("encode_image", {"pixels": place(session, pixels)})["image_tokens"]


class EncodedImages(NamedTuple):
    """Image tokens (I, N, width) of distinct images, and the row (B,) there of each image asked for."""

    tokens: Array
    rows: NDArray[np.int64]

    def each(self) -> Array:
        """Image tokens (B, N, width), one row per image asked for."""
        if np.array_equal(self.rows, np.arange(len(self.tokens))):
            return self.tokens
        return self.tokens[namespace(self.tokens).asarray(self.rows)]


def encode_distinct(
    session: Session, images: Iterable[NDArray[np.float32]], together: int, clock: Clock | None = None, kept: KeptImages | None = None
) -> EncodedImages:
    """Encode each distinct image once, `together` in a batch; images are pixels (3, S, S), at least one.

    Those to come may be prepared by threads meanwhile: `clock` counts the encoding only, not the waiting for them. What `kept` holds
    is not encoded, and it is given what is.
    """
    clock = clock or Clock()
    kept = KeptImages(0) if kept is None else kept
    places: dict[bytes, int] = {}
    known: dict[bytes, Array] = {}
    waiting: dict[bytes, NDArray[np.float32]] = {}
    rows: list[int] = []

    def encode_waiting() -> None:
        for key, tokens in zip(waiting, encode_images(session, np.stack(list(waiting.values()))), strict=True):
            known[key] = tokens
            kept.keep(key, tokens)
        waiting.clear()

    for pixels in images:
        with clock.time("encode_image"):
            key = hashlib.sha256(pixels.data).digest()
            if key not in places:
                places[key] = len(places)
                if (found := kept.find(key)) is None:
                    waiting[key] = pixels
                else:
                    known[key] = found
            rows.append(places[key])
            if len(waiting) == together:
                encode_waiting()
    with clock.time("encode_image"):
        if waiting:
            encode_waiting()
        tokens = namespace(known[key]).stack([known[key] for key in places])
    return EncodedImages(tokens, np.array(rows))


class EncodedTexts(NamedTuple):
    """Text embeddings (B, T, width), padded on the right, and the mask (B, T) of real tokens."""

    embeddings: Array
    mask: NDArray[np.bool_]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens (B,) of each question, special ones included."""
        return self.mask.sum(1)


def pad_ids(questions: Sequence[NDArray[np.int64]]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Ids of unequal length -> ids (B, T), padded on the right, and the mask (B, T) of real tokens."""
    lengths = np.array([len(ids) for ids in questions])
    mask = np.arange(lengths.max()) < lengths[:, None]
    padded = np.full(mask.shape, 1, dtype=np.int64)  # any id does: padding is masked
    padded[mask] = np.concatenate(questions)
    return padded, mask


def embed_texts(session: Session, questions: Sequence[NDArray[np.int64]]) -> EncodedTexts:
    """Token ids of each question (T,) -> their embeddings as one padded batch."""
    ids, mask = pad_ids(questions)
    return EncodedTexts(session.run("embed_text", {"ids": place(session, ids)})["text_embeddings"], mask)
