"""Draw a latency report: where the time of an explanation goes, and how it is spread."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np

from xai.base.process import import_matplotlib

_DPI = 130


def draw_latency(report: Mapping[str, Any]) -> bytes:
    """Draw a report of `xai bench latency` as a PNG: stacked bars of the stages' means, and the distribution, both per explanation."""
    import_matplotlib()
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    batches = report["batches"]
    figure = Figure(figsize=(10.5, 4.6), layout="constrained", dpi=_DPI)
    bars, spread = figure.subplots(1, 2)
    colors = matplotlib.colormaps["tab10"]
    places = np.arange(len(batches))
    bottom = np.zeros(len(batches))
    for i, stage in enumerate(batches[0]["stages"]):
        heights = np.array([batch["stages"][stage]["mean"] / batch["batch"] for batch in batches])
        if heights.any():
            bars.bar(places, heights, 0.6, bottom=bottom, color=colors(i), label=stage.replace("_", " "))
        bottom += heights
    for place, batch, top in zip(places, batches, bottom, strict=True):
        bars.annotate(f"{batch['throughput']:.3g} / s", (place, top), (0, 3), textcoords="offset points", ha="center", fontsize=9)
    bars.set_xticks(places, [f"batch {batch['batch']}" for batch in batches])
    bars.set_xlim(-0.6, max(1, len(batches)) - 0.4)
    bars.margins(y=0.1)
    bars.set_ylabel("ms per explanation, mean")
    bars.set_title("Where the time goes", fontsize=10)
    handles, labels = bars.get_legend_handles_labels()
    bars.legend(handles[::-1], labels[::-1], fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    for batch in batches:
        values = np.sort(batch["samples_ms"]["total"]) / batch["batch"]
        share = np.arange(1, len(values) + 1) / len(values)
        spread.step(values, 100 * share, where="post", label=f"batch {batch['batch']}, {len(values)} iterations")
    spread.set_xlabel("ms per explanation")
    spread.set_ylabel("iterations that take no longer, %")
    spread.set_ylim(0, 102)
    spread.grid(alpha=0.25)
    spread.set_title("How it is spread", fontsize=10)
    spread.legend(fontsize=8, frameon=False, loc="lower right")
    figure.suptitle(f"{report['model']['name']}: {report['session']} {report['precision']}, {report['provider']}", fontsize=11)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()
