"""The commands `xai export` and `xai verify`. Nothing heavy is imported before a command runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

import xai
from xai import XaiError
from xai.runtime.manifest import FORMATS, PRECISIONS

if TYPE_CHECKING:
    from xai.runtime.parity import Measure

DEMO = "demo"


@click.command()
@click.argument("source", metavar="CKPT|demo")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Folder to write.")
@click.option("--tokenizer", metavar="FILE|NAME", help="As in `xai explain`.  [default: roberta-base]")
@click.option("--answers", type=click.Path(path_type=Path), metavar="FILE", help="As in `xai explain`.")
@click.option("--image-size", type=click.IntRange(1), metavar="S", help="Side of the model's input in pixels. Default: the checkpoint's.")
@click.option("--format", "form", type=click.Choice([*FORMATS, "both"]), help="[default: what the precision exists for, onnx first]")
@click.option("--precision", type=click.Choice(PRECISIONS), default="float32", show_default=True, help="What the graphs compute in.")
@click.option("--with-maps", is_flag=True, help="Also write the graph of whole attention and gradient maps.")
@click.option("--overwrite", is_flag=True, help="Replace the bundle that is there.")
@click.option("--force", is_flag=True, help="Keep a precision whose maps are not close enough to float32's.")
def export(
    source: str,
    output: Path,
    tokenizer: str | None,
    answers: Path | None,
    image_size: int | None,
    form: str | None,
    precision: str,
    with_maps: bool,
    overwrite: bool,
    force: bool,
) -> None:
    """Turn a METER checkpoint, or the demo model, into a bundle that answers and explains without it.

    The bundle is checked before it is kept: the same questions go through the model and through every exported graph.
    """
    try:
        from xai.export.bundle import FORMATS_OF, ParityError, check_place, export_bundle
        from xai.meter.session import EagerSession
    except ModuleNotFoundError as error:
        raise XaiError(f"exporting needs {error.name}: pip install 'xai-vqa[cpu,export]'") from error

    check_place(output, overwrite)
    place = None if source == DEMO else source
    explainer = xai.load(place, tokenizer=tokenizer, answers=answers, image_size=image_size, session="eager")
    if not isinstance(explainer.session, EagerSession):
        raise XaiError(f"{source} is not a checkpoint: export from the checkpoint that it was made of")
    formats = FORMATS if form == "both" else (form or FORMATS_OF[precision][0],)
    try:
        exported = export_bundle(
            explainer.session.model,
            explainer.encoder.tokenizer,
            explainer.answers,
            output,
            formats=formats,
            precision=precision,
            with_maps=with_maps,
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


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--checkpoint", type=click.Path(path_type=Path), metavar="CKPT", help="Compare with this model instead of the stored outputs."
)
@click.option(
    "--provider", "--device", default="cpu", show_default=True, metavar="NAME", help="Where it runs: cpu, cuda, or one of ONNX Runtime's."
)
@click.option("--threads", type=click.IntRange(1), metavar="N", help="Threads of one operator.")
@click.option("--trust", is_flag=True, help="Also run the bundle's TorchScript, which is code.")
def verify(bundle: Path, checkpoint: Path | None, provider: str, threads: int | None, trust: bool) -> None:
    """Run a bundle's own questions through its graphs and compare with what float32 METER gave when it was exported."""
    from xai.runtime.manifest import PARITY, read_bundle
    from xai.runtime.parity import check, failures, load_trial, observe
    from xai.runtime.sessions import open_session

    checked = read_bundle(bundle)
    manifest = checked.manifest
    with_maps = "maps" in manifest.graphs
    formats = [name for name in manifest.formats if name != "torchscript" or trust]
    if not formats:
        raise XaiError(f"bundle {bundle} holds only TorchScript, which is code: if you trust who made it, say so with --trust")
    trial, expected = load_trial(checked.file(PARITY))
    if checkpoint is not None:
        try:
            from xai.meter.checkpoint import load_meter
            from xai.meter.session import EagerSession
        except ModuleNotFoundError as error:
            raise XaiError(f"running a checkpoint needs {error.name}: pip install 'xai-vqa[export]'") from error
        expected = observe(EagerSession(load_meter(checkpoint, manifest.model.image_size)), trial, with_maps)
    wrong = []
    for name in formats:
        session = open_session(checked, name, provider=provider, threads=threads, trust=trust)
        measures = check(session, trial, expected, with_maps)
        click.echo(parity_table(name, measures))
        wrong += [group for group in failures(measures, manifest.precision) if group not in manifest.parity.get("forced", [])]
    if wrong:
        raise XaiError(f"bundle {bundle} does not give what it should on this machine: {', '.join(dict.fromkeys(wrong))}")
    skipped = [name for name in manifest.formats if name not in formats]
    click.echo(f"{bundle}: {', '.join(formats)} verified" + (f", {skipped[0]} not run (--trust runs it)" if skipped else ""))


def parity_table(name: str, measures: Mapping[str, Measure]) -> str:
    """Lines of text: a group, its largest relative error, its smallest cosine."""
    rows = [f"{name:<36} {'error':>9} {'cosine':>9}"]
    return "\n".join(rows + [f"  {group:<34} {measure.error:9.1e} {measure.cosine:9.6f}" for group, measure in measures.items()])
