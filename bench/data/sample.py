"""Questions with their images and true answers: generated scenes, easy-VQA, VQAv2 files and folders of one's own."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xai.base.errors import XaiError
from xai.bench.data.scenes import Question, Scene, samples
from xai.bench.data.vqa_answers import normalise
from xai.bench.measures.pointing import SCENE_SIDE, truth
from xai.runtime.inputs.image import SUFFIXES, ImageSource

PUBLISHED_SEED = 1234
"""Of the published table's order; for `scenes` it names the data set."""
SCENES = 1000
"""Scenes where the user names no number."""
NAMES = ("scenes", "easy-vqa")
"""Data sets that need no folder."""


@dataclass(frozen=True)
class Sample:
    """One question. Samples with the same `image` share it; `label` holds the score in (0, 1] of every answer that counts."""

    question_id: str
    image: str
    question: str
    label: Mapping[str, float]
    source: Path | Scene
    asked: Question | None = None
    """The generated question, whose true region is known."""

    def picture(self) -> ImageSource:
        """The image's file, or the picture drawn. The file may be missing or broken."""
        return self.source.draw(SCENE_SIDE) if isinstance(self.source, Scene) else self.source

    def region(self, grid: int) -> NDArray[np.float64] | None:
        """Share (grid, grid) of each patch that the answer rests on; None where that is unknown, or where it is no region."""
        if isinstance(self.source, Path) or self.asked is None or not self.asked.region:
            return None
        return truth(self.source, self.asked, grid)


def load_samples(data: str, count: int | None = None, seed: int = PUBLISHED_SEED) -> list[Sample]:
    """The first `count` samples (all, or `SCENES`, where None) of `scenes`, `easy-vqa` or a folder.

    Files are shuffled with Python's generator seeded with `seed`, as the published run shuffles; scenes are generated from
    it. A folder holds `questions.jsonl`, or the published `valid.json`, or VQAv2's questions and annotations.
    Raises `XaiError` where there is no such data, or less than asked for.
    """
    if data == "scenes":
        return _scenes(seed, SCENES if count is None else count)
    found = _easy_vqa() if data == "easy-vqa" else _folder(Path(data))
    if not found:
        raise XaiError(f"data set {data} holds no question")
    if double := [name for name, n in Counter(sample.question_id for sample in found).items() if n > 1]:
        raise XaiError(f"data set {data} has more than one question with the id {double[0]}: give each its own")
    if count is not None and count > len(found):
        raise XaiError(f"data set {data} has {len(found)} questions, not {count}: ask for fewer with --samples")
    random.Random(seed).shuffle(found)
    return found[:count]


def _scenes(seed: int, count: int) -> list[Sample]:
    return [
        Sample(f"{seed}-{i}", f"scene {seed}-{i}", question.text, {question.answer: 1.0}, scene, question)
        for i, (scene, question) in enumerate(samples(seed, count))
    ]


def _easy_vqa() -> list[Sample]:
    """The package's test split, in its own order."""
    try:
        import easy_vqa
    except ModuleNotFoundError as error:
        raise XaiError("the data set easy-vqa needs its package: pip install 'xai-vqa[bench]'") from error
    paths = easy_vqa.get_test_image_paths()
    return [
        Sample(str(i), f"easy-vqa {image}", question, {answer: 1.0}, Path(paths[image]))
        for i, (question, answer, image) in enumerate(zip(*easy_vqa.get_test_questions(), strict=True))
    ]


def _folder(folder: Path) -> list[Sample]:
    if not folder.is_dir():
        raise XaiError(f"unknown data set {str(folder)!r}: choose from {', '.join(NAMES)}, or name a folder")
    if (folder / "questions.jsonl").is_file():
        return list(_jsonl(folder / "questions.jsonl"))
    if (folder / "valid.json").is_file():
        return list(_published(folder / "valid.json"))
    questions, annotations = (sorted(folder.glob(f"*{kind}.json")) for kind in ("questions", "annotations"))
    if len(questions) == len(annotations) == 1:
        return list(_vqa(questions[0], annotations[0]))
    raise XaiError(f"folder {folder} holds neither questions.jsonl nor valid.json nor one pair of *questions.json and *annotations.json")


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise XaiError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise XaiError(f"{path} is not JSON: {error}") from error


