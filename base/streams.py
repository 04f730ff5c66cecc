"""Standard streams as they may be: closed, full, broken, or in an encoding that lacks half of what is to be said."""

from __future__ import annotations

import io
import os
import sys
from typing import Any

from xai.base.errors import BadInput


class OutputError(Exception):
    """Standard output cannot be written to. `errno` says why; no XaiError, so that nobody goes on as after a bad input."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"cannot write to standard output: {error.strerror}")
        self.errno = error.errno


class _Output(io.FileIO):
    """Standard output without a buffer."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            raise OutputError(error) from error


class _Messages(io.FileIO):
    """Standard error without a buffer: what nobody can be told is dropped, and the exit code says it still."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def guard_streams() -> None:
    """Make this process's standard streams safe to use, whatever it was started with.

    A failed write to standard output raises `OutputError`. What an encoding lacks is written as an escape. A stream that
    was closed becomes one that fails, so that no file that is opened later gets its number. Streams that somebody has replaced
    are left alone.
    """
    if sys.stdout is not sys.__stdout__ or sys.stderr is not sys.__stderr__:
        return
    for number, mode in enumerate((os.O_WRONLY, os.O_RDONLY, os.O_WRONLY)):  # closed input and output: each opened the wrong way
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)  # takes the lowest number that is free
    sys.stdout = _text(_Output(1, "w", closefd=False), sys.stdout)
    sys.stderr = _text(_Messages(2, "w", closefd=False), sys.stderr)


def _text(raw: io.FileIO, former: Any) -> io.TextIOWrapper:
    encoding = "utf-8" if former is None else former.encoding
    lines = raw.isatty() or raw.fileno() == 2
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, "backslashreplace", line_buffering=lines)


def drop_output() -> None:
    """Let go of what is still waiting to be written to a standard output that cannot be written to."""
    sys.stdout = io.TextIOWrapper(io.BytesIO(), "utf-8")


def read_input() -> bytes:
    """All of standard input. Raises `BadInput` where it is closed or cannot be read."""
    if sys.stdin is None:
        raise BadInput("standard input is closed: name a file, or send the content by a pipe")
    try:
        return sys.stdin.buffer.read()
    except OSError as error:
        raise BadInput(f"standard input cannot be read: {error.strerror}") from error
