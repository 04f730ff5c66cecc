"""How long an explanation takes, stage by stage, and in all by a clock of its own."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xai.base.versions import XAI_VERSION
from xai.bench.latency.inputs import Inputs
from xai.bench.machine import describe_machine, peak_memory_mb
from xai.runtime.explainer import Explainer
from xai.runtime.show.save import render

SCHEMA_VERSION = 1

REPORTED_STAGES: dict[str, tuple[str, ...]] = {
    "decode": ("decode",),
    "preprocess": ("preprocess",),
    "encode_image": ("encode_image",),
    "fuse_gradients": ("embed_text", "evidence"),
    "spectral": ("solver", "methods"),
    "assemble": ("assemble",),
    "render": ("render",),
}
"""Stages of a report, each the sum of these of an explanation's `timings_ms`; `render` draws the PNG."""

FEWEST_ITERATIONS = 5
"""However short the time that is given: a ratio of medians has no interval by fewer."""

Samples = dict[str, list[float]]
"""Milliseconds of every iteration, by stage and `total`."""


@dataclass(frozen=True)
class Plan:
    """Says how to measure: `iterations`, or where None as many as fit into `seconds`, for each of `batches`."""

    methods: tuple[str, ...]
    batches: tuple[int, ...] = (1,)
    iterations: int | None = None
    seconds: float = 10.0
    warmup: int = 10
    rendering: bool = True


def latency_report(
    explainer: Explainer,
    model: Mapping[str, str],
    inputs: Inputs,
    plan: Plan,
    load_seconds: float,
    threads: int | None,
    progress: Callable[[str], object],
) -> dict[str, Any]:
    """Measure every batch size and give the report, ready for JSON.

    `model` is what `models.load.identify` says of it; `progress` hears of each step.
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
            "sizes": session.description.counts,
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
        "machine": describe_machine(),
        "batches": batches,
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
    samples: Samples = {name: [] for name in (*REPORTED_STAGES, "total")}
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
        "total": time_statistics(samples["total"]),
        "stages": {name: time_statistics(samples[name]) for name in REPORTED_STAGES},
        "accounted": sum(float(np.mean(samples[name])) for name in REPORTED_STAGES) / float(np.mean(samples["total"])),
        "samples_ms": samples,
    }


def _goes_on(done: int, seconds: float, plan: Plan) -> bool:
    return done < plan.iterations if plan.iterations else done < FEWEST_ITERATIONS or seconds < plan.seconds


def run_once(explainer: Explainer, pairs: Sequence[tuple[bytes, str]], methods: Sequence[str], rendering: bool) -> dict[str, float]:
    """Explain `pairs` once: milliseconds by stage, and `total` between the first thing that is done and the last."""
    start = time.perf_counter()
    found = explainer.explain_batch(pairs, methods)
    explained = time.perf_counter()
    for explanations in found if rendering else ():
        render(explanations, Path("why.png"))
    end = time.perf_counter()
    taken = {**found[0][0].timings_ms, "render": 1e3 * (end - explained)}
    return {name: sum(taken[part] for part in parts) for name, parts in REPORTED_STAGES.items()} | {"total": 1e3 * (end - start)}


def time_statistics(milliseconds: Sequence[float]) -> dict[str, float]:
    """Summarise the times of one stage as a report does; `std` is the sample's."""
    values = np.array(milliseconds)
    percentiles = {f"p{p}": float(np.percentile(values, p)) for p in (50, 90, 95, 99)}
    spread = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    return {"min": float(values.min()), "mean": float(values.mean()), "std": spread, **percentiles, "max": float(values.max())}
