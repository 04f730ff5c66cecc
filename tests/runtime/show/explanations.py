"""Explanations made by hand, and how tests look at what was drawn of them."""

from collections.abc import Sequence
from html.parser import HTMLParser

import numpy as np
from PIL import Image

from xai.runtime.explanation import Answer, Explanation
from xai.runtime.inputs.question import EncodedQuestion, Token, Word
from xai.runtime.inputs.resize import Crop
from xai.runtime.show.drawing.paper import Picture, Sheet, Text
from xai.runtime.show.drawing.raster import corners, picture
from xai.runtime.solver import SolverReport

NASTY = "Is <b>this</b> & \"that\" 😀 worth $5 or $6_x^2, 日本 \x1b[31m 'end'?"
METHODS = [
    "dsmi",
    "dsmi-grad",
    "dsmi-grad-attn",
    "relevance-maps",
    "transformer-attribution",
    "raw-attention",
    "grad-cam",
    "rollout",
    "random",
]
MARK = (0, 255, 255)


def explanation(
    size: tuple[int, int] = (320, 240),
    text: str = "What stands left of the sun?",
    grid: int = 8,
    hot: tuple[int, int] | None = (2, 5),
    method: str = "dsmi-grad",
    answer: str = "a house",
    name: str = "hill.jpg",
    target: str | None = None,
    notes: tuple[str, ...] = (),
    scores: Sequence[float] | None = None,
    relevance: np.ndarray | None = None,
    layers: str | None = "first",
    versus: str | None = None,
    signed: bool = True,
) -> Explanation:
    """One of a grey picture; the patch `hot` is marked in it and the only relevant one (None: all are alike).

    `scores` are the words' and `relevance` (grid, grid) the patches' instead. With `versus` it is a contrast.
    """
    short = min(size)
    left, top = (size[0] - short) // 2, (size[1] - short) // 2
    picture = Image.new("RGB", size, (128, 128, 128))
    image_relevance = np.zeros((grid, grid), np.float32) if relevance is None else np.asarray(relevance, np.float32)
    if hot and relevance is None:
        image_relevance[hot] = 3e-3
        patch = short / grid
        corner = left + hot[1] * patch, top + hot[0] * patch
        picture.paste(MARK, tuple(round(v) for v in (*corner, corner[0] + patch, corner[1] + patch)))
    spelled = text.split(" ")
    tokens = (Token(0, "<s>", "<s>"), *(Token(5 + i, "Ġ" + word, word) for i, word in enumerate(spelled)), Token(2, "</s>", "</s>"))
    first = Answer(3, answer, 4.0, 0.8)
    other = Answer(4, target or "barn", 2.0, 0.1)
    return Explanation(
        image_name=name,
        picture=picture,
        crop=Crop((left, top, left + short, top + short)),
        question=EncodedQuestion(text, tokens, tuple(Word(word, (i + 1,)) for i, word in enumerate(spelled))),
        answer=first,
        target=other if target else first,
        top=(first, other),
        method=method,
        layers=layers,
        image_relevance=image_relevance,
        text_relevance=np.linspace(0, 0.3, len(tokens)).astype(np.float32) if scores is None else np.array([0, *scores, 0], np.float32),
        solver=(SolverReport("image0", grid * grid, 0.02, float("inf"), 1e-12, 1e-9, 1, 1, "converged", "eigh", "spectrum", 0),),
        session="eager",
        precision="float32",
        timings_ms={"decode": 1.5, "total": 1.5},
        notes=notes,
        versus=Answer(5, versus, 1.0, 0.05) if versus else None,
        explains="difference" if versus else "answer",
        signed=bool(versus) and signed,
    )


def pixels(sheet: Sheet) -> np.ndarray:
    return np.asarray(picture(sheet)).astype(int)


def texts(sheet: Sheet) -> list[str]:
    return [mark.text for mark in sheet.marks if isinstance(mark, Text)]


def panels(sheet: Sheet) -> list[tuple[int, int, int, int]]:
    """Left, top, right and bottom of every picture and colour bar, in pixels, in the order in which they were drawn."""
    return [corners(mark.area) for mark in sheet.marks if isinstance(mark, Picture)]


def centre(mask: np.ndarray) -> np.ndarray:
    """(x, y) of what is true."""
    assert mask.any()
    return np.argwhere(mask).mean(axis=0)[::-1]


class Page(HTMLParser):
    """The text of a page, the attributes of its elements, and whether every element is closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "img", "input", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)
