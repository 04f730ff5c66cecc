"""The report of `xai bench latency`: read, checked, and laid out for a person."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xai.base.errors import XaiError
from xai.base.reading import Fields, read_json
from xai.base.wording import one_line
from xai.bench.latency.measure import REPORTED_STAGES, SCHEMA_VERSION
from xai.bench.tables import aligned

ADVICE = "measure it again with `xai bench latency --json`"

SHOWN_STATISTICS = ("mean", "std", "min", "p50", "p90", "p95", "p99", "max")


def read_report(path: Path) -> dict[str, Any]:
    """Read and check a report that was written with --json. Raises `XaiError` where the file is none, or a field is not what it must be."""
    if not path.exists():
        raise XaiError(f"report {path} does not exist")
    content = read_json(path)
    if not isinstance(content, dict) or content.get("kind") != "latency":
        raise XaiError(f"{path} is not a report of `xai bench latency --json`")
    if content.get("schema_version") != SCHEMA_VERSION:
        raise XaiError(f"{path} was written by another version of xai: measure it again")
    _check(Fields(content, str(path), ADVICE))
    return content


def _check(report: Fields) -> None:
    """Raises `XaiError` where a field that is compared or shown is missing, or of another type."""
    for name in ("session", "precision", "provider", "xai"):
        report.get(name, str)
    report.get("threads", int, type(None))
    report.items("methods", str)
    _check_text(report.inner("model"), "name", "sha256", "answers_sha256")
    sizes = report.inner("model").inner("sizes")
    for name in sizes.content:
        sizes.integer(name)
    _check_text(report.inner("inputs"), "name", "sha256")
    report.inner("inputs").get("rendered", bool)
    machine = report.inner("machine")
    _check_text(machine, "cpu", "gpu", "system", "python")
    machine.integer("cores", 1)
    machine.number("memory_gb", 0)
    versions = machine.inner("versions")
    _check_text(versions, *versions.content)
    for i, batch in enumerate(report.items("batches", dict)):
        _check_batch(Fields(batch, f"{report.where}: 'batches' {i}", report.advice))


def _check_text(fields: Fields, *names: str) -> None:
    for name in names:
        fields.get(name, str)


def _check_batch(batch: Fields) -> None:
    batch.integer("batch", 1)
    batch.inner("total").number("p50", 0)
    samples = batch.inner("samples_ms")
    count = len(samples.items("total", int, float))
    for name in (*REPORTED_STAGES, "total"):
        times: list[Any] = samples.items(name, int, float)
        if not all(0 <= time < math.inf for time in times) or (name == "total" and not all(times)):
            raise samples.refuse(name, "holds a number that is no time")
        if not times or len(times) != count:
            raise samples.refuse(name, f"holds {len(times)} times, and 'total' {count}")


def describe_run(report: Mapping[str, Any]) -> str:
    """Say what ran, in two lines."""
    machine = report["machine"]
    lines = (
        f"{report['model']['name']}, {report['session']} {report['precision']} on {report['provider']}, "
        f"{len(report['methods'])} method{'s' if len(report['methods']) > 1 else ''}, {report['inputs']['name']}",
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB; GPU {machine['gpu']}",
    )
    return "\n".join(map(one_line, lines))


def latency_table(report: Mapping[str, Any]) -> str:
    """Lay the report out for a person: a table for each batch size, milliseconds."""
    parts = [describe_run(report)]
    for batch in report["batches"]:
        total = batch["total"]["mean"]
        shown = {**batch["stages"], "total": batch["total"]}
        if not report["inputs"]["rendered"]:
            del shown["render"]
        rows = [
            [name.replace("_", " "), f"{values['mean'] / total:.1%}", *(f"{values[key]:.2f}" for key in SHOWN_STATISTICS)]
            for name, values in shown.items()
        ]
        warm = batch["warmup"]
        parts.append(
            f"Batch {batch['batch']}: {batch['iterations']} iterations, {batch['throughput']:.2f} explanations per second; "
            f"first call {batch['first_call_ms']['total']:.1f} ms, "
            + (f"{warm['iterations']} calls to warm up {warm['mean_ms']:.1f} ms each" if warm["iterations"] else "no warm-up")
            + f"; stages add up to {batch['accounted']:.1%} of the total"
        )
        parts.append(aligned(["ms", "share", *SHOWN_STATISTICS], rows))
    parts.append(f"Loaded in {report['load_seconds']:.2f} s; peak memory {report['peak_memory_mb']:.0f} MB")
    return "\n\n".join(parts)
