"""Profile what each kind of operator takes, beside what the machine could do at most."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xai.base.errors import XaiError
from xai.bench.latency.ceilings import Ceilings, onnx_ceilings, torch_ceilings
from xai.bench.tables import aligned
from xai.runtime.explainer import Explainer

CALLS = 3
"""Explanations that are profiled, after one to warm up."""

PRODUCTS = {"MatMul", "FusedMatMul", "Gemm", "FusedGemm", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"}
CONVOLUTIONS = {"Conv", "FusedConv"}


@dataclass
class Spent:
    """Adds up what one kind of operator did in all calls; `flop` is None where it is no product, `bytes` where they are not known."""

    calls: int = 0
    microseconds: float = 0.0
    flop: float | None = None
    bytes: float | None = None

    def add(self, calls: int, microseconds: float, flop: float | None, moved: float | None) -> None:
        self.calls += calls
        self.microseconds += microseconds
        if flop is not None:
            self.flop = (self.flop or 0) + flop
        if moved is not None:
            self.bytes = (self.bytes or 0) + moved


def profile_operators(explainer: Explainer, pairs: Sequence[tuple[bytes, str]], methods: Sequence[str]) -> dict[str, Any]:
    """Profile the operators of one explanation of `pairs` as a batch, ready for JSON: calls and milliseconds are per explained batch.

    `graph_ms` is what the graphs took in all; kernels do not fill it. Raises `XaiError` where the session has no profiler.
    """
    name = explainer.session.name
    if name == "onnx":
        tool, ceilings, spent, graph_ms = "ONNX Runtime", *_profile_onnx(explainer, pairs, methods)
    elif name in ("eager", "torchscript"):
        tool, ceilings, spent, graph_ms = "PyTorch", *_profile_torch(explainer, pairs, methods)
    else:
        raise XaiError(f"there is no profiler for the session {name}")
    kernels = sum(one.microseconds for one in spent.values())
    ordered = sorted(spent.items(), key=lambda item: -item[1].microseconds)
    return {
        "profiler": tool,
        "batch": len(pairs),
        "ceilings": ceilings._asdict(),
        "graph_ms": graph_ms,
        "kernel_ms": kernels / 1e3 / CALLS,
        "rows": [
            {
                "operator": operator,
                "calls": one.calls / CALLS,
                "ms": one.microseconds / 1e3 / CALLS,
                "share": one.microseconds / kernels,
                "gflop_s": _rate(one.flop, one.microseconds),
                "gb_s": _rate(one.bytes, one.microseconds),
            }
            for operator, one in ordered
        ],
    }


def _rate(amount: float | None, microseconds: float) -> float | None:
    return None if amount is None or not microseconds else amount / microseconds / 1e3


def _profile_onnx(
    explainer: Explainer, pairs: Sequence[tuple[bytes, str]], methods: Sequence[str]
) -> tuple[Ceilings, dict[str, Spent], float]:
    from xai.runtime.sessions.onnx import OnnxSession

    own = explainer.session
    assert isinstance(own, OnnxSession)
    ceilings = onnx_ceilings(own.provider, own.threads)
    with tempfile.TemporaryDirectory() as folder:
        session = OnnxSession(own.bundle, own.asked, own.threads, own.allow_fallback, profiles=Path(folder))
        profiled = Explainer(session, explainer.encoder, explainer.answers)
        for _ in range(1 + CALLS):
            profiled.explain_batch(pairs, methods)
        events = [json.loads(path.read_text(encoding="utf-8")) for path in session.end_profiling().values()]
    spent: dict[str, Spent] = {}
    graph_us = 0.0
    for one in events:
        microseconds = read_trace(one, spent)
        graph_us += microseconds
    return ceilings, spent, graph_us / 1e3 / CALLS


def read_trace(events: Sequence[Mapping[str, Any]], spent: dict[str, Spent]) -> float:
    """Add the operators of one graph's trace by ONNX Runtime to `spent`; returns the microseconds that its runs took.

    A quarter of the runs, the first ones, served to warm up and is left out.
    """
    runs = sorted((event["ts"], event["dur"]) for event in events if event["name"] == "model_run")
    counted = runs[len(runs) // (1 + CALLS) :]
    for event in events:
        if event.get("cat") == "Node" and event["ts"] >= counted[0][0] and "op_name" in event["args"]:
            arguments = event["args"]
            operator = arguments["op_name"]
            flop, moved = node_work(operator, arguments)
            spent.setdefault(operator, Spent()).add(1, event["dur"], flop, moved)
    return float(sum(duration for _, duration in counted))


def node_work(operator: str, arguments: Mapping[str, Any]) -> tuple[float | None, float]:
    """Count the floating-point operations of a product, else None, and the bytes read and written, from what a trace says of one node.

    Weights that ONNX Runtime has packed beforehand are not among the inputs that it lists: they are added here.
    """
    moved = float(sum(int(arguments.get(name, 0)) for name in ("activation_size", "parameter_size", "output_size")))
    inputs, outputs = (_shapes(arguments[f"{name}_type_shape"]) for name in ("input", "output"))
    if operator in PRODUCTS and inputs and outputs and len(inputs[0]) >= 2:
        rows, inner = inputs[0][-2:]
        height = outputs[0][-2] if len(outputs[0]) >= 2 else 1
        if rows != height:  # transposed
            inner = rows
        if not any(inner in shape and len(shape) >= 2 for shape in inputs[1:]):
            moved += 4 * inner * outputs[0][-1]
        return 2.0 * math.prod(outputs[0]) * inner, moved
    if operator in CONVOLUTIONS and len(inputs) > 1 and outputs:
        return 2.0 * math.prod(outputs[0]) * math.prod(inputs[1][1:]), moved
    return None, moved


def _shapes(listed: Sequence[Mapping[str, list[int]]]) -> list[list[int]]:
    return [shape for one in listed for shape in one.values()]


def _profile_torch(
    explainer: Explainer, pairs: Sequence[tuple[bytes, str]], methods: Sequence[str]
) -> tuple[Ceilings, dict[str, Spent], float]:
    """Measure the self time of every operator; PyTorch counts the operations of its products, and no bytes."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as torch_profile

    ceilings = torch_ceilings(explainer.session.precision)
    explainer.explain_batch(pairs, methods)
    graph_ms = 0.0
    with torch_profile(activities=[ProfilerActivity.CPU], with_flops=True, record_shapes=True) as profiler:
        for _ in range(CALLS):
            timings = explainer.explain_batch(pairs, methods)[0][0].timings_ms
            graph_ms += sum(timings[stage] for stage in ("encode_image", "embed_text", "evidence"))
    spent: dict[str, Spent] = {}
    for event in profiler.key_averages():
        if event.self_cpu_time_total > 0:
            flop = float(event.flops) if event.flops else None
            spent.setdefault(event.key, Spent()).add(event.count, event.self_cpu_time_total, flop, None)
    return ceilings, spent, graph_ms / CALLS


