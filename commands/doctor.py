"""The command `xai doctor`."""

from __future__ import annotations

import click

from xai.base.errors import XaiError


@click.command()
def doctor() -> None:
    """Say what is installed and what it can run on. Exits with 1 where something cannot work."""
    from xai.commands.diagnosis import examine

    found = examine()
    for name, value in found.facts:
        click.echo(f"{name:<18} {value}")
    if found.problems:
        raise XaiError("; ".join(found.problems))
    click.echo("No problem found.")
