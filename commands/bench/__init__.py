"""The commands of `xai bench`, one concept a file. What is heavy is imported when a command runs."""

import click

from xai.commands.bench.compare import compare
from xai.commands.bench.eigen import eigen
from xai.commands.bench.latency import latency
from xai.commands.bench.perturb import merge, perturb
from xai.commands.bench.pointing import pointing
from xai.commands.bench.sanity import sanity
from xai.commands.bench.serve import serve
from xai.commands.bench.status import status
from xai.commands.bench.suite import suite


@click.group()
def bench() -> None:
    """Measuring what explanations are worth, and what they cost."""


for _command in (perturb, status, merge, pointing, sanity, latency, compare, eigen, serve, suite):
    bench.add_command(_command)
