"""What a run's folder holds besides its results: `table.json`, `table.md`, `curves.png`, `report.html` and what that loads."""

from __future__ import annotations

from typing import NamedTuple

from xai.base.errors import XaiError
from xai.base.files import json_bytes, write
from xai.bench.perturb.report.markdown import table_markdown
from xai.bench.perturb.report.pages import Pages
from xai.bench.perturb.report.scores import Scores, read_scores
from xai.bench.perturb.report.table import build_table
from xai.bench.perturb.run_folder import RunFolder


class Results(NamedTuple):
    """What a finished run's questions scored, and what the page says of each."""

    scores: Scores
    pages: Pages


def read_results(folder: RunFolder) -> Results:
    """Read a finished run, question by question. Raises `XaiError` where the folder is not what it must be."""
    pages = Pages(folder.shown)
    return Results(read_scores(pages.pass_on(folder.read_questions()), folder.read_record().settings), pages)


def write_outputs(folder: RunFolder, results: Results) -> None:
    """Write the table, its pictures and its page. Raises `XaiError` where that fails."""
    from xai.bench.perturb.report.curves import draw_curves
    from xai.bench.perturb.report.html import table_page

    record = folder.read_record()
    table = build_table(results.scores, record.settings)
    pages = results.pages.files(results.scores)
    contents = {
        "table.json": json_bytes(table, indent=1),
        "table.md": table_markdown(table).encode(),
        "curves.png": draw_curves(table),
        "report.html": table_page(table, record.about, browsable=bool(pages)).encode(errors="backslashreplace"),
    }
    try:
        for name in pages:
            (folder.shown / name).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise XaiError(f"cannot write {folder.shown}: {error.strerror}") from error
    write({folder.path / name: value for name, value in contents.items()} | {folder.shown / name: value for name, value in pages.items()})
