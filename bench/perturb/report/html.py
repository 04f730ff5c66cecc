"""The table as an HTML page: sorted, drawn, and question by question.

The page holds the table and its scripts; questions, maps and pictures lie in the folder `report/` beside it and are loaded when somebody
looks at them, by elements `script` and `img`, which work from a disk too. Without scripts it shows the whole table.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from xai.bench.measures.truth import SIZES
from xai.bench.perturb.report.columns import Group, Shown, table_groups
from xai.bench.perturb.report.measures import headings, known_groups, power_sentence, remarks, table_rows
from xai.bench.perturb.report.published import published_figures
from xai.bench.perturb.report.scores import AUC_WEIGHTS
from xai.bench.perturb.report.table import verdict
from xai.bench.perturb.request import FLOOR
from xai.runtime.show.document import asset, script_json
from xai.runtime.show.scale import legend
from xai.runtime.show.theme import painting

_SCRIPTS = "load.js", "measures.js", "charts.js", "list.js", "question.js", "start.js"
"""One script, in this order, behind the explanation page's way to paint."""


def table_page(table: Mapping[str, Any], about: Mapping[str, Any], browsable: bool) -> str:
    """Write the page from `table.json`'s content and what is noted about versions and machine.

    `browsable` says whether the folder beside the page holds the run's questions.
    """
    panels = list(table["tests"])
    settings = table["settings"]
    groups = table_groups(table)
    title = f"Perturbation test: {table['questions']:,} questions of {settings['data']}"
    setup = {
        "paint": painting(),
        "floor": FLOOR,
        "browsable": browsable,
        "weights": AUC_WEIGHTS.tolist(),
        "steps": table["steps"],
        "sizes": SIZES,
        "groups": [group.content() for group in groups],
        "curves": {row["method"]: row["curves"] for row in table["methods"]},
        "published_curves": {row["method"]: row["published_curves"] for row in table["methods"] if "published_curves" in row},
    }
    return Template(_own("report.html")).substitute(
        policy=_policy(),
        title=escape(title),
        style=_style(),
        script=_script(),
        counts=f"{table['questions']:,} questions on {table['images']:,} images",
        accuracy=_mean(table["accuracy"]),
        groups=_choices(groups),
        table=_measures(groups, [row["method"] for row in table["methods"]]),
        published=_published_note(settings),
        verdicts=_verdicts(table, panels),
        notes=_notes(table),
        remarks=_remarks(table),
        legend=escape(legend("dark", "bright", "grey")),
        run=_table(("what", "value"), ((escape(name), _text(value)) for name, value in (*settings.items(), *about.items()))),
        setup=script_json(setup),
    )


