"""What the demo model is trained and measured on: generated scenes and easy-VQA, as arrays."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tokenizers import Tokenizer

from xai.bench.data.scenes import ANSWERS, COLORS, KINDS, Question, Scene, ask, generate_scene, patch_coverage

_COVERED = 0.3  # share of a patch that a shape must cover to give the patch its label
_SPELLINGS = ((re.compile("color"), "colour"), (re.compile("gray"), "grey"))


@dataclass(frozen=True)
class SceneSet:
    """Scenes with their pictures (n, side, side, 3) uint8 and, per patch, the index of the shape there or -1."""

    scenes: tuple[Scene, ...]
    pictures: NDArray[np.uint8]
    owners: NDArray[np.int8]  # (n, grid, grid)


def build_scenes(seed: int, count: int, side: int, grid: int, least: int = 1, most: int = 6) -> SceneSet:
    """`count` scenes; scene i depends on `seed` and i alone."""
    scenes = tuple(generate_scene(np.random.default_rng((seed, i)), least, most) for i in range(count))
    pictures = np.stack([np.asarray(scene.draw(side)) for scene in scenes])
    return SceneSet(scenes, pictures, np.stack([_owners(scene, side, grid) for scene in scenes]))


def _owners(scene: Scene, side: int, grid: int) -> NDArray[np.int8]:
    coverage = np.stack([patch_coverage(scene.region((i,), side), grid, grid) for i in range(len(scene.shapes))])
    owners = coverage.argmax(0).astype(np.int8)
    owners[coverage.max(0) < _COVERED] = -1
    return owners


def patch_labels(scene: Scene, owners: NDArray[np.int8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Colour and kind of every patch (grid * grid,); 0 is background."""
    colors = np.array([0, *(1 + tuple(COLORS).index(s.color) for s in scene.shapes)])
    kinds = np.array([0, *(1 + KINDS.index(s.kind) for s in scene.shapes)])
    flat = owners.reshape(-1).astype(np.int64) + 1
    return colors[flat], kinds[flat]


def region_labels(question: Question, owners: NDArray[np.int8]) -> NDArray[np.float32]:
    """1 for every patch (grid * grid,) that belongs to the question's true region."""
    return np.isin(owners.reshape(-1), question.region).astype(np.float32)


def place_labels(question: Question, scene: Scene) -> NDArray[np.float32]:
    """Centres x, y, x, y (4,) in [-1, 1] of the one or two shapes that the question is about, as it names them; else NaN."""
    places = np.full(4, np.nan, np.float32)
    if len(question.region) <= 2:
        for i, index in enumerate(question.region):
            shape = scene.shapes[index]
            places[2 * i : 2 * i + 2] = 2 * shape.x - 1, 2 * shape.y - 1
    return places


def respell(text: str, rng: np.random.Generator) -> str:
    """British spelling now and then, so that both are understood."""
    for pattern, spelling in _SPELLINGS:
        if rng.random() < 0.2:
            text = pattern.sub(spelling, text)
    return text


def tokenizer_corpus(seed: int, count: int) -> list[str]:
    """Questions to train the tokenizer on: the scenes' and easy-VQA's."""
    rng = np.random.default_rng(seed)
    questions = [respell(ask(generate_scene(rng), rng).text, rng) for _ in range(count)]
    return questions + load_easy_vqa("train").questions


@dataclass(frozen=True)
class EasyVqa:
    """One split of easy-VQA: pictures (n, side, side, 3), and questions with the row of their picture."""

    pictures: NDArray[np.uint8]
    questions: list[str]
    answers: list[str]
    rows: NDArray[np.int64]


def load_easy_vqa(split: str, side: int | None = None) -> EasyVqa:
    """`split` is "train" or "test"; `side` resizes the 64 x 64 pictures as preprocessing would."""
    import easy_vqa

    train = split == "train"
    questions, answers, ids = easy_vqa.get_train_questions() if train else easy_vqa.get_test_questions()
    paths = easy_vqa.get_train_image_paths() if train else easy_vqa.get_test_image_paths()
    row_of = {image: row for row, image in enumerate(paths)}
    pictures = []
    for path in paths.values():
        with Image.open(path) as image:
            rgb = image.convert("RGB")
        pictures.append(np.asarray(rgb if side is None else rgb.resize((side, side), Image.Resampling.BICUBIC)))
    return EasyVqa(np.stack(pictures), list(questions), list(answers), np.array([row_of[i] for i in ids]))


def encode_questions(tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Token ids and mask (B, T), padded on the right with <pad> = 1; T is a multiple of 8, so that few shapes occur."""
    encoded = [e.ids for e in tokenizer.encode_batch(list(texts))]
    width = -(-max(map(len, encoded)) // 8) * 8
    ids = np.array([e + [1] * (width - len(e)) for e in encoded])
    mask = np.array([[True] * len(e) + [False] * (width - len(e)) for e in encoded])
    return ids, mask


def answer_ids(answers: Sequence[str]) -> NDArray[np.int64]:
    """Ids (n,) of answers by name."""
    return np.array([ANSWERS.index(a) for a in answers])
