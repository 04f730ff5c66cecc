"""Text and JSON that somebody else wrote: read within limits, and refused in one sentence that says where.

UTF-8, with or without a byte order mark. A line ends at a line feed (a carriage return before it goes too) and nowhere else: U+2028,
NEL and form feeds are characters like others.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, TypeVar

from xai.base.errors import XaiError, first_line

MEGABYTE = 1_000_000

T = TypeVar("T")


def read_bytes(path: Path, most: int) -> bytes:
    """The content of a file of at most `most` bytes. Raises `XaiError` where it is larger or cannot be read."""
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise XaiError(f"{path} cannot be read: {getattr(error, 'strerror', None) or first_line(error)}") from error
    if len(content) > most:
        raise XaiError(f"{path} has more than {most / MEGABYTE:g} MB, which is more than such a file can have: name another")
    return content


def read_text(path: Path, most: int = 100 * MEGABYTE) -> str:
    """The text of a file. Raises `XaiError` as `read_bytes`, and where it is not UTF-8."""
    try:
        return read_bytes(path, most).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise XaiError(f"{path} is not text in UTF-8 (byte {error.start}): convert it") from error


def text_lines(text: str) -> list[str]:
    """The lines of a text; what follows the last line feed counts only if it is not empty."""
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return lines[:-1] if lines[-1] == "" else lines


def parse_json(text: str, where: str) -> Any:
    """The value of a JSON text. Raises `XaiError`, which begins with `where`, for what JSON does not allow (NaN, a name given twice),
    and for what is nested or numbered beyond any use. Half a surrogate pair passes: a file name that is not UTF-8 is written as such."""
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise XaiError(f"{where} is not usable JSON: it is nested too deeply") from error
    except ValueError as error:
        raise XaiError(f"{where} is not JSON: {first_line(error)}") from error


def read_json(path: Path, most: int = 100 * MEGABYTE) -> Any:
    """The value in a JSON file. Raises `XaiError` as `read_text` and `parse_json`."""
    return parse_json(read_text(path, most), str(path))


def read_members(path: Path, inside: str | None = None, most: int = 1000 * MEGABYTE) -> Iterator[tuple[str, Any]]:
    """(name, value) of every member of the object in a JSON file, or (number from 0, value) of the items of its list `inside`.

    One at a time: what a value holds is let go before the next one is read, so that a large file takes little more than its text. A
    name given twice is given twice. Raises `XaiError` as `read_text`, and where the file is no such object, with the place.
    """
    text = read_text(path, most)
    try:
        yield from _members(text, inside)
    except RecursionError as error:
        raise XaiError(f"{path} is not usable JSON: it is nested too deeply") from error
    except ValueError as error:
        if text.lstrip().startswith("{") and not text.rstrip().endswith("}"):
            raise XaiError(f"{path} is cut short: its JSON has no end after {len(text):,} characters; fetch it again") from error
        raise XaiError(f"{path} is not JSON as expected: {first_line(error)}") from error


def _members(text: str, inside: str | None) -> Iterator[tuple[str, Any]]:
    """Walk the object, and the list `inside` it. Raises `ValueError`."""
    at = _expect(text, _space(text, 0), "{")
    found = inside is None
    while text[at : at + 1] != "}":
        name, at = _DECODER.raw_decode(text, at)
        if not isinstance(name, str):
            raise json.JSONDecodeError("Expecting a name", text, at)
        at = _expect(text, _space(text, at), ":")
        if name == inside:
            found = True
            at = yield from _items(text, at)
        else:
            value, at = _DECODER.raw_decode(text, at)
            if inside is None:
                yield name, value
        at = _next(text, at, "}")
    if text[at + 1 :].strip():
        raise json.JSONDecodeError("Extra data", text, at + 1)
    if not found:
        raise ValueError(f"its object has no list {inside!r}")


def _items(text: str, at: int) -> Generator[tuple[str, Any], None, int]:
    """Walk a list; returns the place behind it."""
    at = _expect(text, at, "[")
    number = 0
    while text[at : at + 1] != "]":
        value, at = _DECODER.raw_decode(text, at)
        yield str(number), value
        number += 1
        at = _next(text, at, "]")
    return at + 1


def _next(text: str, at: int, end: str) -> int:
    """The place of what follows a comma, or of the `end`."""
    at = _space(text, at)
    if text[at : at + 1] == end:
        return at
    at = _expect(text, at, ",")
    if text[at : at + 1] == end:
        raise json.JSONDecodeError("Expecting a value", text, at)
    return at


def _expect(text: str, at: int, mark: str) -> int:
    """The place of what follows a mark and spaces."""
    if text[at : at + 1] != mark:
        raise json.JSONDecodeError(f"Expecting '{mark}'", text, at)
    return _space(text, at + 1)


def _space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    assert found is not None  # it matches nothing, too
    return found.end()


def read_json_lines(path: Path, most: int = 1000 * MEGABYTE) -> Iterator[tuple[str, Any]]:
    """(where, value) of each line of a JSONL file that is not blank; `where` names file and line. Raises `XaiError` as `read_json`."""
    for number, line in enumerate(text_lines(read_text(path, most)), start=1):
        if line.strip():
            where = f"{path} line {number}"
            yield where, parse_json(line, where)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"it names {next(name for name in names if names.count(name) > 1)!r} twice")
    return found


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refuse_constant)
_SPACE = re.compile(r"[ \t\n\r]*")


class Fields:
    """A JSON object that is read field by field, each of the type that it must have.

    `where` begins every message, such as `report.json: machine`; `advice` ends it, such as `export the bundle again`.
    """

    def __init__(self, content: object, where: str, advice: str) -> None:
        self.where, self.advice = where, advice
        if not isinstance(content, dict):
            raise XaiError(f"{where} is {json_kind(content)}, not an object: {advice}")
        self.content: dict[str, Any] = content

    def refuse(self, name: str, problem: str) -> XaiError:
        """The error that a field's `problem` is told by."""
        return XaiError(f"{self.where}: {name!r} {problem}: {self.advice}")

    def get(self, name: str, *kinds: type[T]) -> T:
        """The field, of exactly one of these types: a boolean is no number. Raises `XaiError` where it is missing or of another."""
        if name not in self.content:
            raise self.refuse(name, "is missing")
        value = self.content[name]
        if type(value) not in kinds:
            raise self.refuse(name, f"is {json_kind(value)}, not {' or '.join(KINDS[kind] for kind in kinds)}")
        return value

    def number(self, name: str, low: float = -sys.float_info.max, high: float = sys.float_info.max) -> float:
        """The field, a number within [`low`, `high`]. Raises `XaiError` as `get`, and outside."""
        value: float = self.get(name, int, float)
        if not low <= value <= high:
            raise self.refuse(name, f"is {str(value)[:20]}, not within {low:g} and {high:g}")
        return value

    def integer(self, name: str, low: int = 0, high: int = 2**53) -> int:
        """The field, an integer within [`low`, `high`]. Raises `XaiError` as `get`, and outside."""
        value = self.get(name, int)
        if not low <= value <= high:
            raise self.refuse(name, f"is out of range, not within {low} and {high}")
        return value

    def among(self, name: str, allowed: tuple[str | None, ...]) -> str | None:
        """The field, one of these. Raises `XaiError` where it is missing or another."""
        value = self.get(name, str, type(None))
        if value not in allowed:
            raise self.refuse(name, f"is {value!r}, none of {', '.join(map(str, allowed))}")
        return value

    def inner(self, name: str) -> Fields:
        """The field, an object, to be read the same way. Raises `XaiError` where it is missing or no object."""
        return Fields(self.get(name, dict), f"{self.where}: {name!r}", self.advice)

    def items(self, name: str, *kinds: type[T]) -> list[T]:
        """The field, a list of these types only. Raises `XaiError` as `get`."""
        values: list[Any] = self.get(name, list)
        for value in values:
            if type(value) not in kinds:
                raise self.refuse(name, f"holds {json_kind(value)}, not only {' or '.join(KINDS[kind] for kind in kinds)}")
        return values

    def only(self, *names: str) -> None:
        """Raises `XaiError` where the object has another field than these."""
        if others := sorted(self.content.keys() - set(names)):
            raise self.refuse(others[0], "is not a field that belongs here")


KINDS: dict[type, str] = {
    dict: "an object",
    list: "a list",
    str: "text",
    int: "an integer",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}
"""What JSON's types are called in a message."""


def json_kind(value: object) -> str:
    """What a value read from JSON is, in words."""
    return KINDS[type(value)]