@cache
def _policy() -> str:
    """Let nothing run or load but what this page is made of and what lies beside it."""
    script, style = (f"'sha256-{base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()}'" for part in (_script(), _style()))
    return (
        f"default-src 'none'; img-src 'self' file: data:; script-src 'self' file: {script}; style-src-elem {style}; "
        "style-src-attr 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    )


@cache
def _script() -> str:
    return "\n" + asset("paint.js") + "".join(map(_own, _SCRIPTS))


@cache
def _style() -> str:
    return asset("page.css") + _own("report.css")


def _own(name: str) -> str:
    return (files("xai.bench.perturb.report") / "assets" / name).read_text(encoding="utf-8")


def _choices(groups: Sequence[Group]) -> str:
    """Write a box to check for each group of columns; the first is shown at once."""
    return "".join(
        f'<label class="choice"><input type="checkbox" value="{i}"{" checked" if i == 0 else ""}> {escape(group.title)}</label>'
        for i, group in enumerate(groups)
    )


def _measures(groups: Sequence[Group], methods: Sequence[str]) -> str:
    """Write the table of all measures, a row a method."""
    columns = [(i, column) for i, group in enumerate(groups) for column in group.columns]
    spans = "".join(
        f'<th scope="colgroup" colspan="{len(g.columns)}" data-group="{i}">{escape(g.title)}</th>' for i, g in enumerate(groups)
    )
    arrows = {"higher": " ↑", "lower": " ↓", None: ""}
    heads = "".join(
        f'<th scope="col" data-group="{i}" data-better="{column.better or ""}">{escape(column.name)}{arrows[column.better]}</th>'
        for i, column in columns
    )
    rows = "".join(
        f'<tr data-method="{escape(method)}"{" class=floor" if method == FLOOR else ""}><th scope="row">{escape(method)}</th>'
        f"{''.join(_cell(i, column, method) for i, column in columns)}</tr>"
        for method in methods
    )
    return (
        '<div class="wide" tabindex="0" role="region" aria-label="Measures of every method"><table id="measures">'
        f'<thead><tr><td></td>{spans}</tr><tr><th scope="col">method</th>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _cell(group: int, column: Shown, method: str) -> str:
    value = column.values[method]
    if value["mean"] is None:
        return f'<td data-group="{group}">-</td>'
    mark = ' class="best"' if column.best == method else ""
    interval = _range(value, column.digits - 1)
    beside = f'<br><span class="quiet">{column.published[method]:.2f}</span>' if method in column.published else ""
    number = f"{value['mean']:.{column.digits}f}"
    return f'<td data-group="{group}" data-value="{value["mean"]}"><span{mark}>{number}</span>{interval}{beside}</td>'


def _published_note(settings: Mapping[str, Any]) -> str:
    figures = published_figures(settings)
    if figures is None:
        return ""
    remark = f"; {figures.remark}" if figures.remark else ""
    dotted = " Dotted curves: the same." if figures.curves else ""
    return f'<p class="quiet">Small numbers beneath ours: published for {escape(figures.what + remark)}.{dotted}</p>'


def _verdicts(table: Mapping[str, Any], panels: Sequence[str]) -> str:
    if len(table["methods"]) == 1:
        return "<p>There is one method, and nothing to compare it with.</p>"
    items = []
    for panel in panels:
        found = verdict(table, panel)
        tied = f"not told apart from {', '.join(found.tied)}" if found.tied else "ahead of every other"
        floor = f"not shown to beat {FLOOR}: {', '.join(found.no_better)}" if found.no_better else f"all beat {FLOOR}"
        items.append(f"<li>{escape(panel)}: <b>{escape(found.best)}</b> is best, {escape(tied)}; {escape(floor)}.</li>")
    return f"<ul>{''.join(items)}</ul>"


def _notes(table: Mapping[str, Any]) -> str:
    """Write what the columns of the further measures do not hold: what a star means, power, and measures that are of no method."""
    found = []
    for measure in table.get("measures", {}).values():
        said = [*remarks(measure), *(f"{name}: {power_sentence(power)}" for name, power in measure["power"].items() if power)]
        lone = ""
        if len(measure["rows"]) != len(table["methods"]):
            lone = "".join(
                _table(headings(measure, group), ([escape(cell) for cell in row] for row in table_rows(measure, group)))
                for group in known_groups(measure)
            )
        if said or lone:
            found.append(f'<h3>{escape(measure["title"])}</h3>{lone}<p class="quiet">{"<br>".join(map(escape, said))}</p>')
    return "".join(found)


def _remarks(table: Mapping[str, Any]) -> str:
    notes = [
        f"The true region is known of {table['regions']:,} questions.",
        f"{table['skipped']:,} questions could not be used.",
        f"{table['unknown_labels']:,} questions have no true answer that the model can give: they score 0.",
    ]
    if table["solver"]:
        counted = ", ".join(f"{name} ({count:,})" for name, count in table["solver"].items())
        notes.append(f"Graphs without a simple solution: {counted}.")
    return f'<p class="quiet">{"<br>".join(map(escape, notes))}</p>'


def _mean(value: Mapping[str, float | None]) -> str:
    return "-" if value["mean"] is None else f"{value['mean']:.2f} %{_range(value, 1)}"


def _range(value: Mapping[str, float | None], digits: int) -> str:
    if value["low"] is None:
        return ""
    return f' <span class="interval">[{value["low"]:.{digits}f}, {value["high"]:.{digits}f}]</span>'


def _text(value: Any) -> str:
    return escape(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Cells are HTML already."""
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table class="settings"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
