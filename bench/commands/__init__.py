"""The commands of `xai bench`, one concept a file. What is heavy is imported when a command runs."""

import click

from xai.bench.commands.eigen import eigen
from xai.bench.commands.latency import compare, latency
from xai.bench.commands.perturb import merge, perturb
from xai.bench.commands.pointing import pointing


@click.group()
def bench() -> None:
    """Measure what explanations are worth, and what they cost."""


for _command in (perturb, merge, pointing, latency, compare, eigen):
    bench.add_command(_command)
