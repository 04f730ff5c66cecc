"""The lines of `results.jsonl`, each one question under one modality, sign and method: made, and checked when they are read again.

A line carries a checksum that is tied to the run's settings; the settings and the questions of `run.json` say which lines there must
be, in which order. So a line that was altered, lost, doubled or moved, or that belongs to another run, is found.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xai.base.errors import XaiError
from xai.base.files import json_bytes
from xai.base.reading import MEGABYTE, Fields, parse_json
from xai.base.wording import one_line
from xai.bench.data.sample import Sample
from xai.bench.measures.pointing import energy_inside, is_hit
from xai.bench.perturb.answering import Measured
from xai.bench.perturb.plan import STEPS, Curve, exact_counts, published_counts
from xai.bench.perturb.request import Chunk, Request
from xai.bench.perturb.seal import CHECK, seal, unseal
from xai.runtime.answers import softmax
from xai.spectral import Status
from xai.spectral.arrays import to_numpy

Line = dict[str, Any]

_DIGITS = 6
"""Digits behind the point of a probability or an energy."""
_LONGEST = MEGABYTE
"""Bytes of a line, at most."""
_STEPS = ("kept", "answers", "accuracies", "probabilities")
_QUESTION = ("index", "question_id", "image")
_LINE = (*_QUESTION, "modality", "sign", "method", *_STEPS, "exact", "pointing", "solver", CHECK)
_OPEN_STATUSES = tuple(status.name.lower() for status in Status if status is not Status.CONVERGED)


def question_lines(measured: Measured, request: Request, names: Sequence[str]) -> Iterator[Line]:
    """Make one question's lines, in the order modality, sign, method; `names` are the model's answers."""
    sample, logits, plan = measured.prepared.sample, measured.logits, measured.plan
    answers = [names[i] for i in logits.argmax(1)]
    original = softmax(logits)[:, logits[0].argmax()]

    def steps(asked: Mapping[int, int], counts: Sequence[int]) -> Line:
        rows = [asked[count] for count in counts]
        given = [answers[row] for row in rows]
        return {
            "kept": list(counts),
            "answers": given,
            "accuracies": [sample.label.get(answer, 0.0) for answer in given],
            "probabilities": [round(float(original[row]), _DIGITS) for row in rows],
        }

    region = sample.truth(measured.prepared.cells)
    for modality in request.modalities:
        n = plan.tokens[modality]
        published, exact = published_counts(n), exact_counts(n)
        for sign in request.signs:
            for i, method in enumerate(request.methods):
                asked = plan.asked[Curve(i, modality, sign)]
                yield {
                    "index": measured.prepared.index,
                    "question_id": sample.question_id,
                    "image": sample.image,
                    "modality": modality,
                    "sign": sign,
                    "method": method.name,
                    **steps(asked, published),
                    "exact": steps(asked, exact) if exact != published else None,
                    "pointing": _pointing(measured.explained.relevances[i].image, region) if modality == "image" else None,
                    "solver": dict(measured.explained.open_graphs[i][modality]),
                }


def skipped_line(index: int, sample: Sample, reason: str) -> Line:
    """Make the one line of a question that could not be run."""
    return {"index": index, "question_id": sample.question_id, "image": sample.image, "skipped": one_line(reason)}


def _pointing(relevance: Any, region: NDArray[np.float64] | None) -> dict[str, Any] | None:
    """Say whether the most relevant patch lies in the true region, and the share of relevance inside; None where it is unknown."""
    if region is None:
        return None
    values = to_numpy(relevance).reshape(region.shape)
    return {"hit": is_hit(values, region), "energy": round(energy_inside(values, region), _DIGITS)}


class Expected(NamedTuple):
    """What the lines of a results file must be."""

    questions: tuple[Chunk, ...]
    columns: Sequence[tuple[str, str, str]]
    """The (modality, sign, method) of every line of a question, in their order."""
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


def _read_line(raw: bytes, path: Path, number: int, index: int, column: tuple[str, str, str], key: str) -> Line:
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
        _check_fields(fields, column)
    return unseal(fields, key)


def _check_fields(fields: Fields, column: tuple[str, str, str]) -> None:
    fields.only(*_LINE)
    for name, value in zip(("modality", "sign", "method"), column, strict=True):
        if fields.get(name, str) != value:
            raise fields.refuse(name, f"is {fields.content[name]!r} where {value!r} must come: lines are lost, doubled or moved")
    counts = published_counts(_check_steps(fields))
    if fields.content["kept"] != list(counts):
        raise fields.refuse("kept", "is not what the steps keep")
    exact = exact_counts(counts[0])
    if fields.get("exact", dict, type(None)) is not None:
        inner = fields.inner("exact")
        inner.only(*_STEPS)
        _check_steps(inner)
    if (fields.content["exact"] or {"kept": list(counts)})["kept"] != list(exact):
        raise fields.refuse("exact", "is not what exact steps keep")
    if fields.get("pointing", dict, type(None)) is not None:
        pointing = fields.inner("pointing")
        pointing.only("hit", "energy")
        pointing.get("hit", bool)
        pointing.number("energy", 0, 1)
    solver = fields.inner("solver")
    for graph in solver.content:
        solver.among(graph, _OPEN_STATUSES)


def _check_steps(fields: Fields) -> int:
    """Check the four lists of one curve; returns how many tokens there are before any is removed."""
    for name, kind in (("kept", int), ("answers", str), ("accuracies", float), ("probabilities", float)):
        if len(fields.items(name, kind)) != len(STEPS):
            raise fields.refuse(name, f"has not {len(STEPS)} values")
    for name in ("accuracies", "probabilities"):
        if not all(0 <= value <= 1 for value in fields.content[name]):
            raise fields.refuse(name, "holds a number that is not within 0 and 1")
    most = fields.content["kept"][0]
    if not 0 <= most <= MEGABYTE:
        raise fields.refuse("kept", "begins with a number of tokens that no question has")
    return most


def _check_one_question(lines: Sequence[Line], path: Path, number: int) -> None:
    """Raise `XaiError` where the last line is of another question than the first, or had another answer with nothing removed."""
    first, last = lines[0], lines[-1]
    same = all(first[name] == last[name] for name in ("question_id", "image")) and ("skipped" in first) == ("skipped" in last)
    if not same or ("answers" in first and (first["answers"][0], first["accuracies"][0]) != (last["answers"][0], last["accuracies"][0])):
        raise XaiError(f"{path} line {number} does not belong to the question of the lines before: {_advice(number)}")
