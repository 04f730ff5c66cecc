"""A bundle's table of contents: what is in `manifest.json`, and how it vouches for itself.

A bundle is a folder (docs/formats.md, Bundle): `manifest.json`, `tokenizer.json`, `answers.json`, `parity.npz`, one ONNX file per
graph with all weights in `weights.bin`, and `graphs.pt` for TorchScript. No file may be missing, altered, added, a link, or
called by a name that is not listed here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xai.base.description import Heads
from xai.base.errors import XaiError
from xai.base.records import plain
from xai.runtime.description import Description

FORMAT = "xai-bundle"
VERSION = 2
"""Raised with every change that an older reader would misread."""

HASH = "content_sha256"
"""The manifest's field that covers all others."""

MANIFEST, TOKENIZER, ANSWERS, PARITY, WEIGHTS, TORCHSCRIPT = (
    "manifest.json",
    "tokenizer.json",
    "answers.json",
    "parity.npz",
    "weights.bin",
    "graphs.pt",
)
GRAPHS = ("encode_image", "embed_text", "answer", "evidence", "evidence_all", "lrp", "maps")
"""`evidence` gives what every method needs at its default options, `evidence_all` what any could ask for but for relevance propagation,
which `lrp` gives where the model has it; `maps` is optional."""

FORMATS = ("onnx", "torchscript")
FORMATS_OF = {"float32": FORMATS, "float16": ("onnx",), "bfloat16": ("torchscript",), "int8": ("onnx",)}
"""Where each precision runs: ONNX Runtime has no bfloat16 products on a CPU, PyTorch no fast float16 ones."""

PRECISIONS = tuple(FORMATS_OF)


LARGE = 2**28
"""Bytes of weights."""


def onnx_file(graph: str) -> str:
    """The file of a graph."""
    return f"{graph}.onnx"


FILES = frozenset({TOKENIZER, ANSWERS, PARITY, WEIGHTS, TORCHSCRIPT, *map(onnx_file, GRAPHS)})
"""Every name that a manifest may list."""


@dataclass(frozen=True)
class TensorSpec:
    """One input or output: NumPy's name of its type, and its axes, a number or the name of a free length."""

    dtype: str
    axes: tuple[int | str, ...]


@dataclass(frozen=True)
class GraphSpec:
    """Inputs and outputs of a graph, in the order that the graph takes and gives them."""

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]


@dataclass(frozen=True)
class FileRecord:
    """SHA-256 in hexadecimal, and length in bytes."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class Manifest:
    """Everything that `manifest.json` says but for its own hash. `parity` is the certificate of `xai.export.bundle`, for people to read."""

    model: Description
    heads: Heads
    precision: str
    formats: tuple[str, ...]
    opset: int | None
    graphs: Mapping[str, GraphSpec]
    files: Mapping[str, FileRecord]
    parity: Mapping[str, Any]
    written_by: Mapping[str, str]

    def to_json(self) -> str:
        """The text of `manifest.json`."""
        content = {"format": FORMAT, "version": VERSION, **plain(self)}
        return json.dumps({**content, HASH: hash_content(content)}, indent=1, allow_nan=False) + "\n"


def hash_content(content: Mapping[str, Any]) -> str:
    """SHA-256 of a manifest's content but for its hash, as JSON without spaces, in its own order, which graphs depend on."""
    rest = {name: value for name, value in content.items() if name != HASH}
    return hashlib.sha256(json.dumps(rest, separators=(",", ":")).encode()).hexdigest()


def all_checked() -> None:
    """Nothing is left to check."""


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files were found to be those of its manifest, but for those that a thread is still reading."""

    folder: Path
    manifest: Manifest
    settle: Callable[[], object] = field(default=all_checked, compare=False, repr=False)
    """Waits for that thread, and raises `XaiError` where a file is another; before it no number of a graph is used."""

    @property
    def is_large(self) -> bool:
        """Whether it takes longer to copy its ONNX weights than one explanation gains by the copies."""
        return WEIGHTS in self.manifest.files and self.manifest.files[WEIGHTS].bytes >= LARGE

    def file(self, name: str) -> Path:
        """The path of a file that the manifest lists. Raises `XaiError` where the bundle has none of that name."""
        if name not in self.manifest.files:
            raise XaiError(f"bundle {self.folder} has no {name}: export it with that part")
        return self.folder / name

    def resolve(self, graph: str, outputs: Sequence[str] | None) -> str:
        """Which graph to run for the outputs asked of `graph`: the smaller `evidence` where it has them all.

        Raises `XaiError` where the bundle has no such graph, ValueError where no graph has such outputs.
        """
        candidates: tuple[str, ...] = (graph,)
        if graph == "evidence":
            candidates = ("evidence_all",) if outputs is None else ("evidence", "evidence_all")
        for name in candidates:
            if name not in self.manifest.graphs:
                raise XaiError(f"bundle {self.folder} has no graph {name!r}: export it with that graph")
            if set(outputs or ()) <= set(self.manifest.graphs[name].outputs):
                return name
        missing = sorted(set(outputs or ()) - set(self.manifest.graphs[candidates[-1]].outputs))
        raise ValueError(f"graph {graph} has no output {missing[0]}")
