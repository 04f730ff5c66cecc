"""Measure everything that can be measured on this machine, each part in a process of its own (`xai bench suite`).

A part that cannot be run is in the report as `not_run`, with the reason; one that fails does not end the others.
"""

from __future__ import annotations

import importlib.util
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from xai.base.errors import XaiError
from xai.base.versions import XAI_VERSION
from xai.bench.machine import describe_machine
from xai.bench.suite.isolated import isolated, run_command
from xai.bench.suite.parts import (
    describe_model,
    measure_eigensolver,
    measure_latency,
    measure_parity,
    measure_perturbation,
    measure_reference,
    read_certificate,
    write_pair,
)
from xai.models.load import ModelOptions
from xai.runtime.bundle.manifest import FORMATS_OF
from xai.runtime.bundle.reader import read_bundle
from xai.runtime.sessions.open import SESSIONS
from xai.spectral.arrays import gpu_state

SCHEMA_VERSION = 1

MEASURED_ON_GPU = (("onnx", "float32"), ("onnx", "float16"))
"""These sessions and precisions are measured on a GPU, too."""


@dataclass(frozen=True)
class Budget:
    """Says how much to measure: `seconds` for each row, at least a few iterations; `limit` seconds end a part that hangs."""

    seconds: float
    warmup: int
    batches: tuple[int, ...]
    starts: int
    limit: float


WHOLE_RUN = Budget(seconds=20, warmup=3, batches=(1, 4, 16), starts=5, limit=3600)
QUICK_LOOK = Budget(seconds=0.5, warmup=1, batches=(1,), starts=3, limit=600)


class Runner(NamedTuple):
    """Names a session in a precision, and the model that it runs; or why there is none."""

    session: str
    precision: str
    model: ModelOptions | None
    not_run: str = ""
    provider: str = "cpu"

    @property
    def name(self) -> str:
        return f"{self.session} {self.precision} on {self.provider}"


