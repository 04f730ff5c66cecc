"""Explanations -> a terminal: the answers, the words coloured by relevance, a small picture of the grid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.box import SQUARE
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from xai.base.text import one_line, percent
from xai.runtime.explanation import Answer, Explanation
from xai.runtime.show.theme import colours, ink, scale_notes, scaled

_BAR = 24
_WIDEST = 36
"""Columns of the grid's picture."""


def show(explanations: Sequence[Explanation], console: Console) -> None:
    """Print explanations of the same answer: question and answers once, then a block for each method.

    Without colours (a pipe, a file, NO_COLOR) shades take their place.
    """
    first = explanations[0]
    console.print(Text(one_line(first.question.text), style="bold"))
    console.print(_answer("Answer", first.answer))
    if first.target.id != first.answer.id:
        console.print(_answer("Explained instead", first.target))
    shades = " .:*#" if console.options.ascii_only else " ░▒▓█"
    console.print()
    _print_indented(console, _answers(first.top, shades))
    colourful = console.color_system is not None and not console.no_color and not console.options.ascii_only
    for explanation in explanations:
        layers = " (all layers)" if explanation.layers == "all" else ""
        console.print()
        console.print(Text.assemble((explanation.method, "bold"), layers))
        words, grid = _coloured(explanation, console.width) if colourful else _shaded(explanation, shades, console.width)
        _print_indented(console, words)
        console.print()
        _print_indented(console, grid)
        for note in (*explanation.notes, *scale_notes(explanation)):
            _print_indented(console, Text(f"Note: {one_line(note)}"))
    console.print()
    scale = "Dark is the lowest score, bright the highest" if colourful else f"Blank is the lowest score, {shades[-1]} the highest"
    console.print(Text(f"{scale}; each picture and each row of words is scaled by itself.", style="dim"))


def show_solver(explanations: Sequence[Explanation], console: Console) -> None:
    """Print how each graph behind the explanations was solved, one row each."""
    columns = ("graph", "nodes", "status", "method", "certificate", "eigenvalue", "gap >=", "angle <=", "residual", "products")
    table = Table(*columns, box=None, padding=(0, 2, 0, 0))
    for report in dict.fromkeys(report for e in explanations for report in e.solver):
        numbers = (report.eigenvalue, report.gap, report.angle_bound, report.residual)
        shown = [f"{number:.3g}" for number in numbers]
        table.add_row(report.graph, str(report.nodes), report.status, report.method, report.certificate, *shown, str(report.products))
    console.print(table if table.rows else Text("None of these methods solves a graph.", style="dim"))


def _print_indented(console: Console, content: RenderableType) -> None:
    console.print(Padding(content, (0, 0, 0, 2), expand=False))


def _answer(label: str, answer: Answer) -> Text:
    return Text.assemble((f"{label}: ", "dim"), (one_line(answer.text), "bold"), f" {percent(answer.probability)}")


def _answers(top: Sequence[Answer], shades: str) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(overflow="ellipsis", no_wrap=True, max_width=40)
    table.add_column(justify="right")
    table.add_column(width=_BAR, no_wrap=True)
    for answer in top:
        table.add_row(Text(one_line(answer.text)), percent(answer.probability), Text(shades[-1] * round(_BAR * answer.probability)))
    return table


def _coloured(explanation: Explanation, width: int) -> tuple[Text, Text]:
    """Words on their colours, and the grid in half blocks, two rows of cells to a line."""
    words = Text()
    for word, rgb in zip(explanation.question.words, colours(scaled(explanation.word_relevance)), strict=True):
        words.append(f" {one_line(word.text)} ", style=f"{ink(rgb)} on {_hex(rgb)}").append(" ")
    columns = explanation.image_relevance.shape[1]
    cells = max(1, min(_WIDEST, width - 4) // columns)  # columns of the terminal for a patch
    pixels = colours(_fit(scaled(explanation.image_relevance), min(_WIDEST, width - 4)))
    pixels = pixels.repeat(cells, axis=0).repeat(cells, axis=1)
    lines = []
    for upper, lower in zip(pixels[::2], [*pixels[1::2], None], strict=False):
        line = Text()
        for column, rgb in enumerate(upper):
            below = "" if lower is None else f" on {_hex(lower[column])}"
            line.append("▀", style=_hex(rgb) + below)
        lines.append(line)
    return words, Text("\n").join(lines)


def _shaded(explanation: Explanation, shades: str, width: int) -> tuple[Text, Panel]:
    """Words with their shades behind them, and the grid in shades, two columns to a patch, within a frame."""
    levels = _levels(scaled(explanation.word_relevance))
    words = Text("  ").join(
        Text(one_line(word.text) + shades[level]) for word, level in zip(explanation.question.words, levels, strict=True)
    )
    values = _fit(scaled(explanation.image_relevance), min(_WIDEST, width - 4) // 2)
    grid = "\n".join("".join(shades[level] * 2 for level in row) for row in _levels(values))
    return words, Panel.fit(Text(grid), box=SQUARE, padding=0)


def _fit(values: NDArray[np.float64], most: int) -> NDArray[np.float64]:
    """(h, w) -> the same, averaged down to at most `most` columns."""
    rows, columns = values.shape
    if columns <= most:
        return values
    size = max(1, most), max(1, round(rows * most / columns))
    return np.asarray(Image.fromarray(values.astype(np.float32)).resize(size, Image.Resampling.BOX), dtype=np.float64)


def _levels(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """[0, 1] -> 0 to 4, in equal steps."""
    return np.minimum((values * 5).astype(np.int64), 4)


def _hex(rgb: NDArray[np.uint8]) -> str:
    return f"#{rgb[0]:02x}{rgb[1]:02x}{rgb[2]:02x}"
