"""JSON lines that are written one by one: to standard output, to a pipe, or to a file that a later run can go on with."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import click

from xai.base.errors import BadInput, XaiError
from xai.base.files import check_folder, is_stream, write
from xai.base.reading import parse_json


class Lines(Protocol):
    """Where lines go."""

    def done(self) -> Iterator[tuple[str, Any]]:
        """(where, value) of each line that was there before."""

    def write(self, line: bytes) -> None:
        """Add a line; it is out when this returns."""


class _Stream:
    """Standard output (None), or a pipe."""

    def __init__(self, path: Path | None) -> None:
        self.path = path

    def done(self) -> Iterator[tuple[str, Any]]:
        return iter(())

    def write(self, line: bytes) -> None:
        if self.path is None:
            click.echo(line, nl=False)
        else:
            write({self.path: line})


class _File:
    """A file. What a killed process left of a last line is cut off when the lines are read."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path, self.file, self.end = path, file, 0

    def done(self) -> Iterator[tuple[str, Any]]:
        for number, line in enumerate(self.file, start=1):
            if not line.endswith(b"\n"):
                break
            self.end += len(line)
            where = f"{self.path} line {number}"
            try:
                yield where, parse_json(line.decode(), where)
            except UnicodeDecodeError as error:
                raise XaiError(f"{where} is not text in UTF-8: name another file for --json") from error
        self.file.truncate(self.end)

    def write(self, line: bytes) -> None:
        try:
            rest = memoryview(line)
            while rest:  # past the buffer, which would keep what did not fit, and try again when it is closed
                rest = rest[os.pwrite(self.file.fileno(), rest, self.end + len(line) - len(rest)) :]
        except OSError as error:
            os.ftruncate(self.file.fileno(), self.end)  # no half of a line
            raise XaiError(f"cannot save {self.path}: {error.strerror}; the lines so far are there, --resume goes on") from error
        self.end += len(line)


@contextmanager
def open_lines(path: Path | None, resume: bool) -> Iterator[Lines]:
    """Lines of a file, of a pipe, or (None) of standard output. One process at a time writes to a file.

    A file that nothing was written to is removed. Raises `XaiError` where the file cannot be written to, is another process's, or
    holds lines that `resume` does not say are to be kept.
    """
    if path is None or is_stream(path):
        yield _Stream(path)
        return
    check_folder(path)
    if not resume and path.exists() and path.stat().st_size:
        raise BadInput(f"{path} is there already: go on with it with --resume, or name another file")
    try:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
    except OSError as error:
        raise XaiError(f"cannot save {path}: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise XaiError(f"{path} is being written by another process: wait for it, or name another file") from error
        try:
            yield _File(path, file)
        finally:
            if not os.fstat(file.fileno()).st_size:
                path.unlink(missing_ok=True)
