"""Where pulled models lie, and the records that say of each file what it was when it came.

A file behind a URL lies in the user's cache (`$XDG_CACHE_HOME/xai`), in a folder of its own; a repository of the hub in the cache of
huggingface_hub, and here only its record. A record is written last: what has none was not pulled whole.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from xai.base.errors import BadInput, XaiError
from xai.base.files import cache_folder, json_bytes, write
from xai.base.reading import read_json
from xai.pull.catalogue import Entry, Source, Web

RECORD = "record.json"
SORTED = "sorted.json"
"""Beside a list of answers: its names in order."""

OFFLINE = ("XAI_OFFLINE", "HF_HUB_OFFLINE")
"""Either variable forbids the network."""


@dataclass(frozen=True)
class Kept:
    """A file as it came: its size, its SHA-256, and whether that was compared with a published one (else it is a record only)."""

    bytes: int
    sha256: str
    published: bool


@dataclass(frozen=True)
class Record:
    """What was pulled from one source: the folder, its files by name, and of a repository the commit."""

    source: str
    folder: Path
    files: dict[str, Kept]
    commit: str | None = None

    @property
    def bytes(self) -> int:
        return sum(kept.bytes for kept in self.files.values())


def offline() -> str | None:
    """The variable that forbids the network, None where none does."""
    return next((name for name in OFFLINE if os.environ.get(name, "").lower() in ("1", "true", "yes", "on")), None)


def offline_error(wanted: str) -> XaiError:
    """What is said where the network is forbidden and something is wanted of it."""
    return XaiError(f"{offline()} is set, and {wanted} is not here: unset it, or copy the file from a machine that has it")


def require_network(wanted: str) -> None:
    """Raises `XaiError`, which names what is wanted, where the network is forbidden."""
    if offline():
        raise offline_error(wanted)


def record_path(source: Source) -> Path:
    """The record of a source; a file behind a URL lies beside it."""
    if isinstance(source, Web):
        return cache_folder() / "files" / hashlib.sha256(source.url.encode()).hexdigest()[:16] / RECORD
    parts = [source.repo, source.revision, *(source.files or ())]
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    return cache_folder() / "hub" / f"{source.repo.replace('/', '--')}-{key}.json"


def read_record(source: Source) -> Record | None:
    """What was pulled from a source, None where nothing was, or its record cannot be read: pulling writes it anew."""
    return _read(record_path(source))


def write_record(source: Source, record: Record) -> None:
    """Keep a record. Raises `XaiError` where it cannot be written."""
    write({record_path(source): json_bytes(asdict(record) | {"folder": str(record.folder)}, indent=1)})


def other_records(sources: Iterable[Source]) -> Iterator[Record]:
    """The records of what was pulled but is none of these sources, in order of its file's name."""
    known = set(map(record_path, sources))
    for path in sorted([*cache_folder().glob(f"files/*/{RECORD}"), *cache_folder().glob("hub/*.json")]):
        if path not in known and (record := _read(path)) is not None:
            yield record


def _read(path: Path) -> Record | None:
    try:
        content: dict[str, Any] = read_json(path)
        files = {str(name): Kept(**kept) for name, kept in content["files"].items()}
        return Record(content["source"], Path(content["folder"]), files, content["commit"])
    except (XaiError, KeyError, TypeError, AttributeError):
        return None


def check_sizes(record: Record) -> str | None:
    """What is wrong with the files of a record by their sizes, None where nothing is. Their content is compared by `xai pull` only."""
    for name, kept in record.files.items():
        try:
            size = (record.folder / name).stat().st_size
        except OSError:
            return f"{record.folder / name} is gone"
        if size != kept.bytes:
            return f"{record.folder / name} has {size} bytes, and had {kept.bytes} when it was pulled"
    return None


@dataclass(frozen=True)
class Located:
    """Where a pulled model lies: the file or folder to load, and what came along (None where the model itself brings it)."""

    model: Path
    tokenizer: Path | None
    answers: Path | None


def locate(entry: Entry) -> Located:
    """Where the files of a model lie. Raises `BadInput`, with the command that fetches them, where one is not here or was changed."""
    places: dict[Source, Path] = {}
    for source in entry.sources:
        record = read_record(source)
        if record is None:
            raise BadInput(f"model {entry.name} is not on this machine yet: xai pull {entry.name}")
        if wrong := check_sizes(record):
            raise BadInput(f"model {entry.name} cannot be used: {wrong}: xai pull {entry.name}")
        places[source] = record.folder / next(iter(record.files)) if isinstance(source, Web) or source.files else record.folder
    answers = places[entry.answers] if entry.answers else None
    if answers is not None and entry.sorted_answers:
        answers = answers.with_name(SORTED)
        if not answers.is_file():
            raise BadInput(f"model {entry.name} cannot be used: {answers} is gone: xai pull {entry.name}")
    return Located(places[entry.model], places[entry.tokenizer] if entry.tokenizer else None, answers)


def sort_answers(path: Path) -> None:
    """Write, beside an object id -> answer, its names in order; an id that it lacks is the empty name. Raises `XaiError` where the file
    is no such object."""
    content = read_json(path)
    try:
        by_id = {int(key): str(name) for key, name in content.items()}
    except (AttributeError, ValueError) as error:
        raise XaiError(f"{path} is not an object from ids to answers: {json.dumps(content)[:40]}") from error
    write({path.with_name(SORTED): json_bytes(sorted(by_id.get(i, "") for i in range(max(by_id, default=-1) + 1)))})
