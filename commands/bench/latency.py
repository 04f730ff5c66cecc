"""The commands `xai bench latency` and `xai bench compare`."""

from __future__ import annotations

import time
from pathlib import Path

import click

from xai.base.errors import XaiError
from xai.commands.bench.finite import Finite
from xai.commands.options import model_options
from xai.models.load import ModelOptions

DASH = Path("-")
"""Standard output, as a file."""

REGRESSED = 3
"""Exit code of `compare` where B is slower than allowed."""


def _batches(_: click.Context, __: click.Parameter, value: str) -> tuple[int, ...]:
    """A callback: sizes separated by commas, ascending, each once."""
    sizes = [part.strip() for part in value.split(",")]
    if not all(size.isdecimal() and int(size) > 0 for size in sizes):
        raise click.BadParameter(f"{value!r} is not one or more numbers above 0, such as 1,4,16")
    return tuple(sorted({int(size) for size in sizes}))


@click.command()
@model_options()
@click.option("-m", "--method", "methods", multiple=True, metavar="NAME|all", help="Method; may be repeated.  [default: dsmi-grad]")
@click.option(
    "--batch", "batches", default="1", show_default=True, callback=_batches, metavar="N,...", help="Images and questions at once."
)
@click.option("--iterations", type=click.IntRange(1), metavar="N", help="For each batch size. Default: as many as fit into --duration.")
@click.option("--duration", type=Finite(0, min_open=True), metavar="S", help="Seconds for each batch size.  [default: 10]")
@click.option("--warmup", type=click.IntRange(0), default=10, show_default=True, metavar="N", help="Calls before those that count.")
@click.option("--image", "images", multiple=True, type=click.Path(path_type=Path), help="Image; may be repeated. Default: generated ones.")
@click.option("--question", metavar="TEXT", help="Question about every image.")
@click.option("--no-render", is_flag=True, help="Leave out the drawing of the PNG.")
@click.option("--operators", is_flag=True, help="Also profile a few calls: a table of what each kind of operator takes.")
@click.option(
    "--json",
    "json_file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE|-",
    help="Write the report, every time included.",
)
@click.option("--chart", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE.png", help="Draw the stages and the distribution.")
def latency(
    model: ModelOptions,
    methods: tuple[str, ...],
    batches: tuple[int, ...],
    iterations: int | None,
    duration: float | None,
    warmup: int,
    images: tuple[Path, ...],
    question: str | None,
    no_render: bool,
    operators: bool,
    json_file: Path | None,
    chart: Path | None,
) -> None:
    """Measure how long an explanation takes, stage by stage.

    Loading and the first call are reported apart; calls to warm up do not count.
    """
    from xai.base.files import check_folder, json_bytes, write
    from xai.bench.latency.inputs import given, photos, scenes
    from xai.bench.latency.measure import Plan, measure, table
    from xai.models.load import identify
    from xai.runtime.methods import DEFAULT_METHOD, find_methods

    if iterations and duration:
        raise click.UsageError("name --iterations or --duration, not both")
    for path in (json_file, chart):
        if path is not None:
            check_folder(path)
    if chart is not None and chart.suffix.lower() != ".png":
        raise XaiError(f"cannot save {chart}: its name must end with .png")
    if chart is not None and chart == json_file:
        raise XaiError(f"{chart} cannot be both the report and the chart: choose another name")
    names = tuple(method.name for method in find_methods(methods or DEFAULT_METHOD))
    plan = Plan(names, batches, iterations, duration or 10.0, warmup, not no_render)
    count = max(batches)
    inputs = given(images, question, count) if images else (scenes if model.is_demo else photos)(count, question)

    start = time.perf_counter()
    explainer = model.open()
    load_seconds = time.perf_counter() - start
    if question is not None:
        explainer.check(question)
    identity = identify(model.model, explainer.session.name)
    report = measure(explainer, identity, inputs, plan, load_seconds, model.threads, lambda text: click.echo(text, err=True))
    printed = json_file == DASH
    click.echo(table(report), err=printed)
    if operators:
        from xai.bench.latency import operators as profiling

        report["operators"] = profiling.profile(explainer, inputs.pairs[: batches[0]], plan.methods)
        click.echo("\n" + profiling.table(report["operators"]), err=printed)
    contents = {json_file: json_bytes(report)} if json_file and not printed else {}
    if chart is not None:
        from xai.bench.latency.chart import draw

        contents[chart] = draw(report)
    write(contents)
    if printed:
        click.echo(json_bytes(report), nl=False)


@click.command()
@click.argument("a", type=click.Path(path_type=Path), metavar="A.json")
@click.argument("b", type=click.Path(path_type=Path), metavar="B.json")
@click.option(
    "--fail-over",
    type=Finite(0),
    metavar="PERCENT",
    help=f"Exit with {REGRESSED} where a stage or the total is slower by more than this, beyond doubt.",
)
@click.pass_context
def compare(context: click.Context, a: Path, b: Path, fail_over: float | None) -> None:
    """Compare two reports of `xai bench latency --json`: how many times as long does B take?"""
    from xai.bench.latency import compare as comparing
    from xai.bench.latency.measure import LEAST, describe_run, read_report

    first, second = read_report(a), read_report(b)
    ratios = comparing.compare(first, second)
    if fail_over is not None and any(r.interval is None for r in ratios):
        raise XaiError(f"{a} or {b} has too few iterations for --fail-over to judge by: measure {LEAST} or more")
    click.echo(f"A: {describe_run(first)}")
    for line in comparing.what_differs(first, second):
        click.echo(f"  A | B differ: {line}")
    click.echo("\n" + comparing.table(ratios, fail_over))
    slower = [r for r in ratios if fail_over is not None and r.regressed(fail_over)]
    if slower:
        worst = max(slower, key=lambda r: r.ratio)
        click.echo(
            f"Error: {b} is slower than {a} by more than {fail_over:g} %: {worst.stage.replace('_', ' ')} at batch {worst.batch} "
            f"takes {worst.ratio:.2f} times as long",
            err=True,
        )
        context.exit(REGRESSED)
