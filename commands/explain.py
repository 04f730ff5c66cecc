"""The command `xai explain`."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from xai.base.errors import XaiError
from xai.base.progress import track
from xai.base.text import one_line, percent
from xai.commands.options import model_options
from xai.models.load import ModelOptions

if TYPE_CHECKING:
    from xai.runtime.explanation import Explanation

DASH = "-"
"""Standard input as an image, standard output as a file."""
NAME_FIELD = "{name}"


@click.command()
@click.argument("images", nargs=-1, metavar="IMAGE...")
@click.argument("question")
@model_options()
@click.option("-m", "--method", "methods", multiple=True, metavar="NAME|all", help="Method; may be repeated.  [default: dsmi-grad]")
@click.option("--solver-report", is_flag=True, help="Also print how each graph was solved, and how sure that is.")
@click.option(
    "--layers", type=click.Choice(["first", "all"]), help="Layers of the weighted spectral methods.  [default: as published for the model]"
)
@click.option("--target", metavar="ANSWER", help="Explain this answer (name or id) instead of the model's own.")
@click.option("--top-k", type=click.IntRange(1), default=5, show_default=True, help="Answers to list.")
@click.option("--truncate", is_flag=True, help="Cut a question that is longer than the model takes.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the method `random`.")
@click.option(
    "-o",
    "--output",
    "outputs",
    multiple=True,
    metavar="OUT",
    help="Write .png, .html, .json or .npz; may be repeated. For several images a folder/, or a name with {name}.",
)
@click.option("--json", "json_file", metavar="FILE|-", help="Write the JSON object here; one object a line for several images.")
def explain(
    images: tuple[str, ...],
    question: str,
    model: ModelOptions,
    methods: tuple[str, ...],
    solver_report: bool,
    layers: str | None,
    target: str | None,
    top_k: int,
    truncate: bool,
    seed: int,
    outputs: tuple[str, ...],
    json_file: str | None,
) -> None:
    """Answer QUESTION about each IMAGE, and show which regions and words made the answer.

    IMAGE is a file, a folder of images, or - for standard input.
    """
    from xai.base.files import json_bytes, write
    from xai.runtime.explanation import to_json
    from xai.runtime.inputs.prepare import ahead
    from xai.runtime.methods import method_names
    from xai.runtime.show.save import render

    if not images:
        raise click.UsageError(f"only {question!r} is given: name an image, or several, and then the question")
    names = method_names(methods)
    sources = _sources(images)
    paths = _output_paths(outputs, sources)
    if json_file == "":
        raise XaiError("the name after --json is empty: name a file, or - for standard output")
    lines = Path(json_file) if json_file and json_file != DASH else None
    _check_paths(paths, lines, sources, {Path(output) for output in outputs if output.endswith("/")})
    explainer = model.open()
    explainer.check(question, target, truncate)
    failed = 0
    objects: list[dict[str, Any]] = []
    images_ahead = ahead(lambda name: explainer.prepare(_source(name)), sources)
    for name, image in zip(track(sources, "Explaining"), images_ahead, strict=True):
        try:
            found = explainer.explain_methods(image.result(), question, names, target, layers, top_k=top_k, truncate=truncate, seed=seed)
            objects.append(to_json(found))
            contents = {path: render(found, path) for path in paths[name]}
            if lines and len(sources) == 1:
                contents[lines] = json_bytes(objects[0], indent=1)
            _make_folders(outputs)
            write(contents)
        except XaiError as error:
            if len(sources) == 1:
                raise
            click.echo(f"Error: {one_line(str(error))}", err=True)
            failed += 1
            continue
        if json_file != DASH:
            _print(found, paths[name], brief=bool(outputs or json_file), solver_report=solver_report)
    if json_file == DASH:
        click.echo(b"".join(json_bytes(o, indent=1 if len(sources) == 1 else None) for o in objects), nl=False)
    elif lines and len(sources) > 1:
        write({lines: b"".join(map(json_bytes, objects))})
    if failed:
        raise XaiError(f"{failed} of {len(sources)} images could not be explained")


def _sources(images: Sequence[str]) -> list[str]:
    """Image files, folders replaced by the images in them."""
    from xai.runtime.inputs.image import SUFFIXES

    found: list[str] = []
    for name in dict.fromkeys(images):
        folder = Path(name)
        if name == DASH or not os.path.isdir(name):  # noqa: PTH112 - Path.is_dir fails on a name that is too long
            found.append(name)
            continue
        inside = sorted(str(file) for file in folder.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file())
        if not inside:
            raise XaiError(f"folder {name} holds no image ({', '.join(SUFFIXES)})")
        found += inside
    return found


def _source(name: str) -> str | BinaryIO:
    """What to open: the file of that name, or all of standard input."""
    if name != DASH:
        return name
    content = io.BytesIO(sys.stdin.buffer.read())
    content.name = "standard input"
    return content


def _output_paths(outputs: Sequence[str], sources: Sequence[str]) -> dict[str, list[Path]]:
    """Where each image's explanation goes."""
    paths: dict[str, list[Path]] = {}
    for source in sources:
        stem = "stdin" if source == DASH else Path(source).stem
        paths[source] = []
        for output in dict.fromkeys(outputs):
            if not output:
                raise XaiError("an output name is empty: name a file or a folder/")
            folder = _is_folder(output)
            paths[source].append(Path(output) / f"{stem}.png" if folder else Path(output.replace(NAME_FIELD, stem)))
    return paths


