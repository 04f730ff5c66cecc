"""The answer with image or text tokens left out: the one operation behind the perturbation test and `Explainer.answer`.

Image tokens are dropped after `encode_image` and text tokens after `embed_text`, so that those kept keep their positions
(docs/methods.md, Perturbation test).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xai.runtime.description import Special
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


def kept_places(kept: NDArray[np.int64], special: Special, length: int) -> NDArray[np.int64]:
    """Tokens (k,) that stay of `length`, counted without the special ones -> their places among all (k + special,): these stay."""
    before, behind = special
    return np.concatenate([np.arange(before), kept + before, np.arange(length - behind, length)])


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
