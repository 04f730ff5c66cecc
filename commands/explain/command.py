"""The command `xai explain`."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from xai.base.errors import XaiError
from xai.base.progress import track
from xai.base.wording import one_line
from xai.commands.completion import complete_file, complete_method
from xai.commands.explain.asked import Asked, method_names
from xai.commands.explain.images import find_images, image_source, split_question
from xai.commands.explain.leaving import Region, pixel_regions, word_numbers, words_mask
from xai.commands.explain.outputs import (
    check_paths,
    json_lines_path,
    log_times,
    make_folders,
    output_paths,
    print_line,
    print_solver,
    print_whole,
)
from xai.commands.options import memory_option, model_options, open_within
from xai.models.load import ModelOptions

if TYPE_CHECKING:
    from xai.runtime.explanation import Explanation


@click.command()
@click.argument("given", nargs=-1, metavar="IMAGE... QUESTION", shell_complete=complete_file)
@model_options()
@click.option(
    "-m",
    "--method",
    "methods",
    multiple=True,
    metavar="NAME|all",
    shell_complete=complete_method,
    help="Method; may be repeated.  [default: dsmi-grad]",
)
@click.option("--solver-report", is_flag=True, help="Also print how each graph was solved, and how sure that is.")
@click.option("--layers", type=click.Choice(["first", "all"]), default="first", show_default=True, help="`all` is short for NAME@all.")
@click.option("--target", metavar="ANSWER", help="Explain this answer (name or id) instead of the model's own.")
@click.option("--versus", metavar="ANSWER", help="Explain why the target, or the model's own answer, and not this one (name or id).")
@click.option("--as-published", is_flag=True, help="Explain what the figures published for the model explained.")
@click.option("--top-k", type=click.IntRange(1), default=5, show_default=True, help="Answers to list.")
@click.option("--words", is_flag=True, help="Also say what goes with each word of the picture: a map a word, `word_regions` in --json.")
@click.option(
    "--without-words",
    callback=word_numbers,
    metavar="N,N...",
    help="Answer and explain without these words of the question, by number from 0.",
)
@click.option(
    "--without-region",
    "without_regions",
    callback=pixel_regions,
    multiple=True,
    metavar="X,Y,W,H",
    help="Answer and explain without the patches that this part of the picture touches, in its pixels; may be repeated.",
)
@click.option("--truncate", is_flag=True, help="Cut a question that is longer than the model takes.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the method `random`.")
@click.option(
    "-o",
    "--output",
    "outputs",
    multiple=True,
    metavar="OUT",
    shell_complete=complete_file,
    help="Write a picture, page or file of numbers, by its suffix; may be repeated. For several images a folder/, or a name with {name}.",
)
@click.option(
    "--json",
    "json_file",
    metavar="FILE|-",
    shell_complete=complete_file,
    help="Write the JSON object here; one object a line for several images or pairs.",
)
@click.option(
    "--boxes",
    metavar="FILE|FOLDER",
    shell_complete=complete_file,
    help="For a model that looks at boxes: their features, an .npz, a .tsv of many images, or a folder of IMAGE.npz.",
)
@click.option(
    "--pairs",
    metavar="FILE",
    shell_complete=complete_file,
    help="Explain the pairs of this JSONL or CSV file (image, question, optional target, versus, id, boxes); with --json, a line each.",
)
@click.option("--resume", is_flag=True, help="With --pairs: go on with the lines that are in the --json file.")
@memory_option
@click.option("--skip-broken", is_flag=True, help="With --pairs: note pairs that cannot be explained, instead of stopping.")
def explain(
    given: tuple[str, ...],
    model: ModelOptions,
    methods: tuple[str, ...],
    layers: str,
    target: str | None,
    versus: str | None,
    as_published: bool,
    top_k: int,
    words: bool,
    without_words: tuple[int, ...],
    without_regions: tuple[Region, ...],
    truncate: bool,
    seed: int,
    boxes: str | None,
    pairs: str | None,
    resume: bool,
    skip_broken: bool,
    memory: int | None,
    **shown: Any,
) -> None:
    """Answer QUESTION about each IMAGE, and show which regions and words made the answer.

    IMAGE is a file, a folder of images, or - for standard input; for a model that looks at boxes also a file of box features.
    """
    asked = Asked(
        method_names(methods, layers), target, top_k, truncate, seed, versus, as_published, boxes, words, without_words, without_regions
    )
    if pairs is not None:
        if asked.leaves_out:
            raise click.UsageError("--without-words and --without-region are about one question: leave out --pairs")
        from xai.commands.explain.pairs import check_usage, explain_pairs

        check_usage(given, shown)
        explain_pairs(model, pairs, asked, shown["json_file"], resume, skip_broken, memory)
        return
    for option, wanted in (("--resume", resume), ("--skip-broken", skip_broken)):
        if wanted:
            raise click.UsageError(f"{option} is for --pairs")
    names, question = split_question(given)
    _explain_images(model, find_images(names), question, asked, memory, **shown)


def _explain_images(
    model: ModelOptions,
    images: Sequence[str],
    question: str,
    asked: Asked,
    memory: int | None,
    outputs: Sequence[str],
    json_file: str | None,
    solver_report: bool,
) -> None:
    """Every image with the one question. Of several, the broken ones are named and the others done."""
    paths, lines = output_paths(outputs, images), json_lines_path(json_file)
    printed = json_file is not None and lines is None
    if printed and solver_report:
        raise click.UsageError("--solver-report is printed where --json - goes: write the JSON to a file")
    check_paths(paths, lines, outputs, asked.boxes)
    model.find()

    explainer = open_within(model, memory, 1, [question], asked.passes, once=asked.graphs if len(images) == 1 else ())

    from xai.base.files import json_bytes, write
    from xai.runtime.explanation import to_json
    from xai.runtime.inputs.prepare import ahead
    from xai.runtime.show.save import render

    encoded = asked.check(explainer, question)
    words_mask(asked.without_words, encoded)  # refused once, not with every image
    one = len(images) == 1
    objects: list[bytes] = []
    images_ahead = ahead(functools.partial(asked.prepare, explainer), [image_source(name) for name in images])
    for name, image in zip(track(images, "Explaining"), images_ahead, strict=True):
        try:
            found = asked.explain(explainer, image.result(), encoded)
            content = b"" if json_file is None else json_bytes(to_json(found), indent=1 if one else None)
            contents = {path: render(found, path) for path in paths[name]}
            if lines and one:
                contents[lines] = content
            make_folders(outputs)
            write(contents)
        except XaiError as error:
            if one:
                raise
            click.echo(f"Error: {one_line(str(error))}", err=True)
            continue
        objects.append(content)
        if printed:
            click.echo(content, nl=False)
        else:
            _print(found, list(contents), brief=bool(outputs or json_file), solver_report=solver_report)
        log_times(found)
    if lines and not one:
        write({lines: b"".join(objects)})
        click.echo(f"{len(objects)} JSON lines -> {one_line(str(lines))}")
    if len(objects) < len(images):
        raise XaiError(f"{len(images) - len(objects)} of {len(images)} images could not be explained")


def _print(found: list[Explanation], written: Sequence[Path], brief: bool, solver_report: bool) -> None:
    if brief:
        print_line(found, written)
    else:
        print_whole(found)
    if solver_report:
        print_solver(found)
