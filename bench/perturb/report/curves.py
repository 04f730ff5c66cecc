"""The table as a picture: accuracy against the removed fraction, one panel per modality and sign, one line per method."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np

from xai.base.process import import_matplotlib
from xai.bench.perturb.report.published import published_figures
from xai.bench.perturb.request import FLOOR

_DPI = 130
_GREY = 7  # of "tab10": too near the floor's


def draw_curves(table: Mapping[str, Any]) -> bytes:
    """Draw the content of `table.json` as a PNG."""
    import_matplotlib()
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = list(table["tests"])
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(5.2 * columns, 3.9 * rows + 0.9), layout="constrained", dpi=_DPI)
    colors = [matplotlib.colormaps["tab10"](i) for i in range(10) if i != _GREY]
    names = [row["method"] for row in table["methods"]]
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for place, (axis, panel) in enumerate(zip(axes, panels, strict=False)):
        for i, row in enumerate(table["methods"]):
            if row["method"] == FLOOR:
                style: dict[str, Any] = {"color": "0.35", "linestyle": (0, (4, 2)), "linewidth": 1.8}
            else:
                style = {"color": colors[i % len(colors)], "linestyle": "-" if i < len(colors) else ":", "linewidth": 1.3}
            axis.plot(100 * np.array(table["steps"]), row["curves"][panel], marker="o", markersize=2.6, label=row["method"], **style)
            if "published_curves" in row:
                dotted = {"color": style["color"], "linestyle": (0, (1, 2)), "linewidth": 1.0}
                axis.plot(100 * np.array(table["steps"]), row["published_curves"][panel], **dotted)
        what, better = ("most", "lower") if panel.endswith("+") else ("least", "higher")
        axis.set_title(f"{panel[:-1]}: {what} relevant first ({better} is better)", fontsize=10)
        axis.grid(alpha=0.25)
        axis.set_xlim(-2, 102)
        axis.set_ylim(bottom=0)
        if place % columns == 0:
            axis.set_ylabel("accuracy, %")
        if place + columns >= len(panels):
            axis.set_xlabel("removed tokens, %")
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    handles, _ = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=min(4, len(names)), fontsize=9, frameon=False)
    if any("published_curves" in row for row in table["methods"]):
        figures = published_figures(table["settings"])
        assert figures is not None
        figure.suptitle(f"dotted: published for {figures.what}", fontsize=9)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()
