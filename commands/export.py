"""The command `xai export`."""

from __future__ import annotations

from pathlib import Path

import click

from xai.base.errors import XaiError
from xai.commands.options import checkpoint_options, model_argument
from xai.models.load import load
from xai.runtime.bundle.manifest import FORMATS, FORMATS_OF, PRECISIONS


@click.command()
@model_argument("demo|CHECKPOINT|FOLDER")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Folder to write.")
@checkpoint_options
@click.option("--format", "form", type=click.Choice([*FORMATS, "both"]), help="[default: what the precision exists for, onnx first]")
@click.option("--precision", type=click.Choice(PRECISIONS), default="float32", show_default=True, help="What the graphs compute in.")
@click.option("--with-maps", is_flag=True, help="Also write the graph of whole attention and gradient maps.")
@click.option(
    "--lrp", is_flag=True, help="Also write the graph of layer-wise relevance propagation (LXMERT): minutes, and 9 GB at full size."
)
@click.option("--overwrite", is_flag=True, help="Replace the bundle that is there.")
@click.option("--force", is_flag=True, help="Keep a precision whose maps are not close enough to float32's.")
def export(
    model: str,
    output: Path,
    tokenizer: str | None,
    answers: Path | None,
    image_size: int | None,
    heads: int | None,
    layer_order: str | None,
    form: str | None,
    precision: str,
    with_maps: bool,
    lrp: bool,
    overwrite: bool,
    force: bool,
) -> None:
    """Turn a METER checkpoint, a folder of a ViLT or LXMERT as transformers saves it, or the demo model, into a bundle that answers and
    explains without it.

    The bundle is checked before it is kept: the same questions go through the model and through every exported graph.
    """
    try:
        from xai.export.bundle import ParityError, export_bundle
        from xai.export.folder import check_place
        from xai.models.eager import EagerSession
        from xai.runtime.bundle.parity import parity_table
    except ModuleNotFoundError as error:
        raise XaiError(f"exporting needs {error.name}: pip install 'xai-vqa[cpu,export]'") from error

    check_place(output, overwrite)
    explainer = load(
        model, tokenizer=tokenizer, answers=answers, image_size=image_size, heads=heads, layer_order=layer_order, session="eager"
    )
    if not isinstance(explainer.session, EagerSession):
        raise XaiError(f"{model} is not a checkpoint: export from the checkpoint that it was made of")
    formats = FORMATS if form == "both" else (form or FORMATS_OF[precision][0],)
    try:
        exported = export_bundle(
            explainer.session.family,
            explainer.encoder.tokenizer,
            explainer.answers,
            output,
            formats=formats,
            precision=precision,
            with_maps=with_maps,
            lrp=lrp,
            overwrite=overwrite,
            force=force,
            progress=lambda step: click.echo(f"{step} ...", err=True),
        )
    except ParityError as error:
        for name, measures in error.parity.items():
            click.echo(parity_table(name, measures), err=True)
        raise
    for name, measures in exported.parity.items():
        click.echo(parity_table(name, measures))
    for name, record in exported.bundle.manifest.files.items():
        click.echo(f"{name:<20} {record.bytes / 1e6:10.2f} MB")
    for name, seconds in exported.seconds.items():
        click.echo(f"{name:<20} {seconds:10.1f} s")
    click.echo(f"written: {output}")
