"""How a parity certificate is printed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xai.runtime.parity import Measure


def parity_table(name: str, measures: Mapping[str, Measure]) -> str:
    """Lines of text: a group, its largest relative error, its smallest cosine."""
    rows = [f"{name:<36} {'error':>9} {'cosine':>9}"]
    return "\n".join(rows + [f"  {group:<34} {measure.error:9.1e} {measure.cosine:9.6f}" for group, measure in measures.items()])
