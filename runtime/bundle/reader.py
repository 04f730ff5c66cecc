"""The reader of bundles, which trusts nothing in a bundle that it has not checked."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from xai.base.description import HEADS_FROM, Heads
from xai.base.errors import XaiError
from xai.base.files import hash_file
from xai.base.reading import MEGABYTE, Fields, read_json
from xai.runtime.bundle.manifest import (
    FILES,
    FORMAT,
    FORMATS,
    FORMATS_OF,
    GRAPHS,
    HASH,
    MANIFEST,
    VERSION,
    WEIGHTS,
    Bundle,
    FileRecord,
    GraphSpec,
    Manifest,
    TensorSpec,
    hash_content,
)
from xai.runtime.bundle.signatures import check_manifest_graphs
from xai.runtime.description import TEXT, Description

MOST = 16 * MEGABYTE
"""Bytes of a manifest; METER's takes 100 kB."""

LARGEST = 2**31
"""Of any length or count in a manifest."""

ADVICE = "export the bundle again"


def is_bundle(path: Path) -> bool:
    """Whether a path looks like a bundle rather than a checkpoint; nothing in it is checked."""
    return (path / MANIFEST).is_file()


def read_bundle(folder: Path, packaged: bool = False, weights_later: bool = False) -> Bundle:
    """Check every file of a bundle against its manifest.

    `packaged` is for a bundle that a package installed: package managers may install by hard links. With `weights_later`
    the file of ONNX weights, which nobody parses, is hashed by a thread while other work is done: `Bundle.settle` waits for it.

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
        if not (weights_later and name == WEIGHTS):
            _check_content(present[name], record)
    if not (weights_later and WEIGHTS in manifest.files):
        return Bundle(folder, manifest)
    thread = ThreadPoolExecutor(1)
    check = thread.submit(_check_content, present[WEIGHTS], manifest.files[WEIGHTS])
    thread.shutdown(wait=False)
    return Bundle(folder, manifest, check.result)


def _check_content(file: Path, record: FileRecord) -> None:
    if hash_file(file) != record.sha256:
        raise XaiError(f"{file} is not the file that its manifest describes: copy or export the bundle again")


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
    fields = Fields(read_json(path, MOST), str(path), ADVICE)
    if fields.get("format", str) != FORMAT:
        raise XaiError(f"{path} is not the manifest of a bundle")
    if (version := fields.get("version", int)) != VERSION:
        advice = "install a newer xai" if version > VERSION else "export it again"
        raise XaiError(f"{path} has format version {str(version)[:20]}, this xai reads version {VERSION}: {advice}")
    if fields.get(HASH, str) != hash_content(fields.content):
        raise XaiError(f"{path} was altered after it was written, says its {HASH}: copy or export the bundle again")
    return _manifest(fields)


def _manifest(fields: Fields) -> Manifest:
    fields.only("format", "version", "model", "heads", "precision", "formats", "opset", "graphs", "files", "parity", "written_by", HASH)
    for kind, allowed in (("files", FILES), ("graphs", GRAPHS)):
        if unknown := [name for name in fields.get(kind, dict) if name not in allowed]:
            raise XaiError(f"{fields.where} names the {kind[:-1]} {unknown[0]!r}, which no bundle may have: do not use it")
    model, heads = _model(fields.inner("model")), fields.inner("heads")
    graphs = {name: _graph(one) for name, one in _each(fields.inner("graphs"))}
    cross_modal, said_by = heads.integer("cross_modal", 1, LARGEST), heads.among("said_by", HEADS_FROM)
    if cross_modal != model.sites[-1].heads:
        raise heads.refuse("cross_modal", f"is {cross_modal}, not {model.sites[-1].heads} as the model's last attention has")
    check_manifest_graphs(model, graphs, fields.where)
    precision = str(fields.among("precision", tuple(FORMATS_OF)))
    return Manifest(
        model=model,
        heads=Heads(cross_modal, str(said_by)),
        precision=precision,
        formats=_formats(fields, FORMATS_OF[precision]),
        opset=None if fields.get("opset", int, type(None)) is None else fields.integer("opset", 1, LARGEST),
        graphs=graphs,
        files={name: FileRecord(one.get("sha256", str), one.integer("bytes")) for name, one in _each(fields.inner("files"))},
        parity=_parity(fields.inner("parity")),
        written_by={name: fields.inner("written_by").get(name, str) for name in fields.get("written_by", dict)},
    )


def _each(fields: Fields) -> list[tuple[str, Fields]]:
    return [(name, fields.inner(name)) for name in fields.content]


def _formats(fields: Fields, allowed: tuple[str, ...]) -> tuple[str, ...]:
    names = fields.items("formats", str)
    if not names or len(set(names)) < len(names) or (set(names) - set(allowed)):
        raise fields.refuse("formats", f"is {names}, not some of {', '.join(allowed)}, as the precision allows")
    return tuple(name for name in FORMATS if name in names)


def _model(fields: Fields) -> Description:
    try:
        model = Description.from_json(fields.content, fields.where)
    except XaiError as error:
        raise XaiError(f"{error}: {ADVICE}") from error
    sizes = {name: value for name, value in vars(model).items() if isinstance(value, int)}
    if wrong := [name for name, value in sizes.items() if value > LARGEST]:
        raise fields.refuse(wrong[0], "is out of range")
    depended_on = model.depended_on()
    if wrong := [site.name for site in model.sites if site.reached != (site.name in depended_on)]:
        raise fields.refuse("sites", f"is wrong about whether the answer depends on {wrong[0]}")
    if model.special[TEXT] != (1, 1):
        raise fields.refuse("special", "is not one token at either end of a text")
    return model


def _graph(fields: Fields) -> GraphSpec:
    fields.only("inputs", "outputs")
    return GraphSpec(_tensors(fields.inner("inputs")), _tensors(fields.inner("outputs")))


def _tensors(fields: Fields) -> dict[str, TensorSpec]:
    found = {}
    for name, tensor in _each(fields):
        tensor.only("dtype", "axes")
        axes: list[int | str] = tensor.items("axes", int, str)
        if any(isinstance(axis, int) and not 1 <= axis <= LARGEST for axis in axes):
            raise tensor.refuse("axes", "holds a length out of range")
        found[name] = TensorSpec(tensor.get("dtype", str), tuple(axes))
    return found


def _parity(fields: Fields) -> dict[str, Any]:
    """The certificate, if there is one: its measures are numbers, as whoever shows them expects."""
    if not fields.content:
        return {}
    fields.items("forced", str)
    for _, groups in _each(fields.inner("formats")):
        for _, measure in _each(groups):
            measure.number("error", 0)
            measure.number("cosine")
    return fields.content
