"""`xai bench latency`: how long an explanation takes, stage by stage, and in all by a clock of its own."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xai.base.errors import XaiError
from xai.base.versions import XAI_VERSION
from xai.bench.latency.inputs import Inputs
from xai.bench.machine import describe, peak_memory_mb
from xai.bench.tables import aligned
from xai.runtime.description import Description, square
from xai.runtime.evidence import self_sites
from xai.runtime.explainer import Explainer
from xai.runtime.show.save import render

SCHEMA_VERSION = 1

STAGES: dict[str, tuple[str, ...]] = {
    "decode": ("decode",),
    "preprocess": ("preprocess",),
    "encode_image": ("encode_image",),
    "fuse_gradients": ("embed_text", "evidence"),
    "spectral": ("solver", "methods"),
    "assemble": ("assemble",),
    "render": ("render",),
}
"""Stages of a report, each the sum of these of an explanation's `timings_ms`; `render` draws the PNG."""

LEAST = 5
"""Iterations, however short the time that is given: fewer give `compare` no interval."""

Samples = dict[str, list[float]]
"""Milliseconds of every iteration, by stage and `total`."""


@dataclass(frozen=True)
class Plan:
    """How to measure: `iterations`, or where None as many as fit into `seconds`, for each of `batches`."""

    methods: tuple[str, ...]
    batches: tuple[int, ...] = (1,)
    iterations: int | None = None
    seconds: float = 10.0
    warmup: int = 10
    rendering: bool = True


def measure(
    explainer: Explainer,
    model: Mapping[str, str],
    inputs: Inputs,
    plan: Plan,
    load_seconds: float,
    threads: int | None,
    progress: Callable[[str], object],
) -> dict[str, Any]:
    """The report, ready for JSON. `model` is what `bench.model.identify` says of it; `progress` hears of each step.

    `inputs` holds as many pairs as the largest batch, at least. Raises `XaiError` where one of them cannot be explained.
    """
    session = explainer.session
    batches = [_measure_batch(explainer, inputs, size, plan, progress) for size in plan.batches]
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "latency",
        "xai": XAI_VERSION,
        "model": {
            **model,
            "sizes": sizes(session.description),
            "answers_sha256": hashlib.sha256(json.dumps(list(explainer.answers.names)).encode()).hexdigest(),
        },
        "methods": list(plan.methods),
        "inputs": {"name": inputs.name, "sha256": inputs.sha256, "rendered": plan.rendering},
        "session": session.name,
        "precision": session.precision,
        "provider": session.provider,
        "threads": threads,
        "load_seconds": load_seconds,
        "peak_memory_mb": peak_memory_mb(),
        "machine": describe(),
        "batches": batches,
    }


def sizes(description: Description) -> dict[str, int]:
    """What the time depends on. Raises `XaiError` where pictures are not square."""
    recipe, first = square(description), description.streams[0]
    return {
        "image_size": recipe.size,
        "grid": recipe.grid,
        "max_text_tokens": description.max_text_tokens,
        "vocab_size": description.vocab_size,
        "text_layers": len(self_sites(description, first)) - len(first.layers),
        "layers": len(first.layers),
        "answers": description.answers,
    }


def _measure_batch(explainer: Explainer, inputs: Inputs, size: int, plan: Plan, progress: Callable[[str], object]) -> dict[str, Any]:
    pairs = inputs.pairs[:size]

    def once() -> dict[str, float]:
        return run_once(explainer, pairs, plan.methods, plan.rendering)

    progress(f"batch {size}: first call")
    first = once()
    progress(f"batch {size}: {plan.warmup} calls to warm up, {first['total'] / 1e3:.2f} s the first call")
    warmup = [once()["total"] for _ in range(plan.warmup)]
    progress(f"batch {size}: measuring, " + (f"{plan.iterations} iterations" if plan.iterations else f"{plan.seconds:g} s"))
    samples: Samples = {name: [] for name in (*STAGES, "total")}
    start = time.perf_counter()
    while _goes_on(len(samples["total"]), time.perf_counter() - start, plan):
        for name, milliseconds in once().items():
            samples[name].append(milliseconds)
    return {
        "batch": size,
        "iterations": len(samples["total"]),
        "first_call_ms": first,
        "warmup": {"iterations": plan.warmup, "mean_ms": float(np.mean(warmup)) if warmup else None},
        "throughput": 1e3 * size / float(np.mean(samples["total"])),
        "total": statistics(samples["total"]),
        "stages": {name: statistics(samples[name]) for name in STAGES},
        "accounted": sum(float(np.mean(samples[name])) for name in STAGES) / float(np.mean(samples["total"])),
        "samples_ms": samples,
    }


