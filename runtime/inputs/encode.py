"""Pixels and token ids -> what the model makes of each alone, done once, before it looks at both."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xai.runtime.clock import Clock
from xai.runtime.description import picture_inputs
from xai.runtime.inputs.kept import KeptImages
from xai.runtime.sessions.protocol import Session
from xai.spectral.arrays import Array, namespace, to_device


def place(session: Session, array: Array) -> Array:
    """The array where the session computes, so that all that follows stays there."""
    return to_device(array) if session.device == "cuda" else array


def encode_images(session: Session, *picture: NDArray[np.float32]) -> Array:
    """A batch of pictures, as the arrays of `runtime.description.picture_inputs` -> image tokens (B, N, width)."""
    names = picture_inputs(session.description.picture)
    return session.run("encode_image", {name: place(session, x) for name, x in zip(names, picture, strict=True)})["image_tokens"]


class EncodedImages(NamedTuple):
    """Image tokens (I, N, width) of distinct images, and the row (B,) there of each image asked for.

    `mask` (I, N) is false behind the tokens of an image that has fewer than another; None where all have as many.
    """

    tokens: Array
    rows: NDArray[np.int64]
    mask: NDArray[np.bool_] | None

    def each(self) -> tuple[Array, NDArray[np.bool_] | None]:
        """Image tokens (B, N, width) and their mask, one row per image asked for."""
        if np.array_equal(self.rows, np.arange(len(self.tokens))):
            return self.tokens, self.mask
        return self.tokens[namespace(self.tokens).asarray(self.rows)], None if self.mask is None else self.mask[self.rows]


def encode_distinct(
    session: Session,
    images: Iterable[tuple[NDArray[np.float32], ...]],
    together: int,
    clock: Clock | None = None,
    kept: KeptImages | None = None,
) -> EncodedImages:
    """Encode each distinct image once, up to `together` of one size in a batch. Images, at least one, are the arrays of
    `runtime.description.picture_inputs`: pixels (3, h, w), or features (N, D) and boxes (N, 4).

    Those to come may be prepared by threads meanwhile: `clock` counts the encoding only, not the waiting for them. What `kept` holds
    is not encoded, and it is given what is.
    """
    clock = clock or Clock()
    kept = KeptImages(0) if kept is None else kept
    places: dict[bytes, int] = {}
    waiting: dict[tuple[tuple[int, ...], ...], list[tuple[bytes, tuple[NDArray[np.float32], ...]]]] = {}  # by size: hashes and images
    rows: list[int] = []
    parts: list[tuple[list[int], Array]] = []

    def encode_waiting(shapes: tuple[tuple[int, ...], ...]) -> None:
        some = waiting.pop(shapes)
        arrays = [np.stack(each) for each in zip(*(image for _, image in some), strict=True)]
        parts.append(([places[key] for key, _ in some], encode_images(session, *arrays)))
        for (key, _), tokens in zip(some, parts[-1][1], strict=True):
            kept.keep(key, tokens)

    for image in images:
        with clock.time("encode_image"):
            shapes = tuple(array.shape for array in image)
            key = hashlib.sha256(repr(shapes).encode() + b"".join(array.tobytes() for array in image)).digest()
            if key not in places:
                places[key] = len(places)
                if (found := kept.find(key)) is None:
                    waiting.setdefault(shapes, []).append((key, image))
                else:
                    parts.append(([places[key]], found[None]))
            rows.append(places[key])
            if len(waiting.get(shapes, ())) == together:
                encode_waiting(shapes)
    with clock.time("encode_image"):
        for shapes in list(waiting):
            encode_waiting(shapes)
        if all(tokens.shape[1] == parts[0][1].shape[1] for _, tokens in parts):
            tokens = parts[0][1] if len(parts) == 1 else namespace(parts[0][1]).concatenate([tokens for _, tokens in parts])
            order = np.argsort([place for some, _ in parts for place in some])
            return EncodedImages(tokens, order[rows], None)
        encoded = {place: row for some, tokens in parts for place, row in zip(some, tokens, strict=True)}
        tokens, mask = pad_tokens([encoded[place] for place in range(len(places))])
    return EncodedImages(tokens, np.array(rows), mask)


def pad_tokens(rows: Sequence[Array]) -> tuple[Array, NDArray[np.bool_]]:
    """Tokens (N, width) of unequal numbers -> (B, N, width), 0 behind each row's own, and the mask (B, N)."""
    xp = namespace(rows[0])
    lengths = np.array([len(row) for row in rows])
    tokens = xp.zeros((len(rows), int(lengths.max()), rows[0].shape[1]), rows[0].dtype)
    for b, row in enumerate(rows):
        tokens[b, : len(row)] = row
    return tokens, np.arange(lengths.max()) < lengths[:, None]


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
