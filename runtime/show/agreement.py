"""What two methods have in common, as two tables of text: one of maps, one of words."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

from xai.runtime.comparison import TOP_PATCHES
from xai.runtime.explanation import Explanation, comparison
from xai.runtime.show.scale import place_name

_ITSELF = ""
_UNDEFINED = "-"


class Agreement(NamedTuple):
    """A square table: each row is a method's name and its cells, a cell for each method in the same order."""

    title: str
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    caption: str


def agreements(explanations: Sequence[Explanation]) -> tuple[Agreement, Agreement]:
    """Lay out the comparison of several methods: rank correlation above the diagonal, overlap of the highest below it."""
    found = comparison(explanations)
    names = [e.full_name for e in explanations]
    tables = []
    places = f"{place_name(explanations[0])}es"
    captions = {
        "image": f"Below it: the share of the {found['patches']} highest {places} ({TOP_PATCHES:.0%}) that both have.",
        "words": f"Below it: the share of the {found['words']} highest words that both have.",
    }
    for part, title in ("image", "How far the maps agree"), ("words", "How far the words agree"):
        cells = [[_ITSELF] * len(names) for _ in names]
        for (i, k), pair in zip(combinations(range(len(names)), 2), found["pairs"], strict=True):
            correlation = pair[part]["spearman"]
            cells[i][k] = _UNDEFINED if correlation is None else f"{correlation:.2f}"
            overlap = pair[part]["overlap"]
            cells[k][i] = _UNDEFINED if overlap is None else f"{overlap:.2f}"
        rows = tuple((name, tuple(row)) for name, row in zip(names, cells, strict=True))
        caption = f"Above the diagonal: Spearman's rank correlation ({_UNDEFINED} where a method scores all alike). {captions[part]}"
        tables.append(Agreement(title, rows, caption))
    return tables[0], tables[1]
