"""An answer explained with patches or words left out: what stays is explained, and what was left out counts 0."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from xai.base.errors import BadInput
from xai.runtime.description import IMAGE, TEXT, Description
from xai.runtime.engine import Answered, Places
from xai.runtime.explanation import Answer, LeftOut
from xai.runtime.inputs.prepare import PreparedImage
from xai.runtime.inputs.question import EncodedQuestion
from xai.runtime.masked.masking import kept_places
from xai.runtime.masked.prediction import Asked, Stays, places
from xai.runtime.relevance import Relevance
from xai.spectral.arrays import to_numpy


class Leaving:
    """What is left out of one question about one image; `stay` are the tokens that the model sees."""

    def __init__(
        self,
        image: PreparedImage,
        question: EncodedQuestion,
        without_patches: NDArray[np.bool_] | None,
        without_words: NDArray[np.bool_] | None,
        model: Description,
    ) -> None:
        """Raises `BadInput` where a mask does not fit, and where nothing stays to be explained."""
        self.asked = asked = Asked(image, question, without_patches, without_words)
        self.patches, self.tokens = math.prod(image.shape), len(question.tokens)
        self.stays: Stays = asked.kept(question, self.patches, model.special[TEXT])
        for stays, what in ((self.stays.words, "word"), (self.stays.patches, "patch" if image.grid else "box")):
            if not len(stays):
                way = "leave one in; Explainer.answer and POST /v1/answer give the answer alone"
                raise BadInput(f"every {what} is left out, so that none is left to explain: {way}")
        whole = self.patches + sum(model.special[IMAGE])
        self.stay = Places(
            kept_places(self.stays.patches, model.special[IMAGE], whole), kept_places(self.stays.words, model.special[TEXT], self.tokens)
        )

    def restored(self, answered: Answered) -> Answered:
        """What was found of the tokens that stay, for all of them."""
        text, image = (self.stay.text, self.tokens), (self.stays.patches, self.patches)
        relevances = tuple(Relevance(spread(to_numpy(r.text), text), spread(to_numpy(r.image), image)) for r in answered.relevances)
        regions = tuple(spread(to_numpy(found), text, image) for found in answered.word_regions)
        return replace(answered, relevances=relevances, word_regions=regions)

    def told(self, before: Answer) -> LeftOut:
        """The same for who reads the explanation."""
        return LeftOut(places(self.asked.without_words), places(self.asked.without_patches), before)


def spread(values: NDArray[np.floating], *axes: tuple[NDArray[np.int64], int]) -> NDArray[np.floating]:
    """Values of what stays -> the same of everything, 0 where something was left out; of each axis the places and the full length."""
    for axis, (stay, length) in enumerate(axes):
        found = np.zeros((*values.shape[:axis], length, *values.shape[axis + 1 :]), values.dtype)
        found[(slice(None),) * axis + (stay,)] = values
        values = found
    return values
