"""`table.json` -> `table.md`: this run beside the published layout, and how to read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xai.bench.perturb.report.estimates import Verdict
from xai.bench.perturb.report.measures import (
    headings,
    known_groups,
    measure_verdicts,
    power_sentence,
    remarks,
    subsets_sentence,
    table_rows,
)
from xai.bench.perturb.report.published import published_figures
from xai.bench.perturb.report.table import verdict
from xai.bench.perturb.request import FLOOR
from xai.bench.tables import plain


def table_markdown(table: Mapping[str, Any]) -> str:
    """Write `table.md`: the published layout, this run's numbers with intervals beside the published ones, and how to read them."""
    panels = list(table["tests"])
    settings = table["settings"]
    parts = [
        f"Perturbation test: AUC of the accuracy over the removed fraction, in percent, with 95 % intervals "
        f"({table['questions']:,} questions on {table['images']:,} images of {settings['data']}, seed {settings['seed']}; "
        f"accuracy with nothing removed {_cell(table['accuracy'])}).",
        *_main(table, panels),
        *_verdicts(table, panels),
        "Further measures: area between the negative and the positive curve; AUC with exact rounding; AUC of the original answer's "
        f"probability; pointing game and energy inside the true region ({table['regions']:,} questions with one), in percent.",
        _further(table, panels),
    ]
    parts += _remarks(table)
    for measure in table.get("measures", {}).values():
        parts += _measure(measure)
    if "subsets" in table:
        parts.append(subsets_sentence(table["subsets"]))
    return "\n\n".join(parts) + "\n"


def _main(table: Mapping[str, Any], panels: Sequence[str]) -> list[str]:
    """The areas, beside them the published ones where there are any, and what these are of."""
    heads = [f"{panel} {'↓' if panel.endswith('+') else '↑'}" for panel in panels]
    figures = published_figures(table["settings"])
    if figures is None:
        return [plain(["method", *heads], ([r["method"], *(_cell(r["auc"][p]) for p in panels)] for r in table["methods"]))]
    remark = f" {figures.remark[:1].upper()}{figures.remark[1:]}." if figures.remark else ""
    return [
        plain(
            ["method", *(text for head in heads for text in (head, "published"))],
            ([r["method"], *(cell for p in panels for cell in (_cell(r["auc"][p]), _published_cell(r, p)))] for r in table["methods"]),
        ),
        f"Published: {figures.what}, another model on other questions unless this run used them.{remark}",
    ]


def _verdicts(table: Mapping[str, Any], panels: Sequence[str]) -> list[str]:
    if len(table["methods"]) == 1:
        return []
    return [
        "What the paired tests say (sign flips over images, Holm over all pairs of a column, 5 %):",
        "\n".join(f"- {panel}: {_sentence(verdict(table, panel))}{power_sentence(table['power'][panel])}" for panel in panels),
    ]


def _measure(table: Mapping[str, Any]) -> list[str]:
    """One further measure: its title, its table, and what its tests say."""
    verdicts = measure_verdicts(table)
    groups = known_groups(table)
    parts = [f"{table['title']}{'.' if groups else ': known of no question.'}"]
    parts += [plain(headings(table, group), table_rows(table, group)) for group in groups]
    parts += remarks(table) if groups else []
    if verdicts:
        said = [f"- {name}: {_sentence(found)}{power_sentence(table['power'][name])}" for name, found in verdicts.items()]
        parts += ["Paired tests (sign flips over images, Holm over all pairs of a table, 5 %):", "\n".join(said)]
    return parts


def _further(table: Mapping[str, Any], panels: Sequence[str]) -> str:
    modalities = list(table["methods"][0]["area_between"])
    heads = ["method", *(f"{m}: between" for m in modalities), *(f"{p} exact" for p in panels), *(f"{p} probability" for p in panels)]
    rows = [
        [
            r["method"],
            *(_cell(r["area_between"][m]) for m in modalities),
            *(_plain(r["exact_rounding"][p]) for p in panels),
            *(_plain(r["probability"][p]) for p in panels),
            _cell(r["pointing"]),
            _cell(r["energy"]),
        ]
        for r in table["methods"]
    ]
    return plain([*heads, "pointing", "energy"], rows)


def _remarks(table: Mapping[str, Any]) -> list[str]:
    found = []
    if table["skipped"]:
        found.append(f"{table['skipped']:,} questions could not be used and are left out.")
    if table["unknown_labels"]:
        found.append(f"{table['unknown_labels']:,} questions have no true answer that the model can give: they score 0.")
    if table["solver"]:
        counted = ", ".join(f"{name} ({count:,})" for name, count in table["solver"].items())
        found.append(f"Graphs without a simple solution, by method: {counted}.")
    return found


def _sentence(found: Verdict) -> str:
    text = f"{found.best} is best" + (f", not told apart from {', '.join(found.tied)}" if found.tied else ", ahead of every other method")
    if found.best == FLOOR:
        return f"{text}: no method is shown to beat it."
    return f"{text}. Not shown to beat {FLOOR}: {', '.join(found.no_better) if found.no_better else 'none'}."


def _cell(value: Mapping[str, float | None]) -> str:
    if value["mean"] is None:
        return "-"
    return f"{value['mean']:.2f}" + (f" [{value['low']:.1f}, {value['high']:.1f}]" if value["low"] is not None else "")


def _published_cell(row: Mapping[str, Any], panel: str) -> str:
    return f"{row['published'][panel]:.2f}" if row["published"] else "-"


def _plain(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
