"""The parts of `xai bench suite` that measure, each to be run in a process of its own; all give what JSON can hold."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from xai.base.errors import XaiError
from xai.bench.latency.inputs import Inputs, photos, scenes
from xai.bench.latency.measure import FEWEST_ITERATIONS, Plan, latency_report, time_statistics
from xai.bench.machine import peak_memory_mb
from xai.models.load import ModelOptions, identify
from xai.runtime.methods import AS_PUBLISHED, METHODS

ALONE = "dsmi-grad"
"""The method that is measured alone, here and in the published procedure."""

MODEL_STAGES = ("encode_image", "fuse_gradients", "spectral")
"""What the published procedure does, too: no decoding, no picture."""

MOST_QUESTIONS = 64
"""Of the perturbation test."""


def inputs_for(count: int, demo: bool) -> Inputs:
    """Images and questions of the kind that the model knows."""
    return (scenes if demo else photos)(count, None)


def describe_model(model: ModelOptions) -> dict[str, Any]:
    """Give a model's name, hash and sizes. Raises `XaiError` where the model cannot be opened."""
    explainer = model.open()
    description = explainer.session.description
    return {
        **identify(model.model, explainer.session.name),
        "image_size": description.image_size,
        "patches": description.grid**2,
        "layers": description.layers,
        "answers": description.answers,
    }


def measure_parity(model: ModelOptions) -> dict[str, Any]:
    """Compare a bundle's own questions with what eager float32 gave at its export: error and cosine by group, what fails."""
    from xai.runtime.bundle.manifest import PARITY
    from xai.runtime.bundle.parity import check_session, failures
    from xai.runtime.bundle.reader import read_bundle
    from xai.runtime.bundle.trial import load_trial
    from xai.runtime.sessions.open import open_session

    bundle = read_bundle(Path(model.model))
    trial, expected = load_trial(bundle.file(PARITY), bundle.manifest.model)
    session = open_session(bundle, model.session, provider=model.provider, threads=model.threads, trust=model.trust)
    measures = check_session(session, trial, expected)
    return {"groups": {name: list(value) for name, value in measures.items()}, "failed": failures(measures, session.precision)}


def measure_latency(model: ModelOptions, demo: bool, batches: tuple[int, ...], seconds: float, warmup: int) -> dict[str, Any]:
    """Time one method and its picture, then all of them without one, at each batch size that `seconds` allow."""
    inputs = inputs_for(max(batches), demo)
    start = time.perf_counter()
    explainer = model.open()
    loaded = time.perf_counter() - start
    identity = identify(model.model, explainer.session.name)
    found: dict[str, Any] = {"load_seconds": loaded}
    for name, methods in (("one", (ALONE,)), ("all", AS_PUBLISHED)):
        found[name] = []
        for size in batches:
            if found[name] and size * FEWEST_ITERATIONS * found[name][0]["total"]["p50"] > 1e3 * seconds:
                found[name].append({"batch": size, "not_run": f"{FEWEST_ITERATIONS} iterations would take longer than {seconds:g} s"})
                continue
            plan = Plan(methods, (size,), None, seconds, warmup, rendering=name == "one")
            report = latency_report(explainer, identity, inputs, plan, loaded, model.threads, str)
            (batch,) = report["batches"]
            del batch["samples_ms"]
            found[name].append(batch)
            found |= {key: report[key] for key in ("session", "precision", "provider", "threads")}
        found[f"model_ms_{name}"] = sum(found[name][0]["stages"][stage]["p50"] for stage in MODEL_STAGES)
    return {**found, "peak_memory_mb": peak_memory_mb()}


def measure_reference(model: ModelOptions, demo: bool, seconds: float) -> dict[str, Any]:
    """Time the published procedure: eager forward, backward with every parameter's gradient, one method with scipy's `eigs`."""
    import torch

    from xai.bench.published import published_relevance, record, with_parameter_gradients

    explainer = replace(model, session="eager").open()
    network = explainer.session.model  # type: ignore[attr-defined]  # the eager session's own
    ((image, question),) = inputs_for(1, demo).pairs
    pixels = torch.from_numpy(explainer.prepare(image).pixels)[None]
    ids = torch.from_numpy(explainer.encoder.encode(question).ids)[None]
    times: list[float] = []
    with with_parameter_gradients(network):
        begin = time.perf_counter()
        while len(times) < 1 + FEWEST_ITERATIONS or time.perf_counter() - begin < seconds:
            start = time.perf_counter()
            published_relevance(record(network, pixels, ids), METHODS[ALONE].reference_name, "first")
            times.append(1e3 * (time.perf_counter() - start))
    return {
        "first_call_ms": times[0],
        "iterations": len(times) - 1,
        "total": time_statistics(times[1:]),
        "peak_memory_mb": peak_memory_mb(),
    }


def measure_perturbation(model: ModelOptions, seconds: float) -> dict[str, Any]:
    """Time the whole table, in seconds per question, eight methods by four tests, on generated scenes; preparing them is not counted.

    Two questions, then as many as `seconds` allow, if these are more.
    """
    from xai.bench.data.datasets import load_samples
    from xai.bench.data.sample import by_image
    from xai.bench.perturb.answering import run_chunk
    from xai.bench.perturb.request import FLOOR, Request, table_methods
    from xai.bench.perturb.run import prepare_chunk
    from xai.runtime.sessions.memory import session_memory
    from xai.workers.crew import Chunk

    explainer = replace(model, lean=True).open()  # as the command does
    session = explainer.session
    methods = tuple(method for method in table_methods(AS_PUBLISHED) if method.name != FLOOR)
    memory = session_memory(session)

    def run(count: int) -> float:
        prepared, _ = prepare_chunk(explainer, by_image(load_samples("scenes", count)), Chunk(0, count), skip_broken=False)
        start = time.perf_counter()
        run_chunk(session, prepared, Request(methods, memory, count))
        return (time.perf_counter() - start) / count

    questions = 2
    per_question = run(questions)
    more = min(MOST_QUESTIONS, int(seconds / per_question))
    if more > questions:
        questions, per_question = more, run(more)
    return {
        "session": session.name,
        "precision": session.precision,
        "provider": session.provider,
        "questions": questions,
        "seconds_per_question": per_question,
        "peak_memory_mb": peak_memory_mb(),
    }


def measure_eigensolver(threads: int) -> list[dict[str, Any]]:
    """Time the solvers as `xai bench eigen --quick` does."""
    from xai.bench.solver.measure import run_with_threads

    return [asdict(row) for row in run_with_threads(True, None, threads, str)]


def write_pair(demo: bool, folder: Path) -> tuple[Path, str]:
    """An image file in `folder`, and a question about it."""
    ((image, question),) = inputs_for(1, demo).pairs
    path = folder / ("scene.png" if demo else "photo.jpg")
    path.write_bytes(image)
    return path, question


def read_certificate(folder: Path, format: str) -> Mapping[str, Any]:
    """Read what an export measured of one format, as `measure_parity` gives it. Raises `XaiError` where the bundle cannot be read."""
    from xai.runtime.bundle.parity import Closeness, failures
    from xai.runtime.bundle.reader import read_bundle

    manifest = read_bundle(folder).manifest
    try:
        measures = {name: Closeness(m["error"], m["cosine"]) for name, m in manifest.parity["formats"][format].items()}
    except (KeyError, TypeError) as error:
        raise XaiError(f"the manifest of {folder} says nothing of {format}'s parity") from error
    return {"groups": {name: list(value) for name, value in measures.items()}, "failed": failures(measures, manifest.precision)}
