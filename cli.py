"""The command `xai`. Parts are wired together here; `xai --help` loads none of the heavy libraries."""

from __future__ import annotations

import io
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import click

import xai
from xai import XaiError
from xai.bench.commands import merge, perturb
from xai.export.commands import export, verify
from xai.runtime.commands import answers, doctor, inspect
from xai.runtime.text import one_line

if TYPE_CHECKING:
    from xai.runtime.explanation import Explanation

DASH = "-"
"""Standard input as an image, standard output as a file."""
NAME_FIELD = "{name}"
T = TypeVar("T")


class _Group(click.Group):
    """Shows a warning as one line; shows an input that cannot be used as one line too, and exits with 1."""

    def invoke(self, ctx: click.Context) -> Any:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            try:
                return super().invoke(ctx)
            except XaiError as error:
                raise click.ClickException(one_line(str(error))) from error


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(xai.__version__, prog_name="xai")
def main() -> None:
    """See why a vision-and-language model gave its answer."""


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    if issubclass(category, UserWarning):
        click.echo(f"Warning: {one_line(str(message))}", err=True)


@main.command()
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.argument("question")
@click.option("-e", "--bundle", type=click.Path(path_type=Path), metavar="BUNDLE", help="Exported model. Default: the demo model.")
@click.option("--checkpoint", type=click.Path(path_type=Path), help="METER checkpoint (.ckpt, .pt, .safetensors), in place of a bundle.")
@click.option(
    "--tokenizer", metavar="FILE|NAME", help="tokenizer.json, its folder, or a model in the local cache.  [default: roberta-base]"
)
@click.option("--answers", type=click.Path(path_type=Path), help="Answer names: JSON list, JSON object id -> answer, or text file.")
@click.option("--image-size", type=click.IntRange(1), metavar="S", help="Side of the model's input in pixels. Default: the checkpoint's.")
@click.option("-m", "--method", "methods", multiple=True, metavar="NAME|all", help="Method; may be repeated.  [default: dsmi-grad]")
@click.option("--session", type=click.Choice(["onnx", "torchscript", "eager"]), help="What runs the model. Default: what fits the model.")
@click.option("--provider", default="cpu", show_default=True, metavar="NAME", help="ONNX Runtime's provider: cpu, cuda, ...")
@click.option("--allow-fallback", is_flag=True, help="Let ONNX Runtime take another provider than the one asked for.")
@click.option("--threads", type=click.IntRange(1), metavar="N", help="Threads of one operator.")
@click.option("--trust", is_flag=True, help="Run the bundle's TorchScript, which is code.")
@click.option("--solver-report", is_flag=True, help="Also print how each graph was solved, and how sure that is.")
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
    bundle: Path | None,
    checkpoint: Path | None,
    tokenizer: str | None,
    answers: Path | None,
    image_size: int | None,
    methods: tuple[str, ...],
    session: str | None,
    provider: str,
    allow_fallback: bool,
    threads: int | None,
    trust: bool,
    solver_report: bool,
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
    from xai.runtime.report import json_bytes, render, write

    names = _method_names(methods)
    sources = _sources(images)
    paths = _output_paths(outputs, sources)
    if json_file == "":
        raise XaiError("the name after --json is empty: name a file, or - for standard output")
    lines = Path(json_file) if json_file and json_file != DASH else None
    _check_paths(paths, lines, sources, {Path(output) for output in outputs if output.endswith("/")})
    if bundle and checkpoint:
        raise click.UsageError("name a bundle or a checkpoint, not both")
    if bundle and not bundle.is_dir():
        raise XaiError(f"{bundle} is a file; a bundle is a folder" if bundle.exists() else f"bundle {bundle} does not exist")
    explainer = xai.load(
        bundle or checkpoint,
        tokenizer=tokenizer,
        answers=answers,
        image_size=image_size,
        session=session,
        provider=provider,
        threads=threads,
        trust=trust,
        allow_fallback=allow_fallback,
    )
    explainer.check(question, target, truncate)
    failed = 0
    objects: list[dict[str, Any]] = []
    for name in _progress(sources):
        try:
            found = explainer.explain_methods(_source(name), question, names, target, layers, top_k=top_k, truncate=truncate, seed=seed)
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


