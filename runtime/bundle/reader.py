"""The reader of bundles, which trusts nothing in a bundle that it has not checked."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from xai.base.errors import XaiError
from xai.base.files import hash_file
from xai.runtime.bundle.manifest import (
    FILES,
    FORMAT,
    FORMATS,
    GRAPHS,
    MANIFEST,
    MAX_MANIFEST_BYTES,
    PRECISIONS,
    VERSION,
    Bundle,
    FileRecord,
    GraphSpec,
    Manifest,
    TensorSpec,
)
from xai.runtime.description import Description

T = TypeVar("T")


def is_bundle(path: Path) -> bool:
    """Whether a path looks like a bundle rather than a checkpoint; nothing in it is checked."""
    return (path / MANIFEST).is_file()


def read_bundle(folder: Path, packaged: bool = False) -> Bundle:
    """Check every file of a bundle against its manifest.

    `packaged` is for a bundle that a package installed: package managers may install by hard links.

    Raises `XaiError`, naming the file, where the manifest cannot be read or is of a newer version, where a file is missing,
    altered, not listed or not allowed, and where one is a link.
    """
    manifest = _parse(folder)
    present = {entry.name: entry for entry in folder.iterdir()}
    for name, entry in sorted(present.items()):
        _check_kind(folder, entry, packaged)
        if name != MANIFEST and name not in manifest.files:
            raise XaiError(f"bundle {folder} holds {name!r}, which its manifest does not list: remove it or export again")
    for name, record in manifest.files.items():
        if name not in present:
            raise XaiError(f"bundle {folder} lacks {name}: copy or export it again")
        size = present[name].stat().st_size
        if size != record.bytes:
            raise XaiError(f"{folder / name} has {size} bytes, its manifest says {record.bytes}: copy or export the bundle again")
        if hash_file(present[name]) != record.sha256:
            raise XaiError(f"{folder / name} is not the file that its manifest describes: copy or export the bundle again")
    return Bundle(folder, manifest)


def _check_kind(folder: Path, entry: Path, packaged: bool) -> None:
    status = entry.lstat()
    if stat.S_ISLNK(status.st_mode):
        raise XaiError(f"bundle {folder}: {entry.name!r} is a symbolic link; a bundle holds its own files only")
    if not stat.S_ISREG(status.st_mode):
        raise XaiError(f"bundle {folder}: {entry.name!r} is not a file; a bundle is a flat folder of files")
    if status.st_nlink > 1 and not packaged:
        raise XaiError(f"bundle {folder}: {entry.name!r} is a hard link to a file elsewhere; copy the bundle instead")


def _parse(folder: Path) -> Manifest:
    path = folder / MANIFEST
    if not folder.exists():
        raise XaiError(f"bundle {folder} does not exist")
    if not folder.is_dir():
        raise XaiError(f"{folder} is a file, not a bundle; a bundle is a folder with a {MANIFEST}: unpack it first")
    if not path.is_file() or path.is_symlink():
        raise XaiError(f"{folder} is not a bundle: it has no {MANIFEST} of its own")
    if path.stat().st_size > MAX_MANIFEST_BYTES:
        raise XaiError(f"{path} is larger than {MAX_MANIFEST_BYTES} bytes: it is no manifest")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError, OSError) as error:
        raise XaiError(f"{path} cannot be read: {error}") from error
    return _Fields(path, "", content).manifest()


class _Fields:
    """A JSON object that is read field by field, each of the type it must have."""

    def __init__(self, path: Path, where: str, content: object) -> None:
        self.path, self.where = path, where
        if not isinstance(content, dict):
            raise XaiError(f"{path}: {where or 'the content'} is not an object: the bundle is damaged, export it again")
        self.content: dict[str, object] = content

    def get(self, name: str, kind: type[T]) -> T:
        value = self.content.get(name)
        if type(value) is not kind:
            raise XaiError(f"{self.path}: {self.where}{name} is missing or not of type {kind.__name__}: export the bundle again")
        return value

    def inner(self, name: str) -> _Fields:
        return _Fields(self.path, f"{self.where}{name}.", self.get(name, dict))

    def each(self, read: Callable[[_Fields], T]) -> dict[str, T]:
        return {name: read(self.inner(name)) for name in self.content}

    def items(self, name: str, *kinds: type) -> tuple[Any, ...]:
        items = self.get(name, list)
        if any(type(item) not in kinds for item in items):
            raise XaiError(f"{self.path}: {self.where}{name} holds something of the wrong type: export the bundle again")
        return tuple(items)

    def among(self, names: tuple[object, ...], allowed: tuple[str, ...] | frozenset[str], what: str) -> None:
        if unknown := [name for name in names if name not in allowed]:
            raise XaiError(f"{self.path} names the {what} {unknown[0]!r}, which no bundle may have: do not use it")

    def manifest(self) -> Manifest:
        if self.get("format", str) != FORMAT:
            raise XaiError(f"{self.path} is not the manifest of a bundle")
        if (version := self.get("version", int)) != VERSION:
            advice = "install a newer xai" if version > VERSION else "export it again"
            raise XaiError(f"{self.path} has format version {version}, this xai reads version {VERSION}: {advice}")
        files = self.inner("files").each(lambda fields: FileRecord(fields.get("sha256", str), fields.get("bytes", int)))
        graphs = self.inner("graphs").each(lambda fields: GraphSpec(fields.inner("inputs").tensors(), fields.inner("outputs").tensors()))
        formats, precision = self.items("formats", str), self.get("precision", str)
        self.among(tuple(files), FILES, "file")
        self.among(tuple(graphs), GRAPHS, "graph")
        self.among(formats, FORMATS, "format")
        self.among((precision,), PRECISIONS, "precision")
        return Manifest(
            model=self.model(),
            precision=precision,
            formats=formats,
            opset=None if self.content.get("opset") is None else self.get("opset", int),
            graphs=graphs,
            files=files,
            parity=self.get("parity", dict),
            written_by={name: str(value) for name, value in self.get("written_by", dict).items()},
        )

    def model(self) -> Description:
        try:
            return Description.from_json(self.get("model", dict), f"{self.path}: model")
        except XaiError as error:
            raise XaiError(f"{error}: export the bundle again") from error

    def tensors(self) -> dict[str, TensorSpec]:
        return self.each(lambda fields: TensorSpec(fields.get("dtype", str), fields.items("axes", int, str)))
