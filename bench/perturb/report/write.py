"""What a run's folder holds besides its results: `table.json`, `table.md`, `curves.png`, `report.html` and the examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xai.base.files import json_bytes, write
from xai.base.reading import Fields, read_json
from xai.bench.perturb.report.markdown import table_markdown
from xai.bench.perturb.report.scores import Scores, read_scores
from xai.bench.perturb.report.table import build_table
from xai.bench.perturb.run_folder import RunFolder
from xai.bench.perturb.seal import CHECK, seal, unseal

EXAMPLES = "examples.json"
"""Candidates for the report's best and worst examples; merging shards needs them."""
_PICTURE = "data:image/jpeg;base64,"
_BASE64 = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")


def folder_scores(folder: RunFolder) -> Scores:
    """Read what every question of a finished run scored. Raises `XaiError` where the folder is not what it must be."""
    return read_scores((question.lines for question in folder.read_questions()), folder.read_record().settings)


def write_outputs(folder: RunFolder, scores: Scores, examples: Sequence[Mapping[str, Any]]) -> None:
    """Write the table and its pictures. Raises `XaiError` where that fails."""
    from xai.bench.perturb.report.curves import draw_curves
    from xai.bench.perturb.report.html import table_page

    record = folder.read_record()
    table = build_table(scores, record.settings)
    curves = draw_curves(table)
    contents = {
        EXAMPLES: json_bytes(seal({"examples": list(examples)}), indent=1),
        "table.json": json_bytes(table, indent=1),
        "table.md": table_markdown(table).encode(),
        "curves.png": curves,
        "report.html": table_page(table, curves, examples, record.about).encode(errors="backslashreplace"),
    }
    write({folder.path / name: value for name, value in contents.items()})


def read_examples(folder: RunFolder) -> list[dict[str, Any]]:
    """Read the examples that a finished shard noted. Raises `XaiError` where they are missing or not as they were written."""
    path = folder.path / EXAMPLES
    advice = "remove it and finish the shard with --resume"
    fields = Fields(read_json(path), str(path), advice)
    fields.only("examples", CHECK)
    for number, one in enumerate(fields.items("examples", dict)):
        _check_example(Fields(one, f"{path} example {number}", advice))
    return unseal(fields)["examples"]


def _check_example(fields: Fields) -> None:
    """Raise `XaiError` where the report could not show it."""
    fields.only("index", "question_id", "image", "question", "label", "answer", "merit", "picture", "maps", "auc")
    fields.integer("index")
    fields.number("merit")
    for name in ("question_id", "image", "question", "answer"):
        fields.get(name, str)
    maps, areas = fields.inner("maps"), fields.inner("auc")
    for pictures, name in ((fields, "picture"), *((maps, name) for name in maps.content)):
        uri = pictures.get(name, str)
        if not uri.startswith(_PICTURE) or not _BASE64.issuperset(uri[len(_PICTURE) :]):
            raise pictures.refuse(name, "is not a picture")
    label = fields.inner("label")
    for answer in label.content:
        label.number(answer, 0, 1)
    for name in maps.content:
        panels = areas.inner(name)
        for panel in panels.content:
            panels.number(panel, 0, 100)