def _goes_on(done: int, seconds: float, plan: Plan) -> bool:
    return done < plan.iterations if plan.iterations else done < LEAST or seconds < plan.seconds


def run_once(explainer: Explainer, pairs: Sequence[tuple[bytes, str]], methods: Sequence[str], rendering: bool) -> dict[str, float]:
    """Milliseconds by stage, and `total` between the first thing that is done and the last."""
    start = time.perf_counter()
    found = explainer.explain_batch(pairs, methods)
    explained = time.perf_counter()
    for explanations in found if rendering else ():
        render(explanations, Path("why.png"))
    end = time.perf_counter()
    taken = {**found[0][0].timings_ms, "render": 1e3 * (end - explained)}
    return {name: sum(taken[part] for part in parts) for name, parts in STAGES.items()} | {"total": 1e3 * (end - start)}


def statistics(milliseconds: Sequence[float]) -> dict[str, float]:
    """What a report says about the times of one stage; `std` is the sample's."""
    values = np.array(milliseconds)
    percentiles = {f"p{p}": float(np.percentile(values, p)) for p in (50, 90, 95, 99)}
    spread = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    return {"min": float(values.min()), "mean": float(values.mean()), "std": spread, **percentiles, "max": float(values.max())}


def read_report(path: Path) -> dict[str, Any]:
    """A report that was written with --json. Raises `XaiError` where the file is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise XaiError(f"report {path} does not exist") from error
    except OSError as error:
        raise XaiError(f"report {path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise XaiError(f"{path} is not JSON: give a report of `xai bench latency --json`") from error
    if not isinstance(content, dict) or content.get("kind") != "latency":
        raise XaiError(f"{path} is not a report of `xai bench latency --json`")
    if content.get("schema_version") != SCHEMA_VERSION:
        raise XaiError(f"{path} was written by another version of xai: measure it again")
    return content


SHOWN = ("mean", "std", "min", "p50", "p90", "p95", "p99", "max")


def describe_run(report: Mapping[str, Any]) -> str:
    """What ran, in a line or two."""
    machine = report["machine"]
    return (
        f"{report['model']['name']}, {report['session']} {report['precision']} on {report['provider']}, "
        f"{len(report['methods'])} method{'s' if len(report['methods']) > 1 else ''}, {report['inputs']['name']}\n"
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB; GPU {machine['gpu']}"
    )


def table(report: Mapping[str, Any]) -> str:
    """The report for a person: a table for each batch size, milliseconds."""
    parts = [describe_run(report)]
    for batch in report["batches"]:
        total = batch["total"]["mean"]
        shown = {**batch["stages"], "total": batch["total"]}
        if not report["inputs"]["rendered"]:
            del shown["render"]
        rows = [
            [name.replace("_", " "), f"{values['mean'] / total:.1%}", *(f"{values[key]:.2f}" for key in SHOWN)]
            for name, values in shown.items()
        ]
        warm = batch["warmup"]
        parts.append(
            f"Batch {batch['batch']}: {batch['iterations']} iterations, {batch['throughput']:.2f} explanations per second; "
            f"first call {batch['first_call_ms']['total']:.1f} ms, "
            + (f"{warm['iterations']} calls to warm up {warm['mean_ms']:.1f} ms each" if warm["iterations"] else "no warm-up")
            + f"; stages add up to {batch['accounted']:.1%} of the total"
        )
        parts.append(aligned(["ms", "share", *SHOWN], rows))
    parts.append(f"Loaded in {report['load_seconds']:.2f} s; peak memory {report['peak_memory_mb']:.0f} MB")
    return "\n\n".join(parts)