MOST_ROWS = 20
"""The table shows so many; the report in JSON has them all."""


def operator_table(found: Mapping[str, Any]) -> str:
    """Lay what `profile_operators` found out for a person."""
    most = found["ceilings"]
    rows = [_row(row, most) for row in found["rows"][:MOST_ROWS]]
    if rest := found["rows"][MOST_ROWS:]:
        calls, ms, share = (sum(row[key] for row in rest) for key in ("calls", "ms", "share"))
        rows.append(
            _row({"operator": f"{len(rest)} others", "calls": calls, "ms": ms, "share": share, "gflop_s": None, "gb_s": None}, most)
        )
    return "\n\n".join(
        [
            f"Operators by {found['profiler']}'s profiler, batch {found['batch']}: graphs {found['graph_ms']:.2f} ms, of which operators "
            f"{found['kernel_ms']:.2f} ms. At most, measured just before: {most['gflop_s']:.0f} GFLOP/s ({most['dtype']} product), "
            f"{most['gb_s']:.1f} GB/s (copy).",
            aligned(["operator", "calls", "ms", "share", "GFLOP/s", "of most", "GB/s", "of most"], rows),
        ]
    )


def _row(row: Mapping[str, Any], most: Mapping[str, Any]) -> list[str]:
    rates = []
    for key in ("gflop_s", "gb_s"):
        value = row[key]
        rates += ["", ""] if value is None else [f"{value:.1f}", f"{value / most[key]:.0%}"]
    return [row["operator"], f"{row['calls']:g}", f"{row['ms']:.3f}", f"{row['share']:.1%}", *rates]
