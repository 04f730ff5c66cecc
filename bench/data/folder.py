"""A folder of questions, in one of the layouts of `LAYOUTS`: what it holds says which."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from xai.base.errors import BadInput
from xai.base.reading import Fields, parse_json, read_text, text_lines
from xai.bench.data import clevr_xai, gqa
from xai.bench.data.sample import Sample
from xai.bench.data.vqa import ADVICE, read_published, read_scores, read_vqa
from xai.bench.data.vqa_answers import LARGEST


class Layout(NamedTuple):
    """A way in which a folder holds questions."""

    files: str
    """What there must be, in a message."""
    holds: Callable[[Path], bool]
    read: Callable[[Path], Iterable[Sample]]


def read_folder(folder: Path) -> list[Sample]:
    """Read the questions of a folder, in its files' order. Raises `XaiError` where it holds none that can be read."""
    for layout in LAYOUTS:
        if layout.holds(folder):
            return list(layout.read(folder))
    raise BadInput(f"folder {folder} holds neither {' nor '.join(layout.files for layout in LAYOUTS)}")


def _holds_own(folder: Path) -> bool:
    return (folder / "questions.jsonl").is_file()


def _holds_published(folder: Path) -> bool:
    return (folder / "valid.json").is_file()


def _read_published(folder: Path) -> Iterator[Sample]:
    return read_published(folder / "valid.json")


def _holds_clevr_xai(folder: Path) -> bool:
    return bool(clevr_xai.question_files(folder))


def _holds_gqa(folder: Path) -> bool:
    return all(gqa.question_files(folder))


def _vqa_files(folder: Path) -> list[list[Path]]:
    return [sorted(folder.glob(f"*{kind}.json")) for kind in ("questions", "annotations")]


def _holds_vqa(folder: Path) -> bool:
    return all(len(files) == 1 for files in _vqa_files(folder))


def _read_vqa(folder: Path) -> Iterator[Sample]:
    (questions,), (annotations,) = _vqa_files(folder)
    return read_vqa(questions, annotations)


def _read_own(folder: Path) -> Iterator[Sample]:
    return _own(folder / "questions.jsonl")


def _own(path: Path) -> Iterator[Sample]:
    """Read one object a line: `image` (a path from the folder), `question`, `label` (an answer, or an object answer -> score), and
    `question_id` (default: the line's number)."""
    for number, line in enumerate(text_lines(read_text(path, LARGEST)), start=1):
        if not line.strip():
            continue
        where = f"{path} line {number}"
        entry = Fields(parse_json(line, where), where, ADVICE)
        image = entry.get("image", str)
        label = entry.get("label", str, dict)
        yield Sample(
            str(entry.get("question_id", str, int)) if "question_id" in entry.content else str(number),
            image,
            entry.get("question", str),
            {label: 1.0} if isinstance(label, str) else read_scores(entry),
            partial(Path, path.parent, image),
        )


LAYOUTS = (
    Layout("questions.jsonl", _holds_own, _read_own),
    Layout("valid.json", _holds_published, _read_published),
    Layout("CLEVR-XAI_simple_questions.json or CLEVR-XAI_complex_questions.json", _holds_clevr_xai, clevr_xai.read_clevr_xai),
    Layout("*questions.json with *sceneGraphs.json", _holds_gqa, gqa.read_gqa),
    Layout("one pair of *questions.json and *annotations.json", _holds_vqa, _read_vqa),
)
"""The layouts that are known; the first that a folder has is read. To add one, write a file that reads it and give it a row."""
