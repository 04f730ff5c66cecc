"""What is known of published models: the catalogue, and how a model is named that is not in it. Data only; nothing is opened but
`pull/catalogue.json`.
"""

from __future__ import annotations

import difflib
import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from xai.base.errors import BadInput

CATALOGUE = Path(__file__).with_name("catalogue.json")
HUB = "hf://"
MAIN = "main"
"""The branch that is meant where no revision is named."""

_REPOSITORY = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*", re.ASCII)
_REVISION = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)*", re.ASCII)


@dataclass(frozen=True)
class Web:
    """A file behind a URL. `bytes` and `sha256` are what its publisher states, None where nothing is published."""

    url: str
    bytes: int | None = None
    sha256: str | None = None

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        """What the file is called: the last part of the URL's path."""
        return PurePosixPath(unquote(urlsplit(self.url).path)).name


@dataclass(frozen=True)
class Repository:
    """Files of a repository of the Hugging Face hub; `files` is None for a model as transformers saves it."""

    repo: str
    revision: str = MAIN
    files: tuple[str, ...] | None = None

    def __str__(self) -> str:
        return f"{HUB}{self.repo}" + ("" if self.revision == MAIN else f"@{self.revision}")


Source = Web | Repository


@dataclass(frozen=True)
class Entry:
    """A model with what belongs to it. `family`, `head`, `licence` and `size` are words for people, `size` None where none is published;
    `resolution` is in pixels, None where a model takes no picture.

    `tokenizer` and `answers` are None where the model's own files, or its head, say them. `sorted_answers`: the model's ids are those
    of the list in order, each name once, the empty one too.
    """

    name: str
    model: Source
    tokenizer: Repository | None = None
    answers: Web | None = None
    sorted_answers: bool = False
    family: str | None = None
    head: str | None = None
    resolution: int | None = None
    licence: str | None = None
    size: str | None = None

    @property
    def sources(self) -> list[Source]:
        """All that is to be there before the model can be used."""
        return [source for source in (self.model, self.tokenizer, self.answers) if source is not None]


@functools.cache
def read_catalogue(path: Path) -> dict[str, Entry]:
    """The entries of a catalogue file, by name."""
    return {name: _entry(name, fields) for name, fields in json.loads(path.read_text(encoding="utf-8")).items()}


def known() -> dict[str, Entry]:
    """The models that ship as entries of the catalogue, by name."""
    return read_catalogue(CATALOGUE)


def _entry(name: str, fields: Mapping[str, Any]) -> Entry:
    rest = {field: value for field, value in fields.items() if field not in ("model", "tokenizer", "answers")}
    tokenizer, answers = fields.get("tokenizer"), dict(fields.get("answers") or {})
    in_order = answers.pop("sorted", False)
    return Entry(
        name,
        _source(fields["model"]),
        tokenizer and Repository(tokenizer["hub"], tokenizer.get("revision", MAIN), tuple(tokenizer["files"])),
        Web(**answers) if answers else None,
        in_order,
        **rest,
    )


def _source(fields: Mapping[str, Any]) -> Source:
    return Repository(fields["hub"], fields.get("revision", MAIN)) if "hub" in fields else Web(**fields)


def is_remote(name: str) -> bool:
    """Whether a name says where a model is fetched from: hf:// or a URL."""
    return name.startswith((HUB, "http://", "https://"))


def find_entry(name: str) -> Entry | None:
    """What a name stands for: a model of the catalogue, `hf://ORG/REPO[@REVISION]` or a URL; None for any other name. Raises `BadInput`
    where a repository or a URL is not spelled as one."""
    return parse_remote(name) if is_remote(name) else known().get(name)


def parse_remote(name: str) -> Entry:
    """The entry of a model that is named by where it is fetched from. Raises `BadInput` where it is not spelled so."""
    if name.startswith(HUB):
        repo, _, revision = name.removeprefix(HUB).partition("@")
        if not _REPOSITORY.fullmatch(repo) or ("@" in name and not _REVISION.fullmatch(revision)):
            raise BadInput(f"{name} names no repository: write {HUB}ORG/REPO or {HUB}ORG/REPO@REVISION")
        return Entry(name, Repository(repo, revision or MAIN))
    web = Web(name)
    try:
        host = urlsplit(name).hostname
    except ValueError:
        host = None
    if not host or web.name in ("", ".", "..") or not web.name.isprintable() or len(web.name.encode()) > 200 or "/" in web.name:
        raise BadInput(f"{name} names no file: write the URL of a checkpoint, which ends with its name")
    return Entry(name, web)


def near(name: str) -> str:
    """A hint for a name that is none, such as `did you mean vilt-vqa2?`; empty where nothing in the catalogue is like it."""
    found = difflib.get_close_matches(name.lower(), known(), n=3, cutoff=0.6)
    return f"did you mean {' or '.join(found)}?" if found else ""
