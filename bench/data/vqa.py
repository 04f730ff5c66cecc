"""VQAv2: its questions and annotations with the soft scores of its ten human answers, and the published run's list of questions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from xai.base.errors import XaiError
from xai.base.reading import Fields, json_kind, read_json
from xai.bench.data.sample import Sample
from xai.bench.data.vqa_answers import LARGEST, normalise_answer
from xai.runtime.inputs.decode import SUFFIXES

ADVICE = "correct it"


def read_published(path: Path) -> Iterator[Sample]:
    """Read the file of the published run, a list of `img_id`, `sent`, `label` and `question_id`. Raises `XaiError`."""
    image_file = _ImageFiles(path.parent)
    content = read_json(path, LARGEST)
    if not isinstance(content, list):
        raise XaiError(f"{path} is {json_kind(content)}, not a list of questions: {ADVICE}")
    for number, item in enumerate(content):
        entry = Fields(item, f"{path} entry {number}", ADVICE)
        image = entry.get("img_id", str)
        question_id = str(entry.get("question_id", str, int))
        yield Sample(question_id, image, entry.get("sent", str), read_scores(entry), partial(image_file, image))


def read_vqa(questions: Path, annotations: Path) -> Iterator[Sample]:
    """Read VQAv2's own files; the ten human answers of a question become its soft scores. Raises `XaiError`."""
    image_file = _ImageFiles(questions.parent)
    answers = _read_answers(annotations)
    content = Fields(read_json(questions, LARGEST), str(questions), ADVICE)
    subtype = content.get("data_subtype", str)
    for number, item in enumerate(content.items("questions", dict)):
        entry = Fields(item, f"{questions} entry {number}", ADVICE)
        image = f"COCO_{subtype}_{entry.integer('image_id'):012d}"
        question_id = entry.integer("question_id")
        if question_id not in answers:
            raise XaiError(f"{annotations} has no answers to question {question_id} of {questions.name}: give the pair of one split")
        label = soft_scores(answers[question_id])
        yield Sample(str(question_id), image, entry.get("question", str), label, partial(image_file, image))


def _read_answers(path: Path) -> dict[int, list[str]]:
    """Read the human answers of every question."""
    found: dict[int, list[str]] = {}
    for number, item in enumerate(Fields(read_json(path, LARGEST), str(path), ADVICE).items("annotations", dict)):
        entry = Fields(item, f"{path} entry {number}", ADVICE)
        question_id = entry.integer("question_id")
        if question_id in found:
            raise entry.refuse("question_id", f"is {question_id}, as in an entry before")
        found[question_id] = [Fields(one, entry.where, ADVICE).get("answer", str) for one in entry.items("answers", dict)]
    return found


def read_scores(entry: Fields) -> dict[str, float]:
    """Read `label`, an object answer -> score in [0, 1]. Raises `XaiError` on another."""
    label = entry.inner("label")
    return {answer: float(label.number(answer, 0, 1)) for answer in label.content}


def soft_scores(answers: Iterable[str]) -> dict[str, float]:
    """Give each human answer its VQA accuracy (Antol et al. 2015): the mean of min(1, matches / 3) over nine of the ten others."""
    counts = Counter(map(normalise_answer, answers))
    return {answer: min(1.0, round(0.3 * n, 1)) for answer, n in counts.items() if answer}


class _ImageFiles:
    """Finds COCO images by name: `<split>/<name>.<suffix>`, or beside the questions."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.suffixes: dict[Path, dict[str, str]] = {}

    def __call__(self, name: str) -> Path:
        split = self.folder / name.split("_")[1] if name.count("_") >= 2 else self.folder
        if split not in self.suffixes:
            self.suffixes[split] = {file.stem: file.suffix for file in _list_files(split) if file.suffix.lower() in SUFFIXES}
        return split / f"{name}{self.suffixes[split].get(name, '.jpg')}"


def _list_files(folder: Path) -> list[Path]:
    """List a folder's files, none where it does not exist. Raises `XaiError` where it cannot be read."""
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL in the name
        return []
    except OSError as error:
        raise XaiError(f"folder {folder} cannot be read: {error.strerror}") from error
