"""The answer with image or text tokens left out: the one operation behind the perturbation test and `Explainer.answer`.

Image tokens are dropped after `encode_image`. Text tokens are dropped after `embed_text`, so that those kept keep their positions, or
before it where the family's published test numbers them anew (docs/methods.md, Perturbation test).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xai.runtime.description import Special
from xai.runtime.engine import check_logits
from xai.runtime.inputs.encode import embed_texts, pad_ids, place
from xai.runtime.sessions.protocol import Session
from xai.spectral.arrays import Array, namespace, to_numpy


class Kept(NamedTuple):
    """Tokens (R, N, width) of R images or questions, or token ids (R, N); per answer the row (B,) that it is about, and the tokens
    (B, n) of it that stay, special ones included."""

    tokens: Array
    rows: NDArray[np.int64]
    places: NDArray[np.int64]

    def taken(self) -> Array:
        """What stays, (B, n, width) or (B, n)."""
        xp = namespace(self.tokens)
        return self.tokens[xp.asarray(self.rows)[:, None], xp.asarray(self.places)]


def kept_places(kept: NDArray[np.int64], special: Special, length: int) -> NDArray[np.int64]:
    """Tokens (k,) that stay of `length`, counted without the special ones -> their places among all (k + special,): these stay."""
    before, behind = special
    return np.concatenate([np.arange(before), kept + before, np.arange(length - behind, length)])


def text_to_cut(session: Session, questions: Sequence[NDArray[np.int64]]) -> Array:
    """What tokens are left out of, for `Kept`: embeddings (B, T, width) of the questions' ids (T,), or the ids (B, T) themselves where
    positions are counted anew."""
    if session.description.published.positions == "anew":
        return place(session, pad_ids(questions)[0])
    return embed_texts(session, questions).embeddings


def answer_kept(session: Session, image: Kept, text: Kept) -> NDArray[np.floating]:
    """Logits (B, answers) from nothing but the tokens that are kept. Raises `XaiError` where they are not finite."""
    image_tokens, image_mask = _masked(image.taken())
    words = text.taken()
    if session.description.published.positions == "anew":
        words = session.run("embed_text", {"ids": words})["text_embeddings"]
    text_embeddings, text_mask = _masked(words)
    inputs = {"image_tokens": image_tokens, "image_mask": image_mask, "text_embeddings": text_embeddings, "text_mask": text_mask}
    logits: NDArray[np.floating] = to_numpy(session.run("answer", inputs, ["logits"])["logits"])
    check_logits(session, logits)
    return logits


def _masked(tokens: Array) -> tuple[Array, Array]:
    """Tokens (B, n, width) and their mask (B, n); in place of no token at all stands one that is masked, as no graph takes none."""
    xp = namespace(tokens)
    if tokens.shape[1]:
        return tokens, xp.ones(tokens.shape[:2], dtype=bool)
    return xp.zeros((len(tokens), 1, tokens.shape[2]), tokens.dtype), xp.zeros((len(tokens), 1), dtype=bool)
