"""From a model to a bundle on disk: whole and proven, or not at all."""

from __future__ import annotations

import importlib.metadata
import json
import math
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from xai.base.errors import BadInput, XaiError
from xai.base.files import hash_file
from xai.base.process import return_memory
from xai.export.folder import new_folder
from xai.export.modules import Graph, list_graphs
from xai.export.onnx import OPSET, export_graphs, write_graphs
from xai.export.precision import lower
from xai.export.quantise import quantise
from xai.export.torchscript import trace_graphs, write_torchscript
from xai.models.contract import Family
from xai.models.eager import EagerSession
from xai.runtime.answers import Answers
from xai.runtime.bundle.manifest import (
    ANSWERS,
    FORMATS,
    FORMATS_OF,
    MANIFEST,
    PARITY,
    PRECISIONS,
    TOKENIZER,
    Bundle,
    FileRecord,
    Manifest,
)
from xai.runtime.bundle.observe import observe
from xai.runtime.bundle.parity import MIN_COSINE, TOLERANCES, Closeness, check_session, failures, worst
from xai.runtime.bundle.reader import read_bundle
from xai.runtime.bundle.trial import DEFAULT, Observed, Trial, list_runs, make_trial, only, save_trial
from xai.runtime.sessions.open import open_session

WRITERS = ("xai-vqa", "torch", "onnx", "onnxscript", "onnxruntime")
"""Packages whose versions the manifest notes."""

Parity = Mapping[str, Mapping[str, Closeness]]
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
    lrp: bool = False,
    overwrite: bool = False,
    force: bool = False,
    progress: Callable[[str], object] = str,
) -> Exported:
    """Write a bundle and prove it: questions run through the eager float32 model and through every exported graph.

    `formats` are of `runtime.bundle.manifest.FORMATS`; `with_maps` adds the graph of whole maps, `lrp` that of layer-wise
    relevance propagation, which takes minutes; `force` keeps graphs of less than
    float32 whose relevances are not close enough to float32's. `progress` is told each step.

    Raises `XaiError` where the folder exists (unless `overwrite`) or cannot be written, and `ParityError` where the graphs do
    not give what they should. Nothing is left behind then, and a bundle that was to be overwritten stays as it was.
    """
    _check_request(formats, precision)
    if not lrp:
        family = family.without_lrp()
    elif not family.description.published.lrp:
        raise BadInput(f"{family.description.family} has no layer-wise relevance propagation to export: leave out lrp (--lrp)")
    seconds: dict[str, float] = {}

    @contextmanager
    def step(name: str) -> Iterator[None]:
        progress(name)
        start = time.perf_counter()
        yield
        seconds[name] = time.perf_counter() - start

    with new_folder(folder, overwrite) as draft:
        tokenizer.save(str(draft / TOKENIZER))
        (draft / ANSWERS).write_text(json.dumps(answers.names, ensure_ascii=False), encoding="utf-8")
        graphs = list_graphs(lower(family, precision), with_maps)
        specs = {graph.name: graph.spec for graph in graphs}
        _write_graphs(graphs, draft, formats, precision, step)
        del graphs  # and with them the network in a narrower type

        first, *_, last = tokenizer.encode("").ids  # the tokens that wrap every question
        trial = make_trial(family.description, (first, last))
        with step("run the model itself"):
            expected = observe(EagerSession(family), trial, with_maps, bundled=False)
            return_memory()
        save_trial(draft / PARITY, trial, expected)
        manifest = Manifest(
            model=family.description,
            heads=family.heads,
            precision=precision,
            formats=tuple(name for name in FORMATS if name in formats),
            opset=OPSET if "onnx" in formats else None,
            graphs=specs,
            files={path.name: FileRecord(hash_file(path), path.stat().st_size) for path in sorted(draft.iterdir())},
            parity={},
            written_by=_versions(),
        )
        parity, runs = {}, {}
        for name in manifest.formats:
            with step(f"run {name}"):
                parity[name], runs[name] = _prove(Bundle(draft, manifest), name, trial, expected)
                return_memory()
        certificate = _certify(parity, precision, force) | {"runs": runs}
        (draft / MANIFEST).write_text(replace(manifest, parity=certificate).to_json(), encoding="utf-8")
    return Exported(read_bundle(folder), parity, seconds)


def _write_graphs(
    graphs: Sequence[Graph], folder: Path, formats: Sequence[str], precision: str, step: Callable[[str], AbstractContextManager[None]]
) -> None:
    """Write the graphs in every format; `step` times what it is told of."""
    if "onnx" in formats:
        with step("export ONNX"):
            exported = export_graphs(graphs)
        with step("write ONNX"), tempfile.TemporaryDirectory(prefix="scratch.", dir=folder) as scratch:
            write_graphs(quantise(exported, Path(scratch)) if precision == "int8" else exported, folder)
        del exported  # before the next format takes its memory
    if "torchscript" in formats:
        with step("trace TorchScript"):
            write_torchscript(trace_graphs(graphs), folder)


def _prove(bundle: Bundle, form: str, trial: Trial, expected: Sequence[Observed]) -> tuple[dict[str, Closeness], list[dict[str, Any]]]:
    """Ask a trial of the graphs in one format: how close they came, and what was run.

    ONNX Runtime takes a copy of a graph's weights to multiply faster by default, and keeps what a run took. So the trial is asked without
    that, and one short question again with it, as whoever loads the bundle will ask.
    """
    parts: list[tuple[Trial, Sequence[Observed], bool]] = [(trial, expected, form == "onnx")]
    if form == "onnx":
        parts.append((only(trial, DEFAULT), [expected[DEFAULT]], False))
    measures = [check_session(open_session(bundle, form, trust=True, lean=lean), asked, wanted) for asked, wanted, lean in parts]
    runs = [run for asked, wanted, lean in parts for run in list_runs(asked, wanted, "lean" if lean else "default")]
    return worst(*measures), runs


def _check_request(formats: Sequence[str], precision: str) -> None:
    if not formats or (unknown := [name for name in formats if name not in FORMATS]):
        raise XaiError(f"no bundle has the format {unknown[0] if formats else ''!r}: choose from {', '.join(FORMATS)}")
    if precision not in PRECISIONS:
        raise XaiError(f"no bundle has the precision {precision!r}: choose from {', '.join(PRECISIONS)}")
    if wrong := [name for name in formats if name not in FORMATS_OF[precision]]:
        raise XaiError(f"precision {precision} does not exist for {wrong[0]}, only for {', '.join(FORMATS_OF[precision])}")


def _certify(parity: Parity, precision: str, force: bool) -> dict[str, Any]:
    """What the manifest says about parity. Raises `ParityError` where it is not good enough."""
    for name, measures in parity.items():
        if broken := [group for group, measure in measures.items() if not math.isfinite(measure.error)]:
            raise ParityError(f"the exported {name} graphs give what is no number, or of another shape: {', '.join(broken)}", parity)
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
