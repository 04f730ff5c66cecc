"""The command `xai bench suite`."""

from __future__ import annotations

from pathlib import Path

import click

from xai.base.errors import XaiError
from xai.base.messages import say
from xai.commands.options import model_options
from xai.models.load import ModelOptions


@click.command()
@model_options(without=("model", "session", "provider", "allow_fallback"))
@click.option(
    "-o", "--output", type=click.Path(file_okay=False, path_type=Path), required=True, metavar="DIR", help="Folder for the report."
)
@click.option("--quick", is_flag=True, help="A look: fewer and shorter measurements.")
def suite(model: ModelOptions, output: Path, quick: bool) -> None:
    """Measuring everything on this machine: parity, latency, the perturbation test, the eigensolver, cold start and memory.

    Every session and precision that can be run is; what cannot is named with its reason. Writes report.json and report.md into DIR.
    """
    from xai.base.files import json_bytes, write
    from xai.bench.suite.report import markdown
    from xai.bench.suite.suite import Suite

    model.find()
    if (output / "report.json").exists():
        raise XaiError(f"{output} holds a report already: name another folder")
    report = Suite(model, output, quick, lambda text: say(f"{text} ...")).run()
    text = markdown(report)
    write({output / "report.json": json_bytes(report, indent=1), output / "report.md": text.encode()})
    click.echo(text)
    say(f"written: {output / 'report.json'}, {output / 'report.md'}")
