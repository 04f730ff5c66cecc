"""The command `xai bench eigen`."""

from __future__ import annotations

from pathlib import Path

import click

from xai.base.arguments import MAX_THREADS
from xai.base.messages import is_quiet, say


@click.command()
@click.option(
    "--features", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="npz of real features (n, d), named KIND ..."
)
@click.option(
    "--threads", type=click.IntRange(1, MAX_THREADS), multiple=True, default=(1,), show_default=True, help="BLAS threads; may be repeated."
)
@click.option("--quick", is_flag=True, help="A small run, for a look: seconds instead of many minutes.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the rows as JSON, too.")
def eigen(features: Path | None, threads: tuple[int, ...], quick: bool, json_file: Path | None) -> None:
    """Time the Fiedler solver against scipy's, with the true error beside every time."""
    from dataclasses import asdict

    from xai.base.files import check_folder, json_bytes, write
    from xai.bench.solver.measure import run_with_threads
    from xai.bench.solver.rows import solver_table
    from xai.spectral.arrays import gpu_state

    if json_file is not None:
        check_folder(json_file)
    heard = str if is_quiet() else say  # in another process, which does not know what this one was told
    rows = [row for count in threads for row in run_with_threads(quick, features, count, heard)]
    if gpu_state() is not None:
        say(f"No GPU was measured: {gpu_state()}.")
    click.echo(solver_table(rows))
    if json_file is not None:
        write({json_file: json_bytes([asdict(row) for row in rows], indent=1)})
