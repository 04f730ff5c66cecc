"""A folder of questions: one's own `questions.jsonl`, the published run's `valid.json`, or VQAv2's pair of files."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from xai.base.errors import BadInput
from xai.base.reading import Fields, parse_json, read_text, text_lines
from xai.bench.data.sample import Sample
from xai.bench.data.vqa import ADVICE, read_published, read_scores, read_vqa
from xai.bench.data.vqa_answers import LARGEST


def read_folder(folder: Path) -> list[Sample]:
    """Read the questions of a folder, in its files' order. Raises `XaiError` where it holds none that can be read."""
    if (folder / "questions.jsonl").is_file():
        return list(_own(folder / "questions.jsonl"))
    if (folder / "valid.json").is_file():
        return list(read_published(folder / "valid.json"))
    questions, annotations = (sorted(folder.glob(f"*{kind}.json")) for kind in ("questions", "annotations"))
    if len(questions) == len(annotations) == 1:
        return list(read_vqa(questions[0], annotations[0]))
    raise BadInput(f"folder {folder} holds neither questions.jsonl nor valid.json nor one pair of *questions.json and *annotations.json")


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
