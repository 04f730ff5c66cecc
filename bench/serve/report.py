"""The report of `xai bench serve` as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from xai.base.errors import XaiError
from xai.base.reading import read_json
from xai.bench.serve.measure import SCHEMA_VERSION
from xai.bench.tables import aligned

SERVING_MARKS = "<!-- serving: begin -->", "<!-- serving: end -->"
"""Around the section of docs/performance.md that is generated."""

HEADS = ("load", "asked/s", "answers/s", "p50 ms", "p95 ms", "p99 ms", "rejected", "503 p99 ms", "batch", "queue ms", "memory MB")


def markdown(report: Mapping[str, Any]) -> str:
    """One table of all loads, the knee marked, and what it was measured on."""
    machine = report["machine"]
    rows = list(_rows("", report["closed"])) + list(_rows("", report["open"], report["knee"]))
    if report["baseline"]:
        rows = list(_rows("unbatched, ", report["baseline"])) + rows
    return "\n\n".join(
        [
            f"`xai serve {report['target']}` on {machine['cpu']}, {machine['cores']} cores; {report['inputs']}, each encoded anew, "
            f"{report['seconds']:g} s a load.",
            aligned(HEADS, rows, words=1),
            "Clients ask again once they are answered; the other loads come at a fixed rate, as shares of the most answers a second, and a "
            "latency counts from when a request was due. The knee is the highest rate at which none is refused and the answers keep up. "
            "`unbatched` is the same server with `--max-batch 1`."
            + (f" Answers a second at {_last(report)}, batched over unbatched: {ratio(report):.2f}." if report["baseline"] else ""),
        ]
    )


def read_loads(folder: Path) -> dict[str, Mapping[str, Any]]:
    """Read `NAME/serve.json` of every machine, in order of their names. Raises `XaiError` where one cannot be read."""
    found: dict[str, Mapping[str, Any]] = {}
    for path in sorted(folder.glob("*/serve.json")):
        content = read_json(path)
        if not isinstance(content, dict) or (content.get("kind"), content.get("schema_version")) != ("serve", SCHEMA_VERSION):
            raise XaiError(f"{path} is not a report of `xai bench serve`, or one of another version")
        found[path.parent.name] = content
    return found


def serving(reports: Mapping[str, Mapping[str, Any]]) -> str:
    """Write the section on serving of docs/performance.md."""
    return "\n\n".join(f"**{name}**: {markdown(report)}" for name, report in reports.items())


def ratio(report: Mapping[str, Any]) -> float:
    """Throughput at the most clients, over that of the baseline."""
    return float(report["closed"][-1]["throughput"] / report["baseline"][-1]["throughput"])


def _last(report: Mapping[str, Any]) -> str:
    return str(report["closed"][-1]["load"])


def _rows(prefix: str, loads: Sequence[Mapping[str, Any]], knee: int | None = None) -> Iterable[list[str]]:
    for i, load in enumerate(loads):
        rejected = load["rejected_p99_ms"]
        yield [
            f"{prefix}{load['load']}{' (knee)' if i == knee else ''}",
            "" if load["asked_per_second"] is None else f"{load['asked_per_second']:.1f}",
            f"{load['throughput']:.1f}",
            *(f"{load[name]:.0f}" for name in ("p50_ms", "p95_ms", "p99_ms")),
            f"{load['rejected']:.0%}",
            "" if rejected is None else f"{rejected:.0f}",
            f"{load['mean_batch']:.1f}",
            f"{load['queue_p50_ms']:.0f}",
            "" if load["memory_mb"] is None else f"{load['memory_mb']:.0f}",
        ]
