"""The command `xai bench serve`."""

from __future__ import annotations

from pathlib import Path

import click

from xai.commands.finite import Finite
from xai.commands.options import MODEL_METAVAR


@click.command()
@click.argument("target", metavar=f"URL|{MODEL_METAVAR}")
@click.option(
    "--seconds",
    type=Finite(0.1, 3600),
    default=20.0,
    show_default=True,
    metavar="S",
    help="Of each load: ten of a URL, fifteen of a model.",
)
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Also write the numbers here.")
def serve(target: str, seconds: float, json_file: Path | None) -> None:
    """Load a server: 1 to 16 clients, then rates of half to one and a half times what it can do.

    Of a model, a server is started on this machine, and one that does not batch before it, to compare with. A URL names a server that
    runs; what it serves must be able to answer questions about pictures of coloured shapes.
    """
    from xai.base.files import check_folder, json_bytes, write
    from xai.bench.serve.measure import run
    from xai.bench.serve.report import markdown

    if json_file:
        check_folder(json_file)
    report = run(target, seconds, lambda text: click.echo(f"{text} ...", err=True))
    if json_file:
        write({json_file: json_bytes(report, indent=1)})
    click.echo(markdown(report))
