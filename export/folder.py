"""The place of a bundle on disk: a whole folder, or none."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xai.base.errors import XaiError
from xai.runtime.bundle.reader import is_bundle


def check_place(folder: Path, overwrite: bool) -> bool:
    """Whether a bundle is there that is to be replaced. Raises `XaiError` where none can be written."""
    parent = folder.absolute().parent
    if not parent.is_dir():
        raise XaiError(f"folder {parent} does not exist: create it, or choose another place for the bundle")
    if not (folder.exists() or folder.is_symlink()):
        return False
    if not overwrite:
        raise XaiError(f"{folder} exists: choose another name, or replace it with --overwrite")
    if folder.is_symlink() or not is_bundle(folder):
        raise XaiError(f"{folder} exists and is not a bundle: it is not overwritten, choose another name")
    return True


@contextmanager
def new_folder(folder: Path, overwrite: bool) -> Iterator[Path]:
    """A draft of a folder, beside it, that takes its place when the block ends well and disappears when it does not.

    Raises `XaiError` where the folder cannot be written, or exists; `overwrite` replaces a bundle, and nothing else.
    """
    folder = folder.absolute()
    exists = check_place(folder, overwrite)
    draft, former = (folder.with_name(f".{folder.name}.{kind}.{secrets.token_hex(4)}") for kind in ("draft", "former"))
    try:
        draft.mkdir()
        yield draft
        if exists:
            folder.rename(former)
        draft.rename(folder)
    except OSError as error:
        raise XaiError(f"bundle {folder} cannot be written: {error.strerror or error}") from error
    finally:
        if former.exists() and not folder.exists():
            former.rename(folder)
        shutil.rmtree(draft, ignore_errors=True)
        shutil.rmtree(former, ignore_errors=True)