@main.group()
def bench() -> None:
    """Measure what explanations are worth."""


bench.add_command(perturb)
bench.add_command(merge)


@bench.command()
@click.option(
    "--features", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="npz of real features (n, d), named KIND ..."
)
@click.option("--threads", type=click.IntRange(1), multiple=True, default=(1,), show_default=True, help="BLAS threads; may be repeated.")
@click.option("--quick", is_flag=True, help="A small run, for a look: seconds instead of many minutes.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the rows as JSON, too.")
def eigen(features: Path | None, threads: tuple[int, ...], quick: bool, json_file: Path | None) -> None:
    """Time the Fiedler solver against scipy's, with the true error beside every time."""
    from dataclasses import asdict

    from xai.bench.eigen import run_with_threads, table
    from xai.runtime.report import check_folder, json_bytes, write
    from xai.spectral.arrays import gpu_state

    if json_file is not None:
        check_folder(json_file)
    rows = [row for count in threads for row in run_with_threads(quick, features, count)]
    if gpu_state() is not None:
        click.echo(f"No GPU was measured: {gpu_state()}.", err=True)
    click.echo(table(rows))
    if json_file is not None:
        write({json_file: json_bytes([asdict(row) for row in rows], indent=1)})


@bench.command()
@click.option("--samples", type=click.IntRange(1), default=500, show_default=True, help="Questions.")
@click.option("--seed", type=click.IntRange(0), help="Seed of the scenes. Default: unseen ones.")
def pointing(samples: int, seed: int | None) -> None:
    """Play the pointing game: does each method's maximum fall into the true region of generated scenes?"""
    from xai.bench.pointing import pointing_game, pointing_table
    from xai.meter.demo.scenes import UNSEEN_SEED

    result = pointing_game(xai.load(), UNSEEN_SEED if seed is None else seed, samples, track=lambda steps: _progress(steps, "Pointing"))
    click.echo(pointing_table(result))


for _command in (export, verify, inspect, doctor, answers):
    main.add_command(_command)


def _method_names(methods: Sequence[str]) -> list[str]:
    """The methods asked for, each once; `all` stands for every one."""
    from xai.runtime.methods import METHODS, find_method

    found = [find_method(name).name for name in methods or ("dsmi-grad",) if name != "all"]
    return list(METHODS) if "all" in methods else list(dict.fromkeys(found))


def _sources(images: Sequence[str]) -> list[str]:
    """Image files, folders replaced by the images in them."""
    from xai.runtime.image import SUFFIXES

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
    from xai.runtime.report import check, check_folder, check_suffix

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
            raise XaiError(f"more than one explanation would be written to {path}: use {NAME_FIELD} in the name, or other names")
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
        click.echo(one_line(f"{first.image_name}: {first.answer.text} ({first.answer.probability:.1%}){written}"))
        for note in dict.fromkeys(note for e in explanations for note in e.notes):
            click.echo(f"Note: {note}", err=True)
    if brief and not solver_report:
        return
    from rich.console import Console

    from xai.runtime.terminal import show, show_solver

    if not brief:
        show(explanations, Console())
    if solver_report:
        show_solver(explanations, Console(width=max(Console().width, 130)))  # numbers cut off are of no use


def _progress(steps: Sequence[T], what: str = "Explaining") -> Iterator[T]:
    """The steps, behind a progress bar on standard error where a person watches several being done."""
    if len(steps) == 1 or not sys.stderr.isatty():
        yield from steps
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(steps, what, console=Console(stderr=True), transient=True)