def _is_folder(output: str) -> bool:
    return output.endswith("/") or os.path.isdir(output)  # noqa: PTH112 - see `_sources`


def _check_paths(paths: Mapping[str, Sequence[Path]], lines: Path | None, sources: Sequence[str], new_folders: set[Path]) -> None:
    """Refuse, before any work, what cannot be written, what two would be written to, and what is read."""
    from xai.base.files import check_folder
    from xai.runtime.show.save import check, check_suffix

    every = [path for found in paths.values() for path in found]
    for path in every:
        check_suffix(path)
        if path.parent.is_dir() or path.parent not in new_folders:
            check(path)
    if lines:
        check_folder(lines)
        every.append(lines)
    read = {Path(source).resolve() for source in sources if source != DASH}
    written: set[Path] = set()
    for path in every:
        place = path.resolve()
        if place in read:
            raise XaiError(f"{path} is one of the images: choose another name")
        if place in written:
            same = [source for source, found in paths.items() if path in found]
            alike = len(same) > 1 and Path(same[0]).stem == Path(same[1]).stem
            way = f"{same[0]} and {same[1]} have one name, explain them apart" if alike else f"use {NAME_FIELD} in the name, or other names"
            raise XaiError(f"more than one explanation would be written to {path}: {way}")
        written.add(place)


def _make_folders(outputs: Sequence[str]) -> None:
    for output in outputs:
        if output.endswith("/"):
            try:
                Path(output).mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise XaiError(f"cannot make folder {output}: {error.strerror}") from error


def _print(explanations: list[Explanation], paths: Sequence[Path], brief: bool, solver_report: bool) -> None:
    if brief:
        first = explanations[0]
        written = "".join(f" -> {path}" for path in paths)
        click.echo(one_line(f"{first.image_name}: {first.answer.text} ({percent(first.answer.probability)}){written}"))
        noted: dict[str, list[str]] = {}
        for explanation in explanations:
            for note in explanation.notes:
                noted.setdefault(note, []).append(explanation.method)
        for note, methods in noted.items():
            whose = f"{', '.join(methods)}: " if len(methods) < len(explanations) else ""
            click.echo(f"Note: {whose}{note}", err=True)
    if brief and not solver_report:
        return
    from rich.console import Console

    from xai.runtime.show.terminal import show, show_solver

    if not brief:
        show(explanations, Console())
    if solver_report:
        show_solver(explanations, Console(width=max(Console().width, 130)))  # numbers cut off are of no use
