"""The command `xai inspect`."""

from __future__ import annotations

from collections.abc import Mapping

import click

from xai.base.wording import one_line
from xai.commands.options import model_argument
from xai.models.load import find_model, load_bundle
from xai.runtime.bundle.manifest import TensorSpec
from xai.runtime.description import Aspect, Boxes, Square

SAID_BY = {
    "checkpoint": "as the checkpoint says",
    "option": "as whoever exported it said",
    "published": "assumed: as many as the published METER of this width has",
}


def describe_picture(picture: Square | Aspect | Boxes) -> str:
    """How a model takes a picture, for a person."""
    match picture:
        case Square(size=size, grid=grid):
            return f"image {size} x {size} px, {grid} x {grid} patches"
        case Aspect(shorter=shorter, longer=longer, patch=patch):
            return f"image of {shorter} px, at most {longer} the other way, in patches of {patch} px"
        case Boxes(width=width):
            return f"boxes with {width} features"


@click.command()
@model_argument("demo|BUNDLE")
def inspect(model: str) -> None:
    """Check the files of a bundle and say what is in it. Runs nothing."""
    manifest = load_bundle(find_model(model)).manifest

    def describe(tensors: Mapping[str, TensorSpec]) -> str:
        shown = [f"{name} {spec.dtype}[{', '.join(map(str, spec.axes))}]" for name, spec in list(tensors.items())[:5]]
        return ", ".join(shown) + (f" and {len(tensors) - 5} more" if len(tensors) > 5 else "")

    sizes, heads = manifest.model, manifest.heads
    click.echo(f"{model}: {manifest.precision}, {' and '.join(manifest.formats)}" + (f", opset {manifest.opset}" if manifest.opset else ""))
    click.echo(f"{sizes.family}: {describe_picture(sizes.picture)}; up to {sizes.max_text_tokens} text tokens")
    layers = ", ".join(f"{len(stream.layers)} of {stream.name}" for stream in sizes.streams)
    click.echo(f"{len(sizes.sites)} attentions, layers with features: {layers}; {sizes.answers} answers")
    click.echo(f"{heads.cross_modal} cross-modal attention heads, {SAID_BY[heads.said_by]}")
    click.echo("\nGraphs")
    for name, graph in manifest.graphs.items():
        click.echo(f"  {name}\n    in   {describe(graph.inputs)}\n    out  {describe(graph.outputs)}")
    click.echo("\nFiles, all as the manifest describes them")
    for name, record in manifest.files.items():
        click.echo(f"  {name:<20} {record.bytes / 1e6:10.2f} MB  {record.sha256[:16]}")
    click.echo("\nParity with the float32 model when it was exported (largest relative error, smallest cosine)")
    for name, groups in manifest.parity.get("formats", {}).items():
        for kind in ("logits", "evidence", "relevance"):
            measures = [measure for group, measure in groups.items() if group.partition(" ")[0] == kind]
            if not measures:
                continue
            error, cosine = max(m["error"] for m in measures), min(m["cosine"] for m in measures)
            click.echo(f"  {name:<12} {kind:<10} {error:9.1e} {cosine:9.6f}")
    if forced := manifest.parity.get("forced"):
        click.echo(f"  kept by --force although not close enough: {', '.join(map(one_line, forced))}")
    click.echo("\nWritten by " + ", ".join(one_line(f"{name} {version}") for name, version in manifest.written_by.items()))
