"""The command `xai bench sanity`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from xai.base.errors import BadInput, XaiError
from xai.base.messages import say
from xai.commands.bench.counter import Counter
from xai.commands.bench.perturb import box_source
from xai.commands.options import model_options
from xai.models.load import ModelOptions

if TYPE_CHECKING:
    from xai.runtime.bundle.manifest import Bundle

KEPT = 2**28
"""Bytes of image tokens that are kept for networks with the same encoder."""


@click.command()
@model_options(without=("tokenizer", "answers", "image_size", "heads", "layer_order", "session", "trust"))
@click.option(
    "--data", default="scenes", show_default=True, metavar="scenes|easy-vqa|DIR", help="Questions, as `xai bench perturb` takes them."
)
@click.option(
    "--boxes", type=click.Path(path_type=Path), metavar="FILE|FOLDER", help="Box features of the images, for a model that takes them."
)
@click.option("--methods", default="all", show_default=True, metavar="NAMES", help="By comma; NAME@all uses all layers.")
@click.option("--samples", type=click.IntRange(1), default=32, show_default=True, metavar="N", help="Questions.")
@click.option("--seed", type=click.IntRange(0, 2**53), default=1234, show_default=True, help="Of the questions, the weights and the noise.")
@click.option(
    "-o", "--output", type=click.Path(file_okay=False, path_type=Path), required=True, metavar="DIR", help="Folder for the results."
)
@click.option("--json", "as_json", is_flag=True, help="Print sanity.json instead of sanity.md.")
def sanity(model: ModelOptions, data: str, boxes: Path | None, methods: str, samples: int, seed: int, output: Path, as_json: bool) -> None:
    """Draw the weights of a bundle anew, and see whether the explanations notice.

    Layer by layer from the answer down, and one layer at a time; then whether maps hold still under small noise, and where nothing
    changes. Needs no PyTorch. Writes sanity.json, sanity.md and sanity.png into DIR.
    """
    from xai.base.files import json_bytes, write
    from xai.bench.data.datasets import load_samples
    from xai.bench.data.sample import by_image
    from xai.bench.sanity.asking import ask, explain
    from xai.bench.sanity.chart import draw_sanity
    from xai.bench.sanity.randomise import randomise
    from xai.bench.sanity.report import markdown, sanity_report
    from xai.bench.sanity.steady import measure_steadiness
    from xai.bench.sanity.weights import check_bundle
    from xai.models.load import identify, load_bundle
    from xai.runtime.inputs.kept import KeptImages
    from xai.runtime.methods import find_methods
    from xai.runtime.sessions.onnx import OnnxSession

    bundle = load_bundle(model.find())
    check_bundle(bundle)
    explainer = model.open()
    chosen = [method.name for method in find_methods(_names(methods), explainer.session.description)]
    found = by_image(load_samples(data, samples, seed, Counter("questions made", patience=2)))
    source = box_source(explainer, data, boxes, found)
    explainer.kept = KeptImages(KEPT)

    def reopen(copy: Bundle) -> OnnxSession:
        return OnnxSession(copy, model.provider, model.threads, model.allow_fallback)

    _make(output)
    asked = ask(explainer, found, source, seed)
    originals = list(explain(explainer, asked, chosen))
    steady = measure_steadiness(explainer, asked, originals, chosen, seed, Counter("questions with noise"))
    explainer.session = reopen(bundle)  # lets go of the graphs: from here on only copies of them run
    randomised = randomise(explainer, bundle, asked, originals, chosen, seed, reopen, Counter("networks"))
    settings = {
        "model": identify(model.model, explainer.session.name),
        "session": explainer.session.name,
        "precision": explainer.session.precision,
        "provider": explainer.session.provider,
        "data": data,
        "seed": seed,
    }
    report = sanity_report(explainer.session.description, settings, asked, chosen, randomised, steady)
    text = markdown(report)
    contents = {"sanity.json": json_bytes(report, indent=1), "sanity.md": text.encode(), "sanity.png": draw_sanity(report)}
    write({output / name: content for name, content in contents.items()})
    click.echo(contents["sanity.json"] if as_json else text, nl=False)
    say(f"written: {', '.join(str(output / name) for name in contents)}")


def _names(methods: str) -> list[str]:
    names = [name.strip() for name in methods.split(",") if name.strip()]
    if not names:
        raise BadInput("--methods names no method: name some, or all")
    return names


def _make(folder: Path) -> None:
    """Make the folder for the results, before minutes go into them."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise XaiError(f"cannot make the folder {folder}: {error.strerror}") from error
