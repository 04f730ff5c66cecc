"""Compare one latency report with another: ratios of medians, with intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from xai.base.errors import XaiError
from xai.base.wording import one_line
from xai.bench.latency.measure import REPORTED_STAGES
from xai.bench.statistics import ratio_of_medians
from xai.bench.tables import aligned

Reader = Callable[[Mapping[str, Any]], Any]

LEAST_GROWTH = 0.01
"""Share of the first report's total by which a stage must be slower to count as a regression."""


@dataclass(frozen=True)
class Ratio:
    """Compares one stage, or `total`, at one batch size: medians in milliseconds, B over A with a 95 % interval.

    The interval is None where a report has too few iterations for one; `matters` says whether the difference shows in the total.
    """

    batch: int
    stage: str
    a_ms: float
    b_ms: float
    ratio: float
    interval: tuple[float, float] | None
    matters: bool

    def regressed(self, percent: float) -> bool:
        """Whether B is slower by more than that, and the interval says so, too."""
        return self.matters and self.interval is not None and self.interval[0] > 1 + percent / 100


def compare_reports(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Ratio]:
    """Divide every stage of B and its total by those of A, batch by batch. Both are what `read_report` gives.

    Raises `XaiError` where the reports are not about the same work (models, methods, images or batches differ; what runs it may).
    """
    same: dict[str, Reader] = {
        "models": lambda r: r["model"]["sizes"] | {"answers": r["model"]["answers_sha256"]},
        "methods": lambda r: r["methods"],
        "batches": lambda r: [batch["batch"] for batch in r["batches"]],  # before the images: their number follows
        "images and questions": lambda r: {"sha256": r["inputs"]["sha256"]},
        "rendering": lambda r: r["inputs"]["rendered"],
    }
    for what, of in same.items():
        if of(a) != of(b):
            raise XaiError(f"the reports are of different {what}, {_difference(of(a), of(b))}: only the same work can be compared")
    stages = [name for name in (*REPORTED_STAGES, "total") if name != "render" or a["inputs"]["rendered"]]
    return [_ratio(first, second, stage) for first, second in zip(a["batches"], b["batches"], strict=True) for stage in stages]


def _ratio(a: Mapping[str, Any], b: Mapping[str, Any], stage: str) -> Ratio:
    a_ms, b_ms, ratio, interval = ratio_of_medians(a["samples_ms"][stage], b["samples_ms"][stage])
    return Ratio(a["batch"], stage, a_ms, b_ms, ratio, interval, b_ms - a_ms >= LEAST_GROWTH * a["total"]["p50"])


def _difference(a: Any, b: Any) -> str:
    if isinstance(a, dict):
        names = [name for name in a if a[name] != b.get(name)]
        return ", ".join(f"{name} {str(a[name])[:12]} and {str(b.get(name))[:12]}" for name in names)
    return f"{a} and {b}"


def what_differs(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """List what ran in A and what in B, where that is not the same."""
    lines = []
    shown: dict[str, Reader] = {
        "model file": lambda r: f"{r['model']['name']} {r['model']['sha256'][:12]}",
        "threads": lambda r: r["threads"] or "the library's choice",
    }
    shown |= {name: itemgetter(name) for name in ("session", "precision", "provider", "xai")}
    lines += [f"{name}: {of(a)} | {of(b)}" for name, of in shown.items() if of(a) != of(b)]
    old, new = (dict(r["machine"]) for r in (a, b))
    old |= old.pop("versions")
    new |= new.pop("versions")
    lines += [f"{name}: {old.get(name)} | {new.get(name)}" for name in dict.fromkeys((*old, *new)) if old.get(name) != new.get(name)]
    return list(map(one_line, lines))


def ratio_table(ratios: list[Ratio], fail_over: float | None) -> str:
    """Lay the ratios out for a person; what is slower than allowed is marked."""
    rows = [
        [
            str(r.batch),
            r.stage.replace("_", " "),
            f"{r.a_ms:.2f}",
            f"{r.b_ms:.2f}",
            f"{r.ratio:.3f}",
            "too few" if r.interval is None else f"{r.interval[0]:.3f} - {r.interval[1]:.3f}",
            "slower" if fail_over is not None and r.regressed(fail_over) else "",
        ]
        for r in ratios
    ]
    return aligned(["batch", "stage", "A, ms", "B, ms", "B / A", "95 % interval", ""], rows, words=2)
