"""The report of `xai bench suite` -> `report.md`, and the machines of docs/performance.md from the reports of named ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from xai.base.errors import XaiError
from xai.base.reading import read_json
from xai.bench.latency.measure import REPORTED_STAGES
from xai.bench.suite.suite import SCHEMA_VERSION
from xai.bench.tables import aligned

SECTION_BEGIN, SECTION_END = "<!-- performance: begin -->", "<!-- performance: end -->"
"""Around the section of docs/performance.md that is generated."""

SuiteReport = Mapping[str, Any]


def markdown(report: SuiteReport) -> str:
    """Write `report.md`: every part of the report, with what was not run and why."""
    model = report["model"]
    kind = "A quick look, too short for numbers to rely on" if report["quick"] else "Whole run"
    parts = [
        f"# {model['name']} on {report['machine']['cpu']}",
        f"{kind}, {report['date']}, xai {report['xai']}, {report['seconds'] / 60:.1f} minutes. Each row is of a process of its own.",
        aligned(["what", "value"], _machine(report), words=2),
        f"Model: {model['name']} (sha256 {model['sha256'][:16]}), {model['image_size']} px, {model['patches']} patches, "
        f"{model['layers']} pairs of cross-modal layers, {model['answers']} answers.",
        "## Latency",
        "Milliseconds of one image and one question, median; `one` is dsmi-grad, `all` all nine methods at once. `model` is what the "
        "published procedure does, too (encoder, fusion, gradients, spectral method), and the ratio is to it in this run. `one` "
        "ends with the PNG, `all` without it. Peak memory is that of the row's process.",
        aligned(LATENCY_HEADS, latency_rows(report), words=3),
        reference_line(report),
        "Where the time goes (ms, median; batch 1):",
        aligned(["session", "precision", "methods", *REPORTED_STAGES, "total", "p99"], list(_stage_rows(report)), words=3),
        *_batches(report),
        "## Parity with eager float32",
        "Largest error relative to the largest value, and smallest cosine of a relevance map. A bundle of less than float32 is kept only "
        "where every relevance's cosine is 0.999 or more, unless forced.",
        aligned(["session", "precision", "logits", "evidence", "relevance", "cosine", "verdict"], list(_parity_rows(report)), words=2),
        "## Perturbation test",
        "Seconds per question of the whole table, eight methods by four tests.",
        aligned(["session", "precision", "questions", "s per question", "peak MB"], list(_perturbation_rows(report)), words=2),
        "## Cold start",
        "A whole process of `xai explain`, from the shell until the PNG is there.",
        aligned(["session", "precision", "processes", "median s"], list(_cold_rows(report)), words=2),
        "## Eigensolver",
        _eigensolver(report["eigensolver"]),
    ]
    return "\n\n".join(parts) + "\n"


LATENCY_HEADS = [
    "session",
    "precision",
    "provider",
    "load s",
    "first call",
    "one: total",
    "one: model",
    "x published",
    "all: total",
    "peak MB",
]


def latency_rows(report: SuiteReport) -> list[list[str]]:
    """Give the rows under `LATENCY_HEADS`."""
    rows = []
    for row in report["latency"]:
        where = [row["session"], row["precision"], row["provider"]]
        if "not_run" in row:
            rows.append([*where, *[""] * 6, f"not run: {row['not_run']}"])
            continue
        one, every = row["one"][0], row["all"][0]
        times = f"{row['times_reference']:.1f}" if "times_reference" in row else "-"
        numbers = (one["first_call_ms"]["total"], one["total"]["p50"], row["model_ms_one"])
        rows.append(
            [*where, f"{row['load_seconds']:.2f}", *map(_ms, numbers), times, _ms(every["total"]["p50"]), f"{row['peak_memory_mb']:.0f}"]
        )
    return rows


def reference_line(report: SuiteReport) -> str:
    """Say what the ratio is to."""
    found = report["reference"]
    if "not_run" in found:
        return f"Published procedure: not run: {found['not_run']}."
    return (
        f"Published procedure: {_ms(found['total']['p50'])} ms (median of {found['iterations']}, {_ms(found['total']['min'])} at best), "
        f"peak {found['peak_memory_mb']:.0f} MB, freed memory being kept for it as for ours."
    )


def _machine(report: SuiteReport) -> list[list[str]]:
    machine = report["machine"]
    rows = [[name, str(machine[name])] for name in ("cpu", "cores", "gpu", "system", "python")]
    rows.insert(2, ["memory", f"{machine['memory_gb']} GB"])
    threads = report["threads"] or "each library's choice"
    return [*rows, ["threads", str(threads)], *([name, version] for name, version in machine["versions"].items())]


def _stage_rows(report: SuiteReport) -> Iterable[list[str]]:
    for row in report["latency"]:
        for methods in ("one", "all") if "not_run" not in row else ():
            batch = row[methods][0]
            stages = [_ms(batch["stages"][stage]["p50"]) for stage in REPORTED_STAGES]
            yield [f"{row['session']}", row["precision"], methods, *stages, _ms(batch["total"]["p50"]), _ms(batch["total"]["p99"])]


def _batches(report: SuiteReport) -> list[str]:
    rows = [
        [
            row["session"],
            row["precision"],
            methods,
            str(batch["batch"]),
            f"not run: {batch['not_run']}" if "not_run" in batch else f"{batch['throughput']:.2f}",
        ]
        for row in report["latency"]
        if "not_run" not in row
        for methods in ("one", "all")
        for batch in row[methods]
    ]
    return ["Explanations per second:", aligned(["session", "precision", "methods", "batch", "per second"], rows, words=3)]


def _parity_rows(report: SuiteReport) -> Iterable[list[str]]:
    for row in report["parity"]:
        where = [row["session"], row["precision"]]
        if "not_run" in row:
            yield [*where, "", "", "", "", f"not run: {row['not_run']}"]
            continue
        errors = [
            max(error for name, (error, _) in row["groups"].items() if name.split()[0] == kind)
            for kind in ("logits", "evidence", "relevance")
        ]
        cosine = min(cosine for name, (_, cosine) in row["groups"].items() if name.startswith("relevance"))
        verdict = f"fails in {len(row['failed'])} of {len(row['groups'])} groups" if row["failed"] else "passes"
        yield [*where, *(f"{error:.1e}" for error in errors), f"{cosine:.6f}", verdict]


def _perturbation_rows(report: SuiteReport) -> Iterable[list[str]]:
    for row in report["perturbation"]:
        where = [row["session"], row["precision"]]
        if "not_run" in row:
            yield [*where, "", f"not run: {row['not_run']}", ""]
        else:
            yield [*where, str(row["questions"]), f"{row['seconds_per_question']:.3f}", f"{row['peak_memory_mb']:.0f}"]


def _cold_rows(report: SuiteReport) -> Iterable[list[str]]:
    for row in report["cold_start"]:
        where = [row["session"], row["precision"]]
        if "not_run" in row:
            yield [*where, "", f"not run: {row['not_run']}"]
        else:
            yield [*where, str(row["processes"]), f"{row['median_seconds']:.2f}"]


def _eigensolver(found: Mapping[str, Any]) -> str:
    if "not_run" in found:
        return f"Not run: {found['not_run']}."
    heads = ["problem", "n", "graphs", "threads", "method", "CPU ms", "wall ms", "x eigs", "worst sine"]
    rows = [
        [
            *(str(r[key]) for key in ("problem", "nodes", "batch", "threads", "method")),
            *(f"{r[key]:.3g}" for key in ("cpu_ms", "wall_ms", "times_eigs", "sine")),
        ]
        for r in found["rows"]
    ]
    return aligned(heads, rows)


def _ms(milliseconds: float) -> str:
    return f"{milliseconds:.0f}" if milliseconds >= 1000 else f"{milliseconds:.1f}"


def read_reports(folder: Path) -> dict[str, SuiteReport]:
    """Read `NAME/report.json` of every machine, in order of their names. Raises `XaiError` where one cannot be read."""
    found: dict[str, SuiteReport] = {}
    for path in sorted(folder.glob("*/report.json")):
        content = read_json(path)
        if not isinstance(content, dict) or (content.get("kind"), content.get("schema_version")) != ("suite", SCHEMA_VERSION):
            raise XaiError(f"{path} is not a report of `xai bench suite`, or one of another version")
        found[path.parent.name] = content
    return found


def performance(reports: Mapping[str, SuiteReport]) -> str:
    """Write that section: for every machine its latencies, and what else a reader wants to know first."""
    if not reports:
        return "No report of a named machine is there yet: `xai bench suite -o DIR` makes one of yours."
    parts = []
    for name, report in reports.items():
        machine, model = report["machine"], report["model"]
        parts.append(
            f"**{name}**: {machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB; GPU {machine['gpu']}. "
            f"Model {model['name']}, {model['image_size']} px; {report['date']}, xai {report['xai']}. The whole report: "
            f"[`benchmarks/results/{name}/report.md`](../benchmarks/results/{name}/report.md)."
        )
        parts.append(aligned(LATENCY_HEADS, latency_rows(report), words=3))
        parts.append(" ".join([reference_line(report), *_sentences(report)]))
    note = (
        "Milliseconds, medians, one image and one question; `one` is dsmi-grad up to its PNG, `all` all nine methods at once, without a "
        "picture, `model` the part that the published procedure has as well (no decoding, no drawing), and `x published` how many times as "
        "fast as that procedure this part is, in the same run."
    )
    return "\n\n".join([note, *parts])


def _sentences(report: SuiteReport) -> list[str]:
    found = []
    refused = [f"{row['session']} {row['precision']}" for row in report["parity"] if row.get("failed")]
    if refused:
        found.append(f"Too far from float32, so that `xai export` refuses it without --force: {', '.join(refused)}.")
    for row in report["perturbation"]:
        if "not_run" not in row:
            found.append(f"Perturbation table by {row['session']} {row['precision']}: {row['seconds_per_question']:.2f} s per question.")
    for row in report["cold_start"]:
        if "not_run" not in row:
            found.append(f"`xai explain` from the shell to a PNG by {row['session']}: {row['median_seconds']:.1f} s.")
    return found


def with_section(page: str, section: str, marks: tuple[str, str] = (SECTION_BEGIN, SECTION_END)) -> str:
    """Replace the text of a page between the two marks. Raises `XaiError` where it does not have both, once each."""
    begin, end = marks
    if page.count(begin) != 1 or page.count(end) != 1 or page.index(begin) > page.index(end):
        raise XaiError(f"the page needs {begin} and {end}, once each and in this order")
    head, _, rest = page.partition(begin)
    return f"{head}{begin}\n\n{section}\n\n{end}{rest.partition(end)[2]}"
