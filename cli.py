"""The command `xai`. Parts are wired together here; `xai --help` loads none of the heavy libraries."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import xai
from xai import XaiError

if TYPE_CHECKING:
    from xai.runtime.explanation import Explanation

STDIN = "-"
NAME_FIELD = "{name}"


class _Group(click.Group):
    """Shows a warning as one line; shows an input that cannot be used as one line too, and exits with 1."""

    def invoke(self, ctx: click.Context) -> Any:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            try:
                return super().invoke(ctx)
            except XaiError as error:
                raise click.ClickException(str(error)) from error


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(xai.__version__, prog_name="xai")
def main() -> None:
    """See why a vision-and-language model gave its answer."""


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    if issubclass(category, UserWarning):
        click.echo(f"Warning: {message}", err=True)


@main.command()
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.argument("question")
@click.option("--checkpoint", type=click.Path(path_type=Path), help="METER checkpoint (.ckpt, .pt, .safetensors). Default: the demo model.")
@click.option(
    "--tokenizer", metavar="FILE|NAME", help="tokenizer.json, its folder, or a model in the local cache.  [default: roberta-base]"
)
@click.option("--answers", type=click.Path(path_type=Path), help="Answer names: JSON list, JSON object id -> answer, or text file.")
@click.option("--image-size", type=click.IntRange(1), metavar="S", help="Side of the model's input in pixels. Default: the checkpoint's.")
@click.option("-m", "--method", "methods", multiple=True, metavar="NAME|all", help="Method; may be repeated.  [default: dsmi-grad]")
@click.option(
    "--layers", type=click.Choice(["first", "all"]), default="first", show_default=True, help="Layers of the weighted spectral methods."
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
    checkpoint: Path | None,
    tokenizer: str | None,
    answers: Path | None,
    image_size: int | None,
    methods: tuple[str, ...],
    layers: str,
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
    from xai.runtime.explanation import to_json
    from xai.runtime.report import check_folder

    names = _method_names(methods)
    sources = list(_sources(images))
    targets = _output_paths(outputs, sources)
    if json_file and json_file != STDIN:
        check_folder(Path(json_file))
    explainer = xai.load(checkpoint, tokenizer=tokenizer, answers=answers, image_size=image_size)
    failed = 0
    objects: list[dict[str, Any]] = []
    for name in _progress(sources):
        source: str | bytes = sys.stdin.buffer.read() if name == STDIN else name
        try:
            found = explainer.explain_methods(source, question, names, target, layers, top_k=top_k, truncate=truncate, seed=seed)
            _write(found, targets[name])
        except XaiError as error:
            if len(sources) == 1:
                raise
            click.echo(f"Error: {error}", err=True)
            failed += 1
            continue
        objects.append(to_json(found))
        if json_file != STDIN:
            _print(found, targets[name], brief=bool(outputs or json_file))
    if json_file and objects:
        _write_json(objects, json_file, lines=len(sources) > 1)
    if failed:
        raise XaiError(f"{failed} of {len(sources)} images could not be explained")


def _method_names(methods: Sequence[str]) -> list[str]:
    """The methods asked for, each once; `all` stands for every one."""
    from xai.runtime.methods import METHODS, find_method

    if "all" in methods:
        return list(METHODS)
    return list(dict.fromkeys(find_method(name).name for name in methods or ("dsmi-grad",)))


def _sources(images: Sequence[str]) -> Iterator[str]:
    """Image files, folders replaced by the images in them."""
    from xai.runtime.image import SUFFIXES

    for name in dict.fromkeys(images):
        folder = Path(name)
        if name == STDIN or not folder.is_dir():
            yield name
            continue
        found = sorted(str(file) for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)
        if not found:
            raise XaiError(f"folder {name} holds no image ({', '.join(SUFFIXES)})")
        yield from found


def _output_paths(outputs: Sequence[str], sources: Sequence[str]) -> dict[str, list[Path]]:
    """Where each image's explanation goes. Raises `XaiError` where two would go to the same file."""
    from xai.runtime.report import check

    paths: dict[str, list[Path]] = {}
    for source in sources:
        stem = "stdin" if source == STDIN else Path(source).stem
        paths[source] = []
        for output in outputs:
            folder = output.endswith("/") or Path(output).is_dir()
            paths[source].append(Path(output) / f"{stem}.png" if folder else Path(output.replace(NAME_FIELD, stem)))
            if output.endswith("/"):
                _make_folder(Path(output))
            check(paths[source][-1])
    every = [path for found in paths.values() for path in found]
    if double := [path for path in every if every.count(path) > 1]:
        raise XaiError(f"more than one explanation would be written to {double[0]}: name a folder/, or use {NAME_FIELD} in the name")
    return paths


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise XaiError(f"cannot make folder {path}: {error.strerror}") from error


def _write(explanations: list[Explanation], paths: Sequence[Path]) -> None:
    from xai.runtime.report import save

    for path in paths:
        save(explanations, path)


def _write_json(objects: list[dict[str, Any]], file: str, lines: bool) -> None:
    from xai.runtime.report import write

    text = "\n".join(json.dumps(o, ensure_ascii=False, indent=None if lines else 1) for o in objects) + "\n"
    if file == STDIN:
        click.echo(text, nl=False)
    else:
        write(Path(file), text.encode())


def _print(explanations: list[Explanation], paths: Sequence[Path], brief: bool) -> None:
    from rich.console import Console

    from xai.runtime.terminal import show

    if not brief:
        show(explanations, Console())
        return
    first = explanations[0]
    written = "".join(f" -> {path}" for path in paths)
    click.echo(f"{first.image_name}: {first.answer.text} ({first.answer.probability:.1%}){written}")
    for note in dict.fromkeys(note for e in explanations for note in e.notes):
        click.echo(f"Note: {note}", err=True)


def _progress(sources: Sequence[str]) -> Iterator[str]:
    """The sources, behind a progress bar on standard error where a person watches several being done."""
    if len(sources) == 1 or not sys.stderr.isatty():
        yield from sources
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(sources, "Explaining", console=Console(stderr=True), transient=True)
