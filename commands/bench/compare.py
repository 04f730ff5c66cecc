"""The command `xai bench compare`."""

from __future__ import annotations

from pathlib import Path

import click

from xai.base.errors import XaiError
from xai.commands.finite import Finite

REGRESSED = 3
"""Exit code where B is slower than allowed."""


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
    from xai.bench.latency.compare import compare_reports, ratio_table, what_differs
    from xai.bench.latency.measure import FEWEST_ITERATIONS
    from xai.bench.latency.report import describe_run, read_report

    first, second = read_report(a), read_report(b)
    ratios = compare_reports(first, second)
    if fail_over is not None and any(r.interval is None for r in ratios):
        raise XaiError(f"{a} or {b} has too few iterations for --fail-over to judge by: measure {FEWEST_ITERATIONS} or more")
    click.echo(f"A: {describe_run(first)}")
    for line in what_differs(first, second):
        click.echo(f"  A | B differ: {line}")
    click.echo("\n" + ratio_table(ratios, fail_over))
    slower = [r for r in ratios if fail_over is not None and r.regressed(fail_over)]
    if slower:
        worst = max(slower, key=lambda r: r.ratio)
        click.echo(
            f"Error: {b} is slower than {a} by more than {fail_over:g} %: {worst.stage.replace('_', ' ')} at batch {worst.batch} "
            f"takes {worst.ratio:.2f} times as long",
            err=True,
        )
        context.exit(REGRESSED)
