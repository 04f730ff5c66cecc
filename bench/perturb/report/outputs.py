"""What a run's folder holds besides its results: `table.json`, `table.md`, `curves.png`, `report.html` and the examples."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from xai.base.errors import XaiError
from xai.base.files import json_bytes, write
from xai.bench.perturb.report.markdown import markdown
from xai.bench.perturb.report.scores import read_scores
from xai.bench.perturb.report.table import build
from xai.bench.perturb.results import RunFolder

EXAMPLES = "examples.json"
"""Candidates for the report's best and worst examples; merging shards needs them."""


def write_all(folder: RunFolder, examples: Sequence[Mapping[str, Any]]) -> None:
    """Write the table and its pictures from the folder's results. Raises `XaiError` where that fails."""
    from xai.bench.perturb.report.curves import draw
    from xai.bench.perturb.report.page import html

    content = folder.read_run()
    table = build(read_scores(folder.lines(), content["settings"]), content["settings"])
    curves = draw(table)
    contents = {
        EXAMPLES: json_bytes(list(examples), indent=1),
        "table.json": json_bytes(table, indent=1),
        "table.md": markdown(table).encode(),
        "curves.png": curves,
        "report.html": html(table, curves, examples, content["about"]).encode(errors="backslashreplace"),
    }
    write({folder.path / name: value for name, value in contents.items()})


def read_examples(folder: RunFolder) -> list[dict[str, Any]]:
    """The examples that a finished shard noted."""
    path = folder.path / EXAMPLES
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise XaiError(f"{path} cannot be read: finish the shard with --resume") from error
