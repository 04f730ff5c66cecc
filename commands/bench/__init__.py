"""The commands of `xai bench`, one concept a file. What is heavy is imported when a command runs."""

import click

from xai.commands.table import Commands

COMMANDS = {
    "perturb": "xai.commands.bench.perturb:perturb",
    "status": "xai.commands.bench.status:status",
    "merge": "xai.commands.bench.perturb:merge",
    "pointing": "xai.commands.bench.pointing:pointing",
    "sanity": "xai.commands.bench.sanity:sanity",
    "latency": "xai.commands.bench.latency:latency",
    "compare": "xai.commands.bench.compare:compare",
    "eigen": "xai.commands.bench.eigen:eigen",
    "serve": "xai.commands.bench.serve:serve",
    "suite": "xai.commands.bench.suite:suite",
}
"""Where each command lies; only the one that runs is loaded."""


@click.group(commands=Commands(COMMANDS))
def bench() -> None:
    """Measure what explanations are worth, and what they cost."""
