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

from xai.base.wording import one_line
from xai.runtime.explanation import Answer, Explanation
from xai.runtime.show.agreement import agreements
from xai.runtime.show.boxes import box_lines, spread_boxes
from xai.runtime.show.scale import is_flat, legends, notes, scaled, score_label
from xai.runtime.show.theme import FLAT, WordMaps, answer_lines, colours, hexadecimal, highest_place, ink, labels, paint, sides, word_maps

_BAR = 24
_WIDEST = 36
"""Columns of the grid's picture."""
_FINE = ("256", "truecolor")
"""Color systems with enough colours for the ramp: in the 16 of others most of it would be black."""
_MIDDLE = 2
"""The shade of what is nearly constant."""


def show(explanations: Sequence[Explanation], console: Console) -> None:
    """Print explanations of the same answer: question and answers once, then a block for each method.

    Without colours (a pipe, a file, NO_COLOR), and with 16 only, shades take their place.
    """
    first = explanations[0]
    console.print(Text(one_line(first.question.text), style="bold"))
    for label, answer in answer_lines(first):
        console.print(_answer(label, answer))
    shades = " .:*#" if console.options.ascii_only else " ░▒▓█"
    console.print()
    _print_indented(console, _answers(first.top, shades))
    plus, minus = f"{shades[-1]}+", f"{shades[-1]}-"
    colourful = console.color_system in _FINE and not console.no_color and not console.options.ascii_only
    for mark, (rgb, name) in zip((plus, minus), sides(explanations), strict=False):
        swatch = (" " * len(mark), f"on {hexadecimal(rgb)}") if colourful else (mark, "")
        console.print(Text.assemble("  ", swatch, " speaks for ", (one_line(name), "bold")))
    for explanation in explanations:
        said = labels(explanation)
        console.print()
        console.print(Text.assemble((one_line(explanation.method), "bold"), f" ({said})" if said else ""))
        words, grid = _coloured(explanation, console.width) if colourful else _shaded(explanation, shades, console.width)
        _print_indented(console, words)
        console.print()
        _print_indented(console, grid)
        for line in box_lines(explanation):
            _print_indented(console, Text(line, style="dim"))
        for note in (*explanation.notes, *notes(explanation)):
            _print_indented(console, Text(f"Note: {one_line(note)}"))
    for maps in word_maps(explanations):
        _print_word_maps(maps, console)
    if len(explanations) > 1:
        _print_agreements(explanations, console)
    console.print()
    marks = ("dark", "bright", "grey") if colourful else ("blank", shades[-1], shades[_MIDDLE])
    ends = ("the strongest colour", "the palest") if colourful else (f"{plus} or {minus}", "blank")
    for rule in legends(explanations, marks, ends):
        console.print(Text(one_line(rule), style="dim"))


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
    return Text.assemble((f"{label}: ", "dim"), (one_line(answer.text), "bold"), f" {answer.shown}")


def _answers(top: Sequence[Answer], shades: str) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(overflow="ellipsis", no_wrap=True, max_width=40)
    table.add_column(justify="right")
    table.add_column(width=_BAR, no_wrap=True)
    for answer in top:
        table.add_row(Text(one_line(answer.text)), answer.shown, Text(shades[-1] * round(_BAR * (answer.probability or 0))))
    return table


def _print_agreements(explanations: Sequence[Explanation], console: Console) -> None:
    """Two tables, of maps and of words: a row and a column for each method."""
    for found in agreements(explanations):
        table = Table(box=None, padding=(0, 2, 0, 0))
        table.add_column(Text(found.title, style="bold"), no_wrap=True)
        for i in range(len(found.rows)):
            table.add_column(str(i + 1), justify="right", no_wrap=True)
        for i, (name, cells) in enumerate(found.rows):
            table.add_row(Text(f"{i + 1}  {one_line(name)}"), *cells)
        console.print()
        console.print(table)
        console.print(Text(found.caption, style="dim"))


def _print_word_maps(found: WordMaps, console: Console) -> None:
    """Print the highest place of each word's map."""
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for word, values in zip(found.explanation.question.words, found.maps, strict=True):
        table.add_row(Text(one_line(word.text)), highest_place(values), score_label(float(values.max())))
    console.print()
    console.print(Text(found.title, style="bold"))
    _print_indented(console, table)
    _print_indented(console, Text(found.caption, style="dim"))