def _jsonl(path: Path) -> Iterator[Sample]:
    """One object a line: `image` (a path from the folder), `question`, `label` (an answer, or an object answer -> score), and
    `question_id` (default: the line number)."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise XaiError(f"{path} cannot be read: {error}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path} line {number}"
        try:
            entry = json.loads(line)
        except ValueError as error:
            raise XaiError(f"{where} is not JSON: {error}") from error
        entry = {"question_id": number} | entry if isinstance(entry, dict) else entry
        image = _field(entry, "image", str, where)
        yield Sample(
            str(_field(entry, "question_id", str | int, where)),
            image,
            _field(entry, "question", str, where),
            _label(_field(entry, "label", str | dict, where), where),
            path.parent / image,
        )


def _published(path: Path) -> Iterator[Sample]:
    """The file of the published run: `img_id`, `sent`, `label`, `question_id`."""
    image = _ImageFiles(path.parent)
    for number, entry in enumerate(_list(_read(path), path)):
        where = f"{path} entry {number}"
        name = _field(entry, "img_id", str, where)
        yield Sample(
            str(_field(entry, "question_id", str | int, where)),
            name,
            _field(entry, "sent", str, where),
            _label(_field(entry, "label", dict, where), where),
            image(name),
        )


def _vqa(questions: Path, annotations: Path) -> Iterator[Sample]:
    """VQAv2's own files; the ten human answers of a question become its soft scores."""
    content = _read(questions)
    subtype = _field(content, "data_subtype", str, str(questions))
    image = _ImageFiles(questions.parent)
    answers = {}
    for number, entry in enumerate(_list(_field(_read(annotations), "annotations", list, str(annotations)), annotations)):
        where = f"{annotations} entry {number}"
        given = _list(_field(entry, "answers", list, where), annotations)
        answers[_field(entry, "question_id", int, where)] = [_field(one, "answer", str, where) for one in given]
    for number, entry in enumerate(_list(_field(content, "questions", list, str(questions)), questions)):
        where = f"{questions} entry {number}"
        name = f"COCO_{subtype}_{_field(entry, 'image_id', int, where):012d}"
        question_id = _field(entry, "question_id", int, where)
        if question_id not in answers:
            raise XaiError(f"{annotations} has no answers to question {question_id} of {questions.name}: give the pair of one split")
        yield Sample(str(question_id), name, _field(entry, "question", str, where), soft_scores(answers[question_id]), image(name))


def soft_scores(answers: Iterable[str]) -> dict[str, float]:
    """VQA accuracy of each human answer (Antol et al. 2015): the mean of min(1, matches / 3) over nine of the ten others."""
    counts = Counter(map(normalise, answers))
    return {answer: min(1.0, round(0.3 * n, 1)) for answer, n in counts.items() if answer}


class _ImageFiles:
    """Where a COCO image of some name lies: `<split>/<name>.<suffix>`, or beside the questions."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.suffixes: dict[Path, dict[str, str]] = {}

    def __call__(self, name: str) -> Path:
        split = self.folder / name.split("_")[1] if name.count("_") >= 2 else self.folder
        if split not in self.suffixes:
            files = split.iterdir() if split.is_dir() else ()
            self.suffixes[split] = {file.stem: file.suffix for file in files if file.suffix.lower() in SUFFIXES}
        return split / f"{name}{self.suffixes[split].get(name, '.jpg')}"


def _list(content: Any, path: Path) -> list[Any]:
    if not isinstance(content, list):
        raise XaiError(f"{path} does not hold a list where one is expected")
    return content


def _field(entry: Any, name: str, kind: Any, where: str) -> Any:
    if not isinstance(entry, dict):
        raise XaiError(f"{where} is not an object")
    if name not in entry:
        raise XaiError(f"{where} lacks {name!r}")
    if not isinstance(entry[name], kind) or isinstance(entry[name], bool):
        raise XaiError(f"{where}: {name!r} cannot be {entry[name]!r}")
    return entry[name]


def _label(label: str | dict[str, Any], where: str) -> dict[str, float]:
    if isinstance(label, str):
        return {label: 1.0}
    for answer, score in label.items():
        if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
            raise XaiError(f"{where}: the score of {answer!r} must be a number from 0 to 1, not {score!r}")
    return {answer: float(score) for answer, score in label.items()}


def by_image(found: Sequence[Sample]) -> list[Sample]:
    """The same samples, those of one image side by side, images in order of their first sample."""
    groups: dict[str, list[Sample]] = {}
    for sample in found:
        groups.setdefault(sample.image, []).append(sample)
    return [sample for group in groups.values() for sample in group]
