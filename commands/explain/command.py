"""The command `xai explain`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from xai.base.errors import XaiError
from xai.base.messages import LOG
from xai.base.progress import track
from xai.base.wording import one_line
from xai.commands.completion import complete_file, complete_method
from xai.commands.explain.asked import Asked, method_names
from xai.commands.explain.drawing import Drawing, Drawn, Wanted
from xai.commands.explain.images import DASH, find_images, split_question
from xai.commands.explain.leaving import Region, pixel_regions, word_numbers, words_mask
from xai.commands.explain.outputs import (
    check_paths,
    json_lines_path,
    make_folders,
    output_paths,
    print_solver,
    print_summary,
    print_whole,
)
from xai.commands.explain.sharing import Workers, within
from xai.commands.options import memory_option, model_options, open_within, worker_count
from xai.models.load import ModelOptions


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
@click.option(
    "--workers",
    callback=worker_count,
    metavar="N|auto",
    help="Processes that share several images or pairs, each with --threads (default 1); auto: what the cores hold. "
    "Default: this process alone.",
)
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
    workers: Workers | None,
    memory: int | None,
    **shown: Any,
) -> None:
    """Answer QUESTION about each IMAGE, and show which regions and words made the answer.

    IMAGE is a file, a folder of images, or - for standard input; for a model that looks at boxes also a file of box features.
    """
    asked = Asked(
        method_names(methods, layers), target, top_k, truncate, seed, versus, as_published, boxes, words, without_words, without_regions
    )
    model = replace(model, lean=memory is not None)
    if pairs is not None:
        if asked.leaves_out:
            raise click.UsageError("--without-words and --without-region are about one question: leave out --pairs")
        from xai.commands.explain.pairs import check_usage, explain_pairs

        check_usage(given, shown)
        explain_pairs(model, pairs, asked, shown["json_file"], resume, skip_broken, workers, memory)
        return
    for option, wanted in (("--resume", resume), ("--skip-broken", skip_broken)):
        if wanted:
            raise click.UsageError(f"{option} is for --pairs")
    names, question = split_question(given)
    _explain_images(model, find_images(names), question, asked, workers, memory, **shown)


def _explain_images(
    model: ModelOptions,
    images: Sequence[str],
    question: str,
    asked: Asked,
    workers: Workers | None,
    memory: int | None,
    outputs: Sequence[str],
    json_file: str | None,
    solver_report: bool,
) -> None:
    """Every image with the one question. Of several, the broken ones are named and the others done."""
    paths, lines = output_paths(outputs, images), json_lines_path(json_file)
    printed, one, brief = json_file is not None and lines is None, len(images) == 1, bool(outputs or json_file)
    if printed and solver_report:
        raise click.UsageError("--solver-report is printed where --json - goes: write the JSON to a file")
    if workers is not None and DASH in images:
        raise click.UsageError("--workers shares files out: standard input is for one process")
    check_paths(paths, lines, outputs, asked.boxes)
    model.find()

    explainer = open_within(model, None if workers else memory, 1, [question], asked.passes, once=asked.graphs if one else ())
    processes = within(workers, memory, explainer, 1, [question], asked.passes, model.threads)

    from xai.base.files import write

    words_mask(asked.without_words, asked.check(explainer, question))  # refused once, not with every image
    drawing = Drawing(asked, question, json_file is not None, not one, solver_report or not brief)
    wanted = [Wanted(name, tuple(paths[name])) for name in images]
    objects: list[bytes] = []
    with closing(drawing.alone(explainer, wanted) if processes is None else drawing.shared(model, wanted, processes)) as results:
        for _, found in zip(track(images, "Explaining"), results, strict=True):
            try:
                if isinstance(found, XaiError):
                    raise found
                contents = {**found.files, lines: found.json} if lines and one else found.files
                make_folders(outputs)
                write(contents)
            except XaiError as error:
                if one:
                    raise
                click.echo(f"Error: {one_line(str(error))}", err=True)
                continue
            objects.append(found.json)
            if printed:
                click.echo(found.json, nl=False)
            else:
                _print(found, list(contents), brief, solver_report)
            LOG.info("%s", found.summary.times)
    if lines and not one:
        write({lines: b"".join(objects)})
        click.echo(f"{len(objects)} JSON lines -> {one_line(str(lines))}")
    if len(objects) < len(images):
        raise XaiError(f"{len(images) - len(objects)} of {len(images)} images could not be explained")


def _print(found: Drawn, written: Sequence[Path], brief: bool, solver_report: bool) -> None:
    if brief:
        print_summary(found.summary, written)
    else:
        print_whole(found.explanations)
    if solver_report:
        print_solver(found.explanations)
