"""How many rows of a model's graphs fit into memory."""

from __future__ import annotations

from dataclasses import dataclass

from xai.runtime.description import IMAGE, Aspect, Boxes, Description, Square
from xai.runtime.sessions.protocol import Session

MOST_QUESTIONS = 32
"""Questions that are planned and run together, at most."""
PUBLISHED_BOXES = 36
"""Of a picture, in the published features (Anderson et al. 2018; Tan and Bansal 2019)."""
_ROWS_OF_A_QUESTION = 64
"""Distinct subsets of about one length that a question asks for, by nine methods: of some 150 in all."""


@dataclass(frozen=True)
class Memory:
    """How many rows of each kind of run fit into `limit` bytes, for a model of `width` channels and `layers` layers of image tokens.

    An estimate from above in float32: 16 vectors of every token, and the attention map twice in case the session forms it.
    The evidence graph keeps both for every layer, with the map's gradient.
    """

    limit: int
    width: int
    layers: int

    def _row(self, tokens: int) -> tuple[int, int]:
        """Count the bytes of vectors and of one layer's attention maps of one row."""
        heads = max(1, self.width // 64)
        return 4 * 16 * self.width * tokens, 4 * heads * tokens * tokens

    def answers(self, image_tokens: int, text_tokens: int) -> int:
        """Count the rows of the graphs `answer` and, with no text, `encode_image`."""
        vectors, maps = self._row(image_tokens + text_tokens)
        return max(1, self.limit // (vectors + 2 * maps))

    def questions(self, image_tokens: int) -> int:
        """Count the questions to plan and run together: as many as fill the rows, few where one does: little is lost by a kill."""
        return min(MOST_QUESTIONS, max(1, self.answers(image_tokens, 0) // _ROWS_OF_A_QUESTION))

    def evidence(self, image_tokens: int, text_tokens: int) -> int:
        """Count the rows of the graph `evidence`."""
        vectors, maps = self._row(image_tokens + text_tokens)
        return max(1, self.limit // (self.layers * (vectors + 3 * maps)))


def session_memory(session: Session, limit: int) -> Memory:
    """What fits into `limit` bytes of the session's model."""
    description = session.description
    image = description.stream_of(IMAGE).name
    layers = sum(site.queries == site.keys == image for site in description.sites)
    return Memory(limit, max(description.image_width, description.text_width), layers)


def usual_tokens(description: Description) -> int:
    """How many tokens, special ones included, a picture becomes: always, at most where it keeps its shape, or of boxes as published."""
    special = sum(description.special[IMAGE])
    match description.picture:
        case Square(grid=grid):
            return grid**2 + special
        case Aspect(shorter=shorter, longer=longer, patch=patch):
            return (shorter // patch) * (longer // patch) + special
        case Boxes():
            return PUBLISHED_BOXES + special
