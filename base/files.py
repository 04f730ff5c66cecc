"""Files: written whole or not at all, hashed, and JSON in bytes."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from xai.base.errors import BadInput, XaiError

STANDARD_OUTPUT = 1
"""The number of its descriptor."""


def descriptor(path: Path) -> int | None:
    """The number of the open file that a path stands for, such as 1 for /dev/stdout and 63 for /dev/fd/63; None for any other path."""
    own = os.path.realpath("/proc/self/fd")
    for _ in range(8):  # links to links
        if path.name.isdecimal() and len(path.name) < 10 and os.path.realpath(path.parent) == own:
            return int(path.name)
        if not os.path.islink(path):  # noqa: PTH114 - Path.is_symlink fails on a name that is too long
            return None
        path = path.parent / path.readlink()
    return None


def is_standard_output(name: str | Path) -> bool:
    """Whether `-`, /dev/stdout or another name of standard output is given."""
    return str(name) == "-" or descriptor(Path(name)) == STANDARD_OUTPUT


def is_stream(path: Path) -> bool:
    """Whether a path stands for an open file, a pipe or a device: written to as it is, not replaced."""
    return descriptor(path) is not None or (path.exists() and not path.is_file() and not path.is_dir())


def _check_name(path: Path) -> None:
    if "\0" in str(path):
        raise BadInput(f"cannot save {path}: its name holds a NUL character")


def check_folder(path: Path) -> None:
    """Raises `XaiError` where the folder that `path` names does not exist, may not be written to, or `path` is one itself."""
    _check_name(path)
    try:
        if is_stream(path):
            if descriptor(path) is None and not os.access(path, os.W_OK):
                raise XaiError(f"cannot save {path}: it may not be written to")
            return
        if not path.parent.is_dir():
            raise XaiError(f"cannot save {path}: folder {path.parent} does not exist")
        if path.is_dir():
            raise XaiError(f"cannot save {path}: it is a folder")
    except OSError as error:
        raise XaiError(f"cannot save {path}: {error.strerror}") from error
    if not os.access(path.parent, os.W_OK):
        raise XaiError(f"cannot save {path}: folder {path.parent} may not be written to")


def write(contents: Mapping[Path, bytes]) -> None:
    """Write files, all or none: each beside its place first, then renamed, so that nobody sees half a file.

    A link's target is replaced, not the link; what is no regular file (a pipe, /dev/stdout) is written to. Raises `XaiError`
    where that fails.
    """
    waiting: dict[Path, Path] = {}
    for path in contents:
        _check_name(path)
    try:
        for path, content in contents.items():
            if is_stream(path):
                _write_stream(path, content)
                continue
            target = Path(os.path.realpath(path))
            waiting[target] = target.with_name(f".xai-{secrets.token_hex(8)}")  # short: a name may be as long as it can be
            waiting[target].write_bytes(content)
            if target.exists():
                shutil.copymode(target, waiting[target])
        for target, temporary in waiting.items():
            temporary.replace(target)
    except OSError as error:
        raise XaiError(f"cannot save {path}: {error.strerror or error}") from error
    finally:
        for temporary in waiting.values():
            temporary.unlink(missing_ok=True)


def _write_stream(path: Path, content: bytes) -> None:
    number = descriptor(path)
    if number is None:
        path.write_bytes(content)
        return
    if sys.stdout is not None:
        sys.stdout.flush()  # what was printed before comes before
    while content:
        content = content[os.write(number, content) :]


def json_bytes(content: object, indent: int | None = None) -> bytes:
    """JSON in UTF-8, with a line's end. A file name that is not UTF-8 holds lone surrogates; as escapes they are valid JSON."""
    return (json.dumps(content, indent=indent, ensure_ascii=False) + "\n").encode(errors="backslashreplace")


def hash_file(path: Path) -> str:
    """SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cache_folder() -> Path:
    """The user's cache of xai."""
    import platformdirs

    return platformdirs.user_cache_path("xai")
