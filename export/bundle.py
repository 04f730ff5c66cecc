"""From a model to a bundle on disk: whole and proven, or not at all."""

from __future__ import annotations

import copy
import importlib.metadata
import json
import platform
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from torch import nn

from xai.base.errors import XaiError
from xai.base.files import hash_file
from xai.export.graphs import describe_graphs
from xai.export.onnx import OPSET, export_graphs, write_graphs
from xai.export.quantise import quantise
from xai.export.torchscript import write_torchscript
from xai.meter.vision import VisionAttention
from xai.models.contract import Family
from xai.models.eager import EagerSession
from xai.models.meter import MeterFamily
from xai.runtime.answers import Answers
from xai.runtime.bundle.manifest import ANSWERS, FORMATS, MANIFEST, PARITY, PRECISIONS, TOKENIZER, Bundle, FileRecord, Manifest
from xai.runtime.bundle.reader import is_bundle, read_bundle
from xai.runtime.parity import MIN_COSINE, TOLERANCES, Measure, check, failures, make_trial, observe, save_trial
from xai.runtime.sessions.choose import open_session

WRITERS = ("xai-vqa", "torch", "onnx", "onnxscript", "onnxruntime")
"""Packages whose versions the manifest notes."""

FORMATS_OF = {"float32": FORMATS, "float16": ("onnx",), "bfloat16": ("torchscript",), "int8": ("onnx",)}
"""Where each precision runs: ONNX Runtime has no bfloat16 products on a CPU, PyTorch no fast float16 ones."""

Parity = Mapping[str, Mapping[str, Measure]]
"""Measures by format and group."""


class ParityError(XaiError):
    """The exported graphs do not give what the model gives; `parity` shows by how much."""

    def __init__(self, message: str, parity: Parity) -> None:
        super().__init__(message)
        self.parity = parity


@dataclass(frozen=True)
class Exported:
    """A bundle that was written, its parity, and the seconds that each step took."""

    bundle: Bundle
    parity: Parity
    seconds: Mapping[str, float]


def export_bundle(
    family: Family,
    tokenizer: Tokenizer,
    answers: Answers,
    folder: Path,
    *,
    formats: Sequence[str] = ("onnx",),
    precision: str = "float32",
    with_maps: bool = False,
    overwrite: bool = False,
    force: bool = False,
    progress: Callable[[str], object] = str,
) -> Exported:
    """Write a bundle and prove it: questions run through the eager float32 model and through every exported graph.

    `formats` are of `runtime.manifest.FORMATS`; `with_maps` adds the graph of whole maps; `force` keeps graphs of less than
    float32 whose relevances are not close enough to float32's. `progress` is told each step.

    Raises `XaiError` where the folder exists (unless `overwrite`) or cannot be written, and `ParityError` where the graphs do
    not give what they should. Nothing is left behind then, and a bundle that was to be overwritten stays as it was.
    """
    _check_request(family, formats, precision)
    seconds: dict[str, float] = {}

    @contextmanager
    def step(name: str) -> Iterator[None]:
        progress(name)
        start = time.perf_counter()
        yield
        seconds[name] = time.perf_counter() - start

    with new_folder(folder, overwrite) as draft:
        specs = describe_graphs(family.description, with_maps)
        tokenizer.save(str(draft / TOKENIZER))
        (draft / ANSWERS).write_text(json.dumps(answers.names, ensure_ascii=False), encoding="utf-8")
        lowered = lower(family, precision)
        if "onnx" in formats:
            with step("export ONNX"):
                graphs = export_graphs(lowered, with_maps)
            with step("write ONNX"), tempfile.TemporaryDirectory(prefix="scratch.", dir=draft) as scratch:
                write_graphs(quantise(graphs, Path(scratch)) if precision == "int8" else graphs, draft)
            del graphs
        if "torchscript" in formats:
            with step("trace TorchScript"):
                write_torchscript(lowered, specs, draft)
        del lowered

        trial = make_trial(family.description)
        with step("run the model itself"):
            expected = observe(EagerSession(family), trial, with_maps)
        save_trial(draft / PARITY, trial, expected)
        manifest = Manifest(
            model=family.description,
            precision=precision,
            formats=tuple(name for name in FORMATS if name in formats),
            opset=OPSET if "onnx" in formats else None,
            graphs=specs,
            files={path.name: FileRecord(hash_file(path), path.stat().st_size) for path in sorted(draft.iterdir())},
            parity={},
            written_by=_versions(),
        )
        parity = {}
        for name in manifest.formats:
            with step(f"run {name}"):
                parity[name] = check(open_session(Bundle(draft, manifest), name, trust=True), trial, expected, with_maps)
        certificate = _certify(parity, precision, force)
        (draft / MANIFEST).write_text(replace(manifest, parity=certificate).to_json(), encoding="utf-8")
    return Exported(read_bundle(folder), parity, seconds)


def lower(family: Family, precision: str) -> Family:
    """The network in the type that its graphs compute in; of bfloat16, products only, and not those of the answer's one token."""
    if precision == "float16":
        return copy.deepcopy(family).half()
    if precision == "bfloat16":
        lowered = copy.deepcopy(family)
        assert isinstance(lowered, MeterFamily)
        model = lowered.model
        for part in (
            model.vit_model,
            model.text_transformer,
            model.cross_modal_text_transform,
            model.cross_modal_image_transform,
            model.cross_modal_text_layers,
            model.cross_modal_image_layers,
        ):
            for module in part.modules():
                if isinstance(module, nn.Linear | nn.Conv2d | VisionAttention):
                    module.bfloat16()
        return lowered
    return family


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


def _check_request(family: Family, formats: Sequence[str], precision: str) -> None:
    if not formats or (unknown := [name for name in formats if name not in FORMATS]):
        raise XaiError(f"no bundle has the format {unknown[0] if formats else ''!r}: choose from {', '.join(FORMATS)}")
    if precision not in PRECISIONS:
        raise XaiError(f"no bundle has the precision {precision!r}: choose from {', '.join(PRECISIONS)}")
    if precision == "bfloat16" and not isinstance(family, MeterFamily):
        raise XaiError(f"precision bfloat16 exists for METER only, not for {family.description.family}")
    if wrong := [name for name in formats if name not in FORMATS_OF[precision]]:
        raise XaiError(f"precision {precision} does not exist for {wrong[0]}, only for {', '.join(FORMATS_OF[precision])}")


def _certify(parity: Parity, precision: str, force: bool) -> dict[str, Any]:
    """What the manifest says about parity. Raises `ParityError` where it is not good enough."""
    failed = {name: failures(measures, precision) for name, measures in parity.items()}
    for name, groups in failed.items():
        measures = parity[name]
        if groups and precision == "float32":
            worst = ", ".join(f"{group} by {measures[group].error:.1e}" for group in groups)
            raise ParityError(f"the exported {name} graphs differ from the model: {worst} (allowed: {TOLERANCES})", parity)
        if groups and not force:
            worst = ", ".join(f"{group} {measures[group].cosine:.4f}" for group in groups)
            raise ParityError(f"{precision} is not close enough to float32, cosine under {MIN_COSINE}: {worst}; --force keeps it", parity)
    return {
        "reference": "eager float32",
        "tolerances": TOLERANCES,
        "min_cosine": MIN_COSINE,
        "forced": sorted({group for groups in failed.values() for group in groups}),
        "formats": {name: {group: measure._asdict() for group, measure in measures.items()} for name, measures in parity.items()},
    }


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for name in WRITERS:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found
