"""Draw the scenes of the folder `examples`: `python -m xai.meter.demo.training.draw examples`."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from xai.bench.data.scenes import generate_scene

EXAMPLES = {"scene1.png": (77, 18), "scene2.png": (77, 10), "scene3.png": (77, 20)}
"""File names and the seeds of their scenes; no training scene has such a seed."""
SIDE = 480


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
def draw(folder: Path) -> None:
    """Write the example scenes into FOLDER."""
    for name, seed in EXAMPLES.items():
        generate_scene(np.random.default_rng(seed)).draw(SIDE).save(folder / name, optimize=True)


if __name__ == "__main__":
    draw()
