"""The table as one HTML page that needs nothing else: numbers, curves, examples, and how it was run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from xai.base.uri import data_uri
from xai.bench.perturb.report.examples import select_examples
from xai.bench.perturb.report.measures import headings, known_groups, power_sentence, remarks, table_rows
from xai.bench.perturb.report.published import published_figures
from xai.bench.perturb.report.table import verdict
from xai.runtime.show.scale import legend

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c1c1c; background: #fff; max-width: 1080px; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2.2rem }
.wide { overflow-x: auto } table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .3rem .7rem; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap }
th:first-child, td:first-child { text-align: left } .floor td { color: #666; border-top: 2px solid #bbb }
.small, .interval { color: #666; font-size: .85em } .best { font-weight: 650 }
img { max-width: 100% } .example { border-top: 1px solid #ddd; padding: .8rem 0 }
.maps { display: flex; flex-wrap: wrap; gap: .7rem } figure { margin: 0; width: 164px } figcaption { font-size: .72rem; line-height: 1.3 }
figcaption span { display: inline-block; width: 50%; white-space: nowrap }
.settings th, .settings td { white-space: normal; overflow-wrap: anywhere; text-align: left }
.settings td:first-child { white-space: nowrap }
.further { font-size: .8em } .further th { white-space: normal } .further th, .further td { padding: .3rem .4rem }
.further .interval { display: block }
"""


def table_page(table: Mapping[str, Any], curves: bytes, examples: Sequence[Mapping[str, Any]], about: Mapping[str, Any]) -> str:
    """Write the page from `table.json`'s content, the curves' PNG, examples and what is noted about versions and machine."""
    panels = list(table["tests"])
    settings = table["settings"]
    best, worst = select_examples(examples)
    title = f"Perturbation test: {table['questions']:,} questions of {settings['data']}"
    return "\n".join(
        [
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>',
            '<meta name="viewport" content="width=device-width">',
            f"<style>{_STYLE}</style><h1>{escape(title)}</h1>",
            "<p>Tokens are removed in order of relevance and the model answers again. Shown is the area under the accuracy over the "
            "removed fraction, in percent, with 95 % intervals over images. Removing the most relevant first (+) should cost "
            f"much: lower is better. Removing the least relevant first (-) should cost little: higher is better. With nothing removed "
            f"the model scores {_mean(table['accuracy'])}.</p>",
            _main(table, panels),
            _published_note(settings),
            _verdicts(table, panels),
            f'<h2>Curves</h2>{_published_curves(table)}<img alt="Accuracy against removed fraction" src="{data_uri("image/png", curves)}">',
            "<h2>Further measures</h2>",
            _further(table),
            _remarks(table),
            *map(_measure, table.get("measures", {}).values()),
            "<h2>Best explained</h2>",
            '<p class="small">Beneath each map the areas of this question alone. Mean gain: its minus tests less its plus tests. '
            f"{escape(legend('dark', 'bright', 'grey'))}</p>",
            "\n".join(map(_example, best)) or "<p>None.</p>",
            "<h2>Worst explained</h2>",
            "\n".join(map(_example, worst)) or "<p>None.</p>",
            "<h2>How it was run</h2>",
            _table(("what", "value"), ((name, _text(value)) for name, value in (*settings.items(), *about.items())), "settings"),
            "</html>\n",
        ]
    )


def _main(table: Mapping[str, Any], panels: Sequence[str]) -> str:
    best = {panel: verdict(table, panel).best for panel in panels}

    def cell(row: Mapping[str, Any], panel: str) -> str:
        value, published = row["auc"][panel], (row["published"] or {}).get(panel)
        mark = ' class="best"' if best[panel] == row["method"] else ""
        beside = f'<br><span class="small">{published:.2f}</span>' if published is not None else ""
        return f"<span{mark}>{value['mean']:.2f}</span> {_range(value)}{beside}"

    heads = ("method", *(f"{panel} {'↓' if panel.endswith('+') else '↑'}" for panel in panels))
    return _table(heads, ((escape(row["method"]), *(cell(row, panel) for panel in panels)) for row in table["methods"]), "main")


