"""A file of pairs, JSONL or CSV: images, questions about them, and if you like answers to explain, ids and box features."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xai.base.errors import BadInput
from xai.base.files import is_stream
from xai.base.reading import Fields, read_json_lines, read_text

FIELDS = ("image", "question", "target", "versus", "id", "boxes")
"""Of a pair; all but the first two may be missing."""


@dataclass(frozen=True)
class Pair:
    """An image and a question about it; `where` names its line in the file, `path` is what to open, `boxes` the file of
    the image's box features, if the pair names one."""

    number: int
    where: str
    image: str
    path: Path
    question: str
    target: str | int | None
    versus: str | int | None
    id: str | int | None
    boxes: Path | None

    def key(self, run: object) -> str:
        """What tells that a line was made of this pair by this `run` (model, methods, options)."""
        own = [run, self.image, self.question, self.target, self.versus, self.id]
        content = json.dumps(own if self.boxes is None else [*own, str(self.boxes)], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]


def read_pairs(path: Path) -> list[Pair]:
    """The pairs of a JSONL file, or of a CSV file with a header. Raises `XaiError` where a line is none.

    Images are looked for from the folder of the file, or from here where the file is a pipe.
    """
    if path.suffix.lower() not in (".jsonl", ".csv", "") or (not path.suffix and not is_stream(path)):
        raise BadInput(f"{path} is not a file of pairs: its name must end with .jsonl or .csv")
    folder = Path() if is_stream(path) else path.parent
    rows = _csv_rows(path) if path.suffix.lower() == ".csv" else read_json_lines(path)
    pairs = [_pair(number, where, row, folder) for number, (where, row) in enumerate(rows, start=1)]
    if not pairs:
        raise BadInput(f"{path} holds no pair: each line has an image and a question")
    seen: dict[str | int, str] = {}
    for pair in pairs:
        if pair.id is not None and seen.setdefault(pair.id, pair.where) != pair.where:
            raise BadInput(f"{pair.where} has the id {pair.id!r} of {seen[pair.id]}: give each pair its own")
    return pairs


def _csv_rows(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """(where, fields that are not empty) of each row below the header."""
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        header = next(reader, [])
        if missing := [name for name in FIELDS[:2] if name not in header]:
            raise BadInput(f"{path} has no column {missing[0]!r}: the first line names the columns, such as image,question")
        if len(set(header)) < len(header):
            raise BadInput(f"{path} names a column twice: {', '.join(header)}")
        for row in reader:
            where = f"{path} line {reader.line_num}"
            if len(row) not in (0, len(header)):
                raise BadInput(f"{where} has {len(row)} cells, the header {len(header)}: put text with commas in quotes")
            if row:
                yield where, {name: cell for name, cell in zip(header, row, strict=True) if cell or name in FIELDS[:2]}
    except csv.Error as error:
        raise BadInput(f"{path} line {reader.line_num} is not CSV: {error}") from error


def _pair(number: int, where: str, row: Any, folder: Path) -> Pair:
    fields = Fields(row, where, "a pair has image, question, and if you like target, versus, id and boxes")
    fields.only(*FIELDS)
    target: Any = fields.get("target", str, int) if "target" in row else None
    versus: Any = fields.get("versus", str, int) if "versus" in row else None
    own_id: Any = fields.get("id", str, int) if "id" in row else None
    image = fields.get("image", str)
    boxes = folder / fields.get("boxes", str) if "boxes" in row else None
    return Pair(number, where, image, folder / image, fields.get("question", str), target, versus, own_id, boxes)
