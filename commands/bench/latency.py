"""The command `xai bench latency`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from xai.base.errors import BadInput, XaiError
from xai.base.files import check_folder, is_standard_output, json_bytes, write
from xai.base.messages import say
from xai.commands.completion import complete_method
from xai.commands.explain.asked import method_names
from xai.commands.finite import Finite
from xai.commands.options import model_options
from xai.models.load import ModelOptions

if TYPE_CHECKING:
    from xai.bench.latency.inputs import Inputs
    from xai.runtime.explainer import Explainer


def _batches(_: click.Context, __: click.Parameter, value: str) -> tuple[int, ...]:
    """A callback: sizes separated by commas, ascending, each once."""
    sizes = [part.strip() for part in value.split(",")]
    if not all(size.isdecimal() and int(size) > 0 for size in sizes):
        raise click.BadParameter(f"{value!r} is not one or more numbers above 0, such as 1,4,16")
    return tuple(sorted({int(size) for size in sizes}))


@click.command()
@model_options()
@click.option(
    "-m",
    "--method",
    "methods",
    multiple=True,
    metavar="NAME|all",
    shell_complete=complete_method,
    help="Method; may be repeated.  [default: dsmi-grad]",
)
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
    """Measuring how long an explanation takes, stage by stage.

    Loading and the first call are reported apart; calls to warm up do not count.
    """
    from xai.runtime.methods import check_offered, find_methods

    names = tuple(method.name for method in find_methods(method_names(methods, "first")))
    if iterations and duration:
        raise click.UsageError("name --iterations or --duration, not both")
    printed = json_file is not None and is_standard_output(json_file)
    _check_outputs(None if printed else json_file, chart)
    model.find()

    from xai.bench.latency.measure import Plan, latency_report
    from xai.bench.latency.report import latency_table
    from xai.models.load import identify

    plan = Plan(names, batches, iterations, duration or 10.0, warmup, not no_render)
    inputs = _inputs(model, images, question, max(batches))
    start = time.perf_counter()
    explainer = model.open()
    check_offered(find_methods(names), explainer.session.description)
    load_seconds = time.perf_counter() - start
    _check_pictures(explainer)
    _check_questions(explainer, inputs, question)
    identity = identify(model.model, explainer.session.name)
    report = latency_report(explainer, identity, inputs, plan, load_seconds, model.threads, say)
    click.echo(latency_table(report), err=printed)
    if operators:
        from xai.bench.latency.operators import operator_table, profile_operators

        report["operators"] = profile_operators(explainer, inputs.pairs[: batches[0]], plan.methods)
        click.echo("\n" + operator_table(report["operators"]), err=printed)
    contents = {json_file: json_bytes(report)} if json_file and not printed else {}
    if chart is not None:
        from xai.bench.latency.chart import draw_latency

        contents[chart] = draw_latency(report)
    write(contents)
    if printed:
        click.echo(json_bytes(report), nl=False)


def _check_outputs(json_file: Path | None, chart: Path | None) -> None:
    """Raises `XaiError` where a file cannot be written, or both are one."""
    for path in (json_file, chart):
        if path is not None:
            check_folder(path)
    if chart is not None and chart.suffix.lower() != ".png":
        raise BadInput(f"cannot save {chart}: its name must end with .png")
    if chart is not None and chart == json_file:
        raise BadInput(f"{chart} cannot be both the report and the chart: choose another name")


def _inputs(model: ModelOptions, images: Sequence[Path], question: str | None, count: int) -> Inputs:
    """The user's images, or generated ones of the kind that the model knows."""
    from xai.bench.latency.inputs import given, photos, scenes

    if images:
        return given(images, question, count)
    return scenes(count, question) if model.is_demo else photos(count, question)


def _check_pictures(explainer: Explainer) -> None:
    """Raises `BadInput` where the model takes boxes, of which this command has none."""
    from xai.runtime.description import Boxes

    if isinstance(explainer.session.description.picture, Boxes):
        raise BadInput(f"the latency is measured on pictures, and {explainer.session.source} takes boxes with features")


def _check_questions(explainer: Explainer, inputs: Inputs, asked: str | None) -> None:
    """Raises `XaiError` where the model cannot take a question; if it is a built-in one, with what to do."""
    try:
        for question in dict.fromkeys(question for _, question in inputs.pairs):
            explainer.check(question)
    except XaiError as error:
        if asked is not None:
            raise
        raise BadInput(f"{error}; or give a question of your own with --question") from error
