"""The curves of a sanity check as a picture."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np

from xai.base.process import import_matplotlib
from xai.bench.sanity.report import verdict

_DPI = 130
_GREY = 7  # of "tab10": too near that of what reads no weights
_COLUMNS = {"image_spearman": "images, Spearman", "image_ssim": "images, SSIM", "words_spearman": "words, Spearman"}
_ROWS = {"cascade": "drawn anew from the answer down to …", "alone": "drawn anew alone: …"}


def draw_sanity(report: Mapping[str, Any]) -> bytes:
    """Draw the content of sanity.json as a PNG: similarity to the original maps by layer, one line a method."""
    import_matplotlib()
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    layers = [_short(layer["name"]) for layer in report["layers"]]
    places = np.arange(len(layers) + 1)
    figure = Figure(figsize=(max(13.0, 1.2 + 0.7 * len(layers)), 10.0), layout="constrained", dpi=_DPI)
    colors = [matplotlib.colormaps["tab10"](i) for i in range(10) if i != _GREY]
    axes = figure.subplots(len(_ROWS), len(_COLUMNS), squeeze=False, sharex=True, sharey=True)
    for row, (steps, below) in zip(axes, _ROWS.items(), strict=True):
        for axis, (measure, title) in zip(row, _COLUMNS.items(), strict=True):
            axis.axhspan(-report["limit"], report["limit"], color="0.93", zorder=0)
            for i, (method, one) in enumerate(report["methods"].items()):
                style: dict[str, Any] = {"color": colors[i % len(colors)], "linestyle": "-" if i < len(colors) else ":", "linewidth": 1.3}
                if not one["reads_weights"]:
                    style = {"color": "0.35", "linestyle": (0, (4, 2)), "linewidth": 1.8}
                means = [np.nan if point["mean"] is None else point["mean"] for point in one[steps][measure]]
                if steps == "cascade":  # nothing is drawn anew at first
                    axis.plot(places, [1.0, *means], marker="o", markersize=2.6, label=method, **style)
                else:
                    axis.plot(places[1:], means, marker="o", markersize=3.2, label=method, **style | {"linewidth": 0.5})
            axis.set_title(title, fontsize=10)
            axis.set_xticks(places, ["nothing", *layers], rotation=90, fontsize=7)
            axis.tick_params(labelbottom=True)
            axis.set_xlabel(below, fontsize=9)
            axis.set_ylim(-1.02, 1.05)
            axis.grid(alpha=0.25)
        row[0].set_ylabel("similarity to the original maps")
    handles, names = axes[0][0].get_legend_handles_labels()
    labels = [f"{name}: {verdict(report['methods'][name]).partition(':')[0]}" for name in names]
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(names)), fontsize=9, frameon=False)
    figure.suptitle(
        f"{report['model']['name']}: {report['questions']} questions; grey: what a pass allows with all weights drawn anew", fontsize=11
    )
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()


def _short(name: str) -> str:
    """The last two parts of a layer's name, three where the last is a number."""
    parts = name.split(".")
    return ".".join(parts[-3 if parts[-1].isdecimal() else -2 :])
