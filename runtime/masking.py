"""The answer with image or text tokens left out: the one operation behind the perturbation test and `Explainer.answer`.

Image tokens are dropped after `encode_image` and text tokens after `embed_text`, so that those kept keep their positions
(docs/methods.md, Perturbation test).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xai.runtime.engine import check_logits
from xai.runtime.sessions.protocol import Session
from xai.spectral.arrays import Array, namespace


class Kept(NamedTuple):
    """Tokens (R, N, width) of R images or questions; per answer the row (B,) that it is about, and the tokens (B, n) of it that stay,
    special ones included."""

    tokens: Array
    rows: NDArray[np.int64]
    places: NDArray[np.int64]

    def taken(self) -> Array:
        """What stays, (B, n, width)."""
        xp = namespace(self.tokens)
        return self.tokens[xp.asarray(self.rows)[:, None], xp.asarray(self.places)]


def image_places(patches: NDArray[np.int64]) -> NDArray[np.int64]:
    """Patches (p,) -> image tokens (1 + p,): the class token stays."""
    return np.concatenate([[0], patches + 1])


def text_places(tokens: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Tokens (t,) of a question of `length` tokens, counted without the special ones -> tokens (2 + t,), both special ones with them."""
    return np.concatenate([[0], tokens + 1, [length - 1]])


def answer_kept(session: Session, image: Kept, text: Kept) -> Array:
    """Logits (B, answers) from nothing but the tokens that are kept. Raises `XaiError` where they are not finite."""
    image_tokens, text_embeddings = image.taken(), text.taken()
    xp = namespace(image_tokens)
    inputs = {
        "image_tokens": image_tokens,
        "image_mask": xp.ones(image_tokens.shape[:2], dtype=bool),
        "text_embeddings": text_embeddings,
        "text_mask": xp.ones(text_embeddings.shape[:2], dtype=bool),
    }
    logits = session.run("answer", inputs, ["logits"])["logits"]
    check_logits(session, logits)
    return logits
