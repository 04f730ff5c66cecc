"""The command `xai bench pointing`."""

from __future__ import annotations

import click

from xai.commands.options import model_options
from xai.models.load import ModelOptions


@click.command()
@model_options()
@click.option("--samples", type=click.IntRange(1), default=500, show_default=True, help="Questions.")
@click.option("--seed", type=click.IntRange(0), help="Seed of the scenes. Default: unseen ones.")
def pointing(model: ModelOptions, samples: int, seed: int | None) -> None:
    """Play the pointing game: does each method's maximum fall into the true region of generated scenes?"""
    from xai.base.progress import track
    from xai.bench.data.scenes import UNSEEN_SEED
    from xai.bench.measures.pointing import pointing_game, pointing_table

    result = pointing_game(model.open(), UNSEEN_SEED if seed is None else seed, samples, track=lambda steps: track(steps, "Pointing"))
    click.echo(pointing_table(result))
