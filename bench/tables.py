"""Rows of text as Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def plain(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table without a thought for how it looks before it is shown."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *rows))


def aligned(heads: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1) -> str:
    """Write a table that is also easy to read as it stands: its first `words` columns are flush left, the others, numbers, flush right."""
    widths = [max(len(row[i]) for row in (heads, *rows)) for i in range(len(heads))]

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(c.ljust(w) if i < words else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))) + " |"

    rule = ["-" * w if i < words else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    return "\n".join([line(heads), line(rule), *map(line, rows)])
