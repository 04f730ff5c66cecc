"""One process at a time in a folder: a lock that ends with the process that holds it, and says who it is.

The one file that `xai explain --pairs` writes locks itself (`commands/explain/json_lines.py`).
"""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from xai.base.errors import XaiError
from xai.base.wording import one_line

_LONGEST = 500
"""Bytes of a lock file that are shown."""

_PAUSE = 0.1
"""Seconds between two looks at a lock that is waited for."""


@contextmanager
def locked(path: Path, what: str, wait: bool = False) -> Iterator[None]:
    """Hold the lock that is the file `path` while the block runs; it is removed at the end. `wait` for whoever holds it.

    The kernel keeps the lock (`flock`) for the open file, not the file's content: a file that a killed process left holds nobody up.
    Raises `XaiError`, which begins with `what` and says who holds it, where another process does and is not waited for, and where
    the file system cannot lock.
    """
    descriptor = _acquire(path, what, wait)
    try:
        _sign(descriptor, path, what)
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is still held: nobody else can be inside
        os.close(descriptor)


def holder(path: Path) -> str | None:
    """Say who holds the lock that is the file `path`; None where nobody does. Raises `XaiError` where that cannot be found out."""
    try:
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _read_holder(file.fileno())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise XaiError(f"{path} cannot be read: {error.strerror}") from error
    return None


def _read_holder(descriptor: int) -> str:
    return one_line(os.pread(descriptor, _LONGEST, 0).decode(errors="replace")) or "another process"


def _acquire(path: Path, what: str, wait: bool) -> int:
    while True:
        descriptor = None
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_open_as(descriptor, path):
                return descriptor
            os.close(descriptor)  # its holder removed it between the two calls: there is another file now, or none
        except BlockingIOError as error:
            assert descriptor is not None
            who = _read_holder(descriptor)
            os.close(descriptor)
            if wait:
                time.sleep(_PAUSE)
                continue
            raise XaiError(f"{what} is in use by {who}: wait for its end") from error
        except OSError as error:
            if descriptor is not None:
                os.close(descriptor)
            raise XaiError(f"{what} cannot be locked: {error.strerror} ({path})") from error


def _sign(descriptor: int, path: Path, what: str) -> None:
    who = f"process {os.getpid()} on {socket.gethostname()} since {datetime.now():%Y-%m-%d %H:%M:%S}\n"
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, who.encode())
    except OSError as error:
        raise XaiError(f"{what} cannot be locked: {error.strerror} ({path})") from error


def _is_open_as(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