def _coloured(explanation: Explanation, width: int) -> tuple[Text, Text]:
    """Words on their colours, and the grid in half blocks, two rows of cells to a line."""
    relevance = explanation.word_relevance
    words = [
        Text(f" {one_line(word.text)} {score_label(score)} ", style=f"{ink(rgb)} on {hexadecimal(rgb)}")
        for word, score, rgb in zip(explanation.question.words, relevance, paint(relevance, explanation.signed), strict=True)
    ]
    values, covered = _cells(explanation, min(_WIDEST, width - 4))
    cells = max(1, min(_WIDEST, width - 4) // values.shape[1])  # columns of the terminal for a patch
    pixels = colours(values, explanation.signed)
    if is_flat(explanation.image_relevance, explanation.signed):
        pixels[:] = FLAT
    pixels = pixels.repeat(cells, axis=0).repeat(cells, axis=1)
    covered = covered.repeat(cells, axis=0).repeat(cells, axis=1)
    lines = []
    for row in range(0, len(pixels), 2):
        line = Text()
        for column in range(pixels.shape[1]):
            upper, lower = (hexadecimal(pixels[y, column]) if y < len(pixels) and covered[y, column] else None for y in (row, row + 1))
            if upper is None:  # nothing above: the lower half alone, or neither
                line.append("▄" if lower else " ", style=lower or "")
            else:
                line.append("▀", style=upper + (f" on {lower}" if lower else ""))
        lines.append(line)
    return _wrap(words, " ", width - 2), Text("\n").join(lines)


def _cells(explanation: Explanation, most: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The map scaled, in at most so many columns, and where it is: everywhere in a grid, where boxes are."""
    values = scaled(explanation.image_relevance, explanation.signed)
    if explanation.boxes is None:
        fitted = _fit(values, most)
        return fitted, np.ones(fitted.shape, dtype=bool)
    width, height = explanation.picture.size
    scale = max(1, most) / max(width, height)
    return spread_boxes(values, explanation.boxes, max(1, round(scale * height)), max(1, round(scale * width)))


def _shaded(explanation: Explanation, shades: str, width: int) -> tuple[Text, Panel]:
    """Words with their shades behind them, and the grid in shades, two columns to a patch, within a frame."""
    relevance, signed = explanation.word_relevance, explanation.signed
    marks = _marks(scaled(relevance, signed), shades, signed, is_flat(relevance, signed))
    words = [
        Text(f"{one_line(word.text)}{mark} {score_label(score)}")
        for word, score, mark in zip(explanation.question.words, relevance, marks, strict=True)
    ]
    values, covered = _cells(explanation, min(_WIDEST, width - 4) // 2)
    flat = is_flat(explanation.image_relevance, signed)
    lines = []
    for row, seen in zip(values, covered, strict=True):
        found = [mark if signed else mark * 2 for mark in _marks(row, shades, signed, flat)]
        lines.append("".join(mark if there else "  " for mark, there in zip(found, seen, strict=True)))
    grid = "\n".join(lines)
    return _wrap(words, "   ", width - 2), Panel.fit(Text(grid), box=SQUARE, padding=0)


def _wrap(words: Sequence[Text], gap: str, width: int) -> Text:
    """Words in lines of at most `width` columns, each with its score on the same line."""
    lines: list[list[Text]] = [[]]
    taken = 0
    for word in words:
        if lines[-1] and taken + len(gap) + word.cell_len > width:
            lines.append([])
            taken = 0
        taken += word.cell_len + (len(gap) if lines[-1] else 0)
        lines[-1].append(word)
    return Text("\n").join(Text(gap).join(line) for line in lines)


def _fit(values: NDArray[np.float64], most: int) -> NDArray[np.float64]:
    """(h, w) -> the same, averaged down to at most `most` columns."""
    rows, columns = values.shape
    if columns <= most:
        return values
    size = max(1, most), max(1, round(rows * most / columns))
    return np.asarray(Image.fromarray(values.astype(np.float32)).resize(size, Image.Resampling.BOX), dtype=np.float64)


def _marks(values: NDArray[np.float64], shades: str, signed: bool, flat: bool) -> list[str]:
    """A shade for each scaled value (n,); with signs a shade and a sign, two blanks for what is nearly 0."""
    if not signed:
        return [shades[level] for level in _levels(values, flat)]
    return [
        f"{shades[level]}{'+' if value > 0 else '-'}" if level else shades[0] * 2
        for level, value in zip(_levels(abs(values), flat), values, strict=True)
    ]


def _levels(values: NDArray[np.float64], flat: bool) -> NDArray[np.int64]:
    """[0, 1] -> 0 to 4, in equal steps; `_MIDDLE` for what is nearly constant."""
    if flat:
        return np.full(values.shape, _MIDDLE)
    return np.minimum((values * 5).astype(np.int64), 4)
