"""The lines of `results.jsonl`, each what one measure says of one question, mostly by one method: made, and checked when read again.

A line carries a checksum that is tied to the run's settings; the settings and the questions of `run.json` say which lines there must
be, in which order. So a line that was altered, lost, doubled or moved, or that belongs to another run, is found.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from xai.base.errors import XaiError
from xai.base.files import json_bytes
from xai.base.reading import MEGABYTE, Fields, parse_json
from xai.base.wording import one_line
from xai.bench.data.sample import Sample
from xai.bench.measures.cost import COST, cost_fields
from xai.bench.measures.measure import Answers, Key, LineKind
from xai.bench.measures.table import FIRST, MEASURES
from xai.bench.perturb.answering import Measured
from xai.bench.perturb.request import Request
from xai.bench.perturb.seal import CHECK, seal, unseal
from xai.runtime.answers import softmax
from xai.workers.crew import Chunk

Line = dict[str, Any]

_LONGEST = MEGABYTE
"""Bytes of a line, at most."""
_QUESTION = ("index", "question_id", "image")


def question_lines(measured: Measured, request: Request, names: Sequence[str]) -> Iterator[Line]:
    """Make one question's lines, measure by measure; `names` are the model's answers."""
    logits, sample = measured.logits, measured.prepared.sample
    answers = [names[i] for i in logits.argmax(1)]
    probabilities = softmax(logits)[:, logits[0].argmax()]
    question = {"index": measured.prepared.index, "question_id": sample.question_id, "image": sample.image}
    for measure in (MEASURES[name] for name in request.measures):
        rows = measured.plan.asked[measure.name]
        fields = measure.fields(measured.explained, Answers([answers[row] for row in rows], probabilities[rows]))
        for key, own in zip(measure.keys(request.scope), fields, strict=True):
            yield {**question, **key, **own}
    if request.measures != (FIRST,):
        yield {**question, **COST, **cost_fields(measured.costs)}


def skipped_line(index: int, sample: Sample, reason: str) -> Line:
    """Make the one line of a question that could not be run."""
    return {"index": index, "question_id": sample.question_id, "image": sample.image, "skipped": one_line(reason)}


class Expected(NamedTuple):
    """What the lines of a results file must be."""

    questions: tuple[Chunk, ...]
    columns: Sequence[tuple[Key, LineKind]]
    """The lines of a question, in their order, with what each holds."""
    key: str
    """Ties the lines to the run's settings."""

    def indices(self) -> Iterator[int]:
        """Count through the questions."""
        for chunk in self.questions:
            yield from range(chunk.start, chunk.stop)


@dataclass(frozen=True)
class QuestionLines:
    """What a results file holds of one question: `lines`, or the one that says why it was skipped."""

    index: int
    lines: list[Line]
    end: int
    """Bytes of the file up to here."""


def line_bytes(lines: Sequence[Line], key: str) -> bytes:
    """Write lines as they stand in the file, each with its checksum."""
    return b"".join(json_bytes(seal(line, key)) for line in lines)


def read_questions(path: Path, expected: Expected) -> Iterator[QuestionLines]:
    """Read a results file question by question, as far as it goes; what a kill cut short at its end is left out.

    Raises `XaiError` on the first line that is not what it must be, and where the file cannot be read.
    """
    raw_lines = _whole_lines(path)
    for index in expected.indices():
        lines: list[Line] = []
        for column in expected.columns:
            number, raw, end = next(raw_lines, (0, b"", 0))
            if not number:
                return
            lines.append(_read_line(raw, path, number, index, column, expected.key))
            _check_one_question(lines, path, number)
            if "skipped" in lines[0]:
                break
        yield QuestionLines(index, lines, end)
    if extra := next(raw_lines, None):
        raise XaiError(f"{path} line {extra[0]} is one too many: {_advice(extra[0])}")


def _whole_lines(path: Path) -> Iterator[tuple[int, bytes, int]]:
    """Read (number, line, offset behind it) up to a line that has no end."""
    try:
        with path.open("rb") as file:
            number = 1
            while (raw := file.readline(_LONGEST)).endswith(b"\n"):
                yield number, raw, file.tell()
                number += 1
            if len(raw) == _LONGEST:
                raise XaiError(f"{path} line {number} is longer than a line can be: {_advice(number)}")
    except OSError as error:
        raise XaiError(f"{path} cannot be read: {error.strerror}") from error


def _advice(number: int) -> str:
    return f"cut the file before line {number} and go on with --resume"


def _read_line(raw: bytes, path: Path, number: int, index: int, column: tuple[Key, LineKind], key: str) -> Line:
    """Read one line and hold every field against what it must be, and the checksum against all of them."""
    where, advice = f"{path} line {number}", _advice(number)
    try:
        content = parse_json(raw.decode().removesuffix("\n"), where)
    except UnicodeDecodeError as error:
        raise XaiError(f"{where} is not text in UTF-8: {advice}") from error
    except XaiError as error:
        raise XaiError(f"{error}: {advice}") from error
    fields = Fields(content, where, advice)
    if fields.integer("index") != index:
        raise fields.refuse("index", f"is {fields.content['index']} where {index} must come: lines are lost, doubled or moved")
    fields.get("question_id", str)
    fields.get("image", str)
    if "skipped" in fields.content:
        fields.only(*_QUESTION, "skipped", CHECK)
        fields.get("skipped", str)
    else:
        _check_fields(fields, *column)
    return unseal(fields, key)


def _check_fields(fields: Fields, key: Key, kind: LineKind) -> None:
    fields.only(*_QUESTION, *key, *kind.fields, CHECK)
    for name, value in key.items():
        if fields.get(name, str) != value:
            raise fields.refuse(name, f"is {fields.content[name]!r} where {value!r} must come: lines are lost, doubled or moved")
    kind.check(fields)


def _check_one_question(lines: Sequence[Line], path: Path, number: int) -> None:
    """Raise `XaiError` where the last line is of another question than the first, or had another answer with nothing removed."""
    first, last = lines[0], lines[-1]
    same = all(first[name] == last[name] for name in ("question_id", "image")) and ("skipped" in first) == ("skipped" in last)
    if "answers" in last:
        same = same and (first["answers"][0], first["accuracies"][0]) == (last["answers"][0], last["accuracies"][0])
    if "whole" in last:
        same = same and first["probabilities"][0] == last["whole"]
    if not same:
        raise XaiError(f"{path} line {number} does not belong to the question of the lines before: {_advice(number)}")
