"""The commands `xai answers ...`."""

from __future__ import annotations

from pathlib import Path

import click


@click.group()
def answers() -> None:
    """Lists of answer names."""


@answers.command()
@click.argument("annotations", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="TRAIN.json VAL.json")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, metavar="FILE", help="JSON list to write.")
@click.option("--min-count", type=click.IntRange(1), default=9, show_default=True, help="Keep answers that are seen this often.")
def build(annotations: tuple[Path, ...], output: Path, min_count: int) -> None:
    """Rebuild the answer list of VQAv2 from its annotation files, in the order given (train, then val)."""
    from xai.base.files import json_bytes, write
    from xai.bench.data.vqa_answers import build_answers

    names = build_answers(annotations, min_count)
    write({output: json_bytes(names)})
    click.echo(f"{output}: {len(names)} answers")