class Suite:
    """One run for the model of `options` in `folder`; `progress` hears of each part."""

    def __init__(self, options: ModelOptions, folder: Path, quick: bool, progress: Callable[[str], object]) -> None:
        self.options = options
        self.folder = folder
        self.quick = quick
        self.budget = QUICK_LOOK if quick else WHOLE_RUN
        self.progress = progress
        self.kind = options.find().kind
        self.demo = self.kind == "demo"

    def run(self) -> dict[str, Any]:
        """The report, ready for JSON. Raises `XaiError` where the model cannot be opened; later failures are in the report."""
        start = time.perf_counter()
        self.progress("the model")
        model = isolated(describe_model, self.options, seconds=self.budget.limit)
        with self._work_folder() as work:
            runners = self._of_bundle() if self.kind == "bundle" else self._export(work)
            latency = [self._latency(runner) for runner in (*runners, *_on_gpu(runners))]
            reference = self._reference()
            for row in latency:
                if "not_run" not in row and "not_run" not in reference:
                    row["times_reference"] = reference["total"]["p50"] / row["model_ms_one"]
            return {
                "schema_version": SCHEMA_VERSION,
                "kind": "suite",
                "xai": XAI_VERSION,
                "date": datetime.now(UTC).date().isoformat(),
                "quick": self.quick,
                "model": model,
                "threads": self.options.threads,
                "machine": describe_machine(),
                "parity": [self._parity(runner) for runner in runners if runner.session != "eager"],
                "reference": reference,
                "latency": latency,
                "perturbation": [self._perturbation(runner) for runner in _first_of_each(runners)],
                "eigensolver": self._eigensolver(),
                "cold_start": [self._cold_start(runner, work) for runner in _first_of_each(runners)],
                "seconds": time.perf_counter() - start,
            }

    @contextmanager
    def _work_folder(self) -> Iterator[Path]:
        """Where bundles are written; it does not outlast the run."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix="work.", dir=self.folder) as name:
                yield Path(name)
        except OSError as error:
            raise XaiError(f"cannot write to {self.folder}: {error.strerror}") from error

    def _export(self, work: Path) -> list[Runner]:
        """The model itself, and a bundle of every precision."""
        own = replace(self.options, session="eager")
        missing = [name for name in ("torch", "onnx", "onnxscript", "safetensors") if importlib.util.find_spec(name) is None]
        reason = f"{missing[0]} is not installed: pip install 'xai-vqa[export]'" if missing else ""
        runners = [Runner("eager", "float32", None if missing else own, reason)]
        for precision, formats in FORMATS_OF.items():
            if not reason:
                self.progress(f"export {precision}")
            bundle, why = work / precision, reason
            named = replace(self.options, threads=None, trust=False).arguments()
            form = "both" if len(formats) > 1 else formats[0]
            wanted = ["-o", str(bundle), "--precision", precision, "--format", form, "--force"]
            if not reason:
                try:
                    run_command("export", *named, *wanted, seconds=self.budget.limit)
                except XaiError as error:
                    why = f"export failed: {error}"
            for format in formats:
                model = ModelOptions(str(bundle), session=format, threads=self.options.threads, trust=format == "torchscript")
                runners.append(Runner(format, precision, None if why else model, why))
        if reason and self.demo:  # it comes with a bundle
            runners[1] = Runner("onnx", "float32", replace(self.options, session="onnx"))
        return runners

    def _of_bundle(self) -> list[Runner]:
        """What a given bundle holds."""
        manifest = read_bundle(Path(self.options.model)).manifest
        runners = [Runner("eager", "float32", None, "a bundle does not run in the session eager: give the checkpoint")]
        for session in SESSIONS:
            model: ModelOptions | None = replace(self.options, session=session)
            why = ""
            if session not in manifest.formats:
                model, why = None, "the bundle does not hold it"
            elif session == "torchscript" and not self.options.trust:
                model, why = None, "it is code: --trust runs it"
            runners.append(Runner(session, manifest.precision, model, why))
        return runners

    def _try(self, what: str, work: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
        """What `work` gives in a process of its own, or why it gives nothing."""
        self.progress(what)
        try:
            found = isolated(work, *arguments, seconds=self.budget.limit)
        except XaiError as error:
            self.progress(f"{what}: failed, {error}")
            return {"not_run": f"failed: {error}"}
        return found if isinstance(found, dict) else {"rows": found}

    def _parity(self, runner: Runner) -> dict[str, Any]:
        row = {"session": runner.session, "precision": runner.precision}
        if runner.model is None:
            return row | {"not_run": runner.not_run}
        if runner.model.is_demo:  # its own bundle, without PyTorch
            return row | {"not_run": "its bundle was checked when it was exported: `xai verify` runs that again"}
        if self.kind != "bundle":
            return row | dict(read_certificate(Path(runner.model.model), runner.session))
        return row | self._try(f"parity: {runner.name}", measure_parity, runner.model)

    def _latency(self, runner: Runner) -> dict[str, Any]:
        row = {"session": runner.session, "precision": runner.precision, "provider": runner.provider}
        if runner.model is None:
            return row | {"not_run": runner.not_run}
        budget = self.budget
        return row | self._try(
            f"latency: {runner.name}", measure_latency, runner.model, self.demo, budget.batches, budget.seconds, budget.warmup
        )

    def _reference(self) -> dict[str, Any]:
        if self.kind == "bundle":
            return {"not_run": "the published procedure cannot run a bundle: give the checkpoint"}
        if importlib.util.find_spec("torch") is None:
            return {"not_run": "torch is not installed: pip install 'xai-vqa[export]'"}
        return self._try("the published procedure", measure_reference, self.options, self.demo, self.budget.seconds)

    def _perturbation(self, runner: Runner) -> dict[str, Any]:
        row = {"session": runner.session, "precision": runner.precision}
        return row | self._try(f"perturbation test: {runner.name}", measure_perturbation, runner.model, self.budget.seconds)

    def _eigensolver(self) -> dict[str, Any]:
        return self._try("eigensolver", measure_eigensolver, self.options.threads or len(os.sched_getaffinity(0)))

    def _cold_start(self, runner: Runner, work: Path) -> dict[str, Any]:
        """Whole processes, from the shell's view: `xai explain` until the PNG is there."""
        assert runner.model is not None
        row = {"session": runner.session, "precision": runner.precision}
        self.progress(f"cold start: {runner.name}")
        image, question = write_pair(self.demo, work)
        seconds = []
        for _ in range(self.budget.starts):
            start = time.perf_counter()
            try:
                arguments = [str(image), question, *runner.model.arguments(), "-o", str(work / "why.png")]
                run_command("explain", *arguments, seconds=self.budget.limit)
            except XaiError as error:
                return row | {"not_run": f"failed: {error}"}
            seconds.append(time.perf_counter() - start)
        return row | {"processes": len(seconds), "median_seconds": float(np.median(seconds)), "seconds": seconds}


def _on_gpu(runners: list[Runner]) -> list[Runner]:
    """Give the runners of a GPU, or why there are none."""
    found = []
    for session, precision in MEASURED_ON_GPU:
        same = [runner for runner in runners if (runner.session, runner.precision) == (session, precision)]
        reason = gpu_state() or _no_cuda() or ("" if same and same[0].model else "there is no such bundle")
        model = None if reason or same[0].model is None else replace(same[0].model, provider="cuda")
        found.append(Runner(session, precision, model, reason, provider="cuda"))
    return found


def _no_cuda() -> str | None:
    if importlib.util.find_spec("onnxruntime") is None:
        return "onnxruntime is not installed"
    import onnxruntime

    return None if "CUDAExecutionProvider" in onnxruntime.get_available_providers() else "this onnxruntime has no provider cuda"


def _first_of_each(runners: list[Runner]) -> list[Runner]:
    """Choose of each session the first that can be run: float32 where there is one."""
    found: dict[str, Runner] = {}
    for runner in runners:
        if runner.model is not None:
            found.setdefault(runner.session, runner)
    return list(found.values())
