"""A model's files on their way to another machine, where they lie under the hash of what they are."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from xai.base.errors import XaiError
from xai.base.files import cache_folder
from xai.base.lock import locked
from xai.models.load import ModelOptions

Files = Mapping[str, bytes]
"""Content by path within the parcel."""


class Label(NamedTuple):
    """What a parcel is, without its content: hash, and the model's options with paths from the parcel's folder on."""

    sha256: str
    model: ModelOptions
    options: tuple[str, ...]
    """Which options are such paths; none of a model that ships with the package."""


def pack(model: ModelOptions) -> tuple[Label, Files]:
    """Read the files that a model is loaded from, its tokenizer and answers too. Raises `XaiError` where one cannot be read."""
    found = model.find()
    named = {"model": found.path, "tokenizer": model.tokenizer, "answers": model.answers}
    if found.pulled is not None:
        named["tokenizer"] = model.tokenizer or found.pulled.tokenizer
        named["answers"] = model.answers or found.pulled.answers
    paths = {option: Path(value) for option, value in named.items() if value is not None and Path(value).exists()}
    files: dict[str, bytes] = {}
    for option, path in paths.items():
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                inner = Path(option, path.name, file.relative_to(path))
                files[inner.as_posix()] = _read(file)
    digest = sha256()
    for name, content in files.items():
        digest.update(f"{name} {sha256(content).hexdigest()}\n".encode(errors="surrogateescape"))
    inside = {option: Path(option, path.name) for option, path in paths.items()}
    return Label(digest.hexdigest(), _with_paths(model, inside), tuple(paths)), files


def _with_paths(model: ModelOptions, paths: Mapping[str, Path]) -> ModelOptions:
    """The options with these in place of their own paths, by option."""
    tokenizer = str(paths["tokenizer"]) if "tokenizer" in paths else model.tokenizer
    return replace(model, model=str(paths.get("model", model.model)), tokenizer=tokenizer, answers=paths.get("answers", model.answers))


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise XaiError(f"{file} cannot be read: {error.strerror}") from error


def unpack(label: Label, fetch: Callable[[], Files]) -> ModelOptions:
    """Put a parcel's files into this machine's cache, unless they are there; returns the options that open the model from there.

    `fetch` gives the content; it is called where that is needed. Raises `XaiError` where the files cannot be kept.
    """
    if not label.options:
        return label.model
    cache = cache_folder() / "parcels"
    target, draft = cache / label.sha256, cache / f"{label.sha256}.part"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with locked(cache / f"{label.sha256}.lock", str(target), wait=True):
            if not target.is_dir():
                shutil.rmtree(draft, ignore_errors=True)  # of one that was killed
                for name, content in fetch().items():
                    (draft / name).parent.mkdir(parents=True, exist_ok=True)
                    (draft / name).write_bytes(content)
                draft.rename(target)
    except OSError as error:
        raise XaiError(f"the model cannot be kept in {cache}: {error.strerror}; let XDG_CACHE_HOME name another folder there") from error
    return _with_paths(label.model, {option: target / getattr(label.model, option) for option in label.options})