def _published_note(settings: Mapping[str, Any]) -> str:
    figures = published_figures(settings)
    if figures is None:
        return ""
    remark = f"; {figures.remark}" if figures.remark else ""
    return f'<p class="small">Small numbers: published for {escape(figures.what + remark)}.</p>'


def _published_curves(table: Mapping[str, Any]) -> str:
    """What dotted lines are, where there are any."""
    if not any("published_curves" in row for row in table["methods"]):
        return ""
    figures = published_figures(table["settings"])
    assert figures is not None
    return f'<p class="small">Dotted: published for {escape(figures.what)}.</p>'


def _verdicts(table: Mapping[str, Any], panels: Sequence[str]) -> str:
    if len(table["methods"]) == 1:
        return ""
    items = []
    for panel in panels:
        found = verdict(table, panel)
        tied = f"not told apart from {', '.join(found.tied)}" if found.tied else "ahead of every other"
        floor = f"not shown to beat random: {', '.join(found.no_better)}" if found.no_better else "all beat random"
        items.append(f"<li>{escape(panel)}: <b>{escape(found.best)}</b> is best, {escape(tied)}; {escape(floor)}.</li>")
    return f"<h2>What the paired tests say</h2><ul>{''.join(items)}</ul>"


def _further(table: Mapping[str, Any]) -> str:
    modalities = list(table["methods"][0]["area_between"])
    panels = list(table["tests"])
    heads = ["method", *(f"{m}: area between" for m in modalities), *(f"{p} probability" for p in panels), "pointing", "energy"]
    rows = (
        [
            escape(row["method"]),
            *(_mean(row["area_between"][m]) for m in modalities),
            *(f"{row['probability'][p]:.2f}" for p in panels),
            _mean(row["pointing"]),
            _mean(row["energy"]),
        ]
        for row in table["methods"]
    )
    return _table(heads, rows, "further")


def _measure(table: Mapping[str, Any]) -> str:
    """One further measure as `table.md` has it."""
    said = [f"{name}: {power_sentence(power)}" for name, power in table["power"].items() if power]
    notes = "<br>".join(map(escape, [*remarks(table), *said]))
    tables = "".join(
        _table(headings(table, group), ([escape(cell) for cell in row] for row in table_rows(table, group)), "further")
        for group in known_groups(table)
    )
    return f'<h3>{escape(table["title"])}</h3>{tables}<p class="small">{notes}</p>'


def _remarks(table: Mapping[str, Any]) -> str:
    notes = [
        f"Pointing game and energy: {table['regions']:,} questions whose true region is known.",
        f"{table['skipped']:,} questions could not be used.",
        f"{table['unknown_labels']:,} questions have no true answer that the model can give: they score 0.",
    ]
    notes += [f"{name}: {count:,} graphs." for name, count in table["solver"].items()]
    return f'<p class="small">{"<br>".join(map(escape, notes))}</p>'


def _example(example: Mapping[str, Any]) -> str:
    wanted = ", ".join(f"{answer} ({score:g})" for answer, score in example["label"].items())
    figures = [f'<figure><img alt="" src="{escape(example["picture"])}"><figcaption>{escape(example["image"])}</figcaption></figure>']
    for name, uri in example["maps"].items():
        numbers = "".join(f"<span>{escape(panel)} {value:g}</span>" for panel, value in example["auc"][name].items())
        figures.append(f'<figure><img alt="" src="{escape(uri)}"><figcaption><b>{escape(name)}</b><br>{numbers}</figcaption></figure>')
    return (
        f'<div class="example"><p><b>{escape(example["question"])}</b> {escape(example["answer"])} '
        f'<span class="small">true: {escape(wanted)}; question {escape(example["question_id"])}, '
        f'mean gain {example["merit"]:.1f}</span></p><div class="maps">{"".join(figures)}</div></div>'
    )


def _mean(value: Mapping[str, float | None]) -> str:
    return "-" if value["mean"] is None else f"{value['mean']:.2f} {_range(value)}"


def _range(value: Mapping[str, float | None]) -> str:
    return "" if value["low"] is None else f'<span class="interval">[{value["low"]:.1f}, {value["high"]:.1f}]</span>'


def _text(value: Any) -> str:
    return escape(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]], name: str) -> str:
    """Cells are HTML already."""
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table class="{name}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
