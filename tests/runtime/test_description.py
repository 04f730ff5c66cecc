"""A model's description as JSON and back; what does not fit is refused by the field's name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from xai.base.errors import XaiError
from xai.runtime.description import Aspect, Boxes, Description, Published, Site, Special, Square, Stream, picture_inputs

HALF = (0.5, 0.5, 0.5)
DESCRIPTION = Description(
    family="two",
    sites=(
        Site("text0", "self", "text", "text", 2),
        Site("text0", "cross", "text", "image", 2),
        Site("image0", "self", "image", "image", 3, False),
    ),
    streams=(Stream("text", ("text",), "first", ("text0",)), Stream("image", ("image",), None, ())),
    special={"text": Special(1, 1), "image": Special(0, 0)},
    picture=Boxes(32),
    max_text_tokens=20,
    vocab_size=100,
    answers=7,
    image_width=8,
    text_width=8,
    width=16,
    published=Published("all", "all", True, True),
)


@pytest.mark.parametrize("picture", [Boxes(32), Square(576, 16, "crop", HALF, HALF), Aspect(384, 639, 32, HALF, (1.0, 2.0, 3.0))])
def test_survives_json(picture: Any) -> None:
    description = Description(**{**vars(DESCRIPTION), "picture": picture})
    content = json.loads(json.dumps(description.to_json()))
    assert Description.from_json(content) == description
    assert content["picture"]["kind"] == picture.kind


def test_whole_numbers_are_taken_for_decimal_ones() -> None:
    content = DESCRIPTION.to_json() | {
        "picture": {"kind": "square", "size": 8, "patch": 4, "fit": "squash", "mean": [0, 0, 0], "std": [1, 1, 1]}
    }
    found = Description.from_json(content).picture
    assert isinstance(found, Square)
    assert all(type(x) is float for x in (*found.mean, *found.std))


def change(*path: Any, value: Any) -> Any:
    content = json.loads(json.dumps(DESCRIPTION.to_json()))
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "model is missing or not an object"),
        (change("vocab_size", value="100"), "model.vocab_size is missing or not of type int"),
        (change("vocab_size", value=True), "model.vocab_size is missing or not of type int"),
        (change("vocab_size", value=0), "vocab_size is not a positive number"),
        (change("answers", value=-3), "answers is not a positive number"),
        (change("more", value=1), "model holds 'more', which is not known"),
        (change("sites", value=None), "model.sites is missing or not a list"),
        (change("sites", 1, "heads", value=1.5), r"model.sites\[1\].heads is missing or not of type int"),
        (change("sites", 1, "keys", value="sound"), "two: attention text0/cross joins streams that are not described"),
        (change("sites", 1, "kind", value="self"), "two attentions have the same name"),
        (change("streams", 0, "read", value="last"), r"model.streams\[0\].read is 'last', not one of first, mean"),
        (change("streams", 0, "read", value=None), "the first stream must be one that the answer is read from"),
        (change("streams", 0, "layers", value=["text1"]), "layer text1 has features and no self-attention"),
        (change("streams", 1, "parts", value=["text"]), "text and image must each lie in one stream"),
        (change("special", value={"text": {"before": 1, "behind": 1}}), "their special tokens counted"),
        (change("special", "text", "before", value=-1), "special tokens of text are counted below 0"),
        (change("picture", "kind", value="circle"), "model.picture.kind is 'circle', not one of square, aspect, boxes"),
        (change("picture", value={"kind": "square"}), "model.picture.size is missing"),
        (
            change("picture", value=Square(8, 4, "crop", HALF, (0.0, 1.0, 1.0))._asdict() | {"mean": [0, 0, 0], "std": [0, 1, 1]}),
            "std is not above",
        ),
        (change("published", "layers", value="last"), "model.published.layers is 'last', not one of first, all"),
    ],
)
def test_what_does_not_fit_is_refused(content: Any, message: str) -> None:
    with pytest.raises(XaiError, match=message):
        Description.from_json(content)


def test_arrays_of_a_picture_and_streams_of_a_modality_are_named() -> None:
    assert picture_inputs(Boxes(3)) == ("features", "boxes")
    assert picture_inputs(Square(8, 4, "crop", HALF, HALF)) == ("pixels",)
    assert DESCRIPTION.stream_of("image").name == "image"
