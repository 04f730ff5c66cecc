"""The commands `xai bench perturb` and `xai bench merge`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from xai.base.errors import BadInput, XaiError
from xai.base.messages import LOG, say
from xai.commands.bench.counter import Counter
from xai.commands.bench.crew import CrewOptions, crew_options
from xai.commands.options import memory_option, model_options
from xai.models.load import ModelOptions

if TYPE_CHECKING:
    from xai.bench.data.boxes import BoxSource
    from xai.bench.data.sample import Sample
    from xai.bench.perturb.request import Request
    from xai.bench.perturb.run_folder import RunFolder
    from xai.runtime.explainer import Explainer


def _names(text: str) -> tuple[str, ...]:
    """Names separated by commas."""
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def _some(*choices: str) -> Callable[[click.Context, click.Parameter, str], tuple[str, ...]]:
    """A callback: some of `choices`, separated by commas, in their order."""

    def chosen(_: click.Context, __: click.Parameter, value: str) -> tuple[str, ...]:
        names = _names(value)
        if not names or not set(names) <= set(choices):
            raise click.BadParameter(f"{value!r} is not one or more of {', '.join(choices)}")
        return tuple(choice for choice in choices if choice in names)

    return chosen


def _shard(_: click.Context, __: click.Parameter, value: str) -> tuple[int, int]:
    """A callback: `i/n` is part i of n, counted from 1."""
    i, _slash, n = value.partition("/")
    if not (i.isdecimal() and n.isdecimal() and 1 <= int(i) <= int(n)):
        raise click.BadParameter(f"{value!r} is not i/n with 1 <= i <= n")
    return int(i), int(n)


@click.command()
@model_options(reference=True)
@click.option(
    "--data",
    default="scenes",
    show_default=True,
    metavar="scenes|easy-vqa|DIR",
    help="Questions; DIR is as docs/perturbation.md says.",
)
@click.option(
    "--boxes",
    type=click.Path(path_type=Path),
    metavar="FILE|FOLDER",
    help="Box features of the images, for a model that takes them: a TSV, or a folder of IMAGE.npz.",
)
@click.option("--methods", default="all", show_default=True, metavar="NAMES", help="By comma; NAME@all uses all layers. `random` is added.")
@click.option(
    "--measures",
    default="published",
    show_default=True,
    metavar="NAMES",
    help="By comma: synergy, saco, contrast, prior, truth, or all. `published` is always measured.",
)
@click.option("--modality", callback=_some("image", "text"), default="image,text", show_default=True, help="What is removed.")
@click.option(
    "--sign", callback=_some("positive", "negative"), default="positive,negative", show_default=True, help="Which tokens go first."
)
@click.option("--as-published", is_flag=True, help="Explain what the model's published figures explained: of some, the sum of all scores.")
@click.option("--samples", type=click.IntRange(1), metavar="N", help="The first N questions. Default: all, or 1000 scenes.")
@click.option(
    "--seed", type=click.IntRange(0, 2**53), default=1234, show_default=True, help="Order of the questions; which scenes; `random`."
)
@click.option(
    "--batch", type=click.IntRange(1, 100_000), metavar="N", help="Questions run together. Default: what fills a run, 32 at most."
)
@memory_option
@crew_options
@click.option(
    "--browse",
    type=click.IntRange(0),
    default=10_000,
    show_default=True,
    metavar="N",
    help="Questions that the report shows one by one, from the first; it holds their pictures and maps.",
)
@click.option("--skip-broken", is_flag=True, help="Leave out, and count, questions that cannot be used, instead of stopping.")
@click.option("--resume", is_flag=True, help="Go on with the run in the output folder.")
@click.option("--shard", callback=_shard, default="1/1", metavar="i/n", help="Run part i of n; join the folders with `xai bench merge`.")
@click.option(
    "--cross-check",
    type=click.IntRange(1),
    metavar="N",
    help="Compare N questions with the published procedure; a bundle needs --reference, too.",
)
@click.option(
    "-o", "--output", type=click.Path(file_okay=False, path_type=Path), required=True, metavar="DIR", help="Folder for the results."
)
@click.option("--json", "as_json", is_flag=True, help="Print table.json instead of table.md.")
def perturb(
    model: ModelOptions,
    reference: ModelOptions | None,
    data: str,
    boxes: Path | None,
    methods: str,
    measures: str,
    modality: tuple[str, ...],
    sign: tuple[str, ...],
    as_published: bool,
    samples: int | None,
    seed: int,
    batch: int,
    memory: int | None,
    browse: int,
    crew: CrewOptions,
    skip_broken: bool,
    resume: bool,
    shard: tuple[int, int],
    cross_check: int | None,
    output: Path,
    as_json: bool,
) -> None:
    """Remove image patches and words in order of relevance, and measure how long the answer lasts.

    Writes results.jsonl, table.json, table.md, curves.png and report.html into DIR.
    """
    from xai.bench.data.datasets import load_samples
    from xai.bench.data.sample import by_image
    from xai.bench.measures.table import check_measures, find_measures
    from xai.bench.perturb.request import Request, table_methods
    from xai.runtime.methods import check_offered
    from xai.runtime.sessions.memory import session_memory, usual_tokens
    from xai.runtime.target import check_published

    if reference and not cross_check:
        raise click.UsageError("--reference is for --cross-check N, which compares with it")
    chosen = table_methods(_names(methods))
    measured = find_measures(_names(measures))
    found = by_image(load_samples(data, samples, seed, Counter("questions made", patience=2)))
    model = replace(crew.model(model), lean=True)
    explainer = model.open()
    check_offered(chosen, explainer.session.description)
    check_measures(measured, explainer.session.description.answers)
    if as_published:
        check_published(chosen, explainer.session.description, (), ())
    source = box_source(explainer, data, boxes, found)
    compared = _reference(explainer, model, reference) if cross_check else None
    allowed = session_memory(explainer.session)
    questions = batch or allowed.questions(usual_tokens(explainer.session.description))
    crew = crew.within(explainer, memory, found, questions)
    request = Request(chosen, allowed, questions, modality, sign, seed, source, as_published, measured, browse)
    folder = _measure(model, explainer, found, request, data, shard, output, resume, skip_broken, crew)
    if compared is not None:
        _cross_check(explainer, compared, found[:cross_check], request, folder)
    _print(folder, as_json)


def box_source(explainer: Explainer, data: str, boxes: Path | None, samples: Sequence[Sample]) -> BoxSource | None:
    """Where the images' box features lie. Raises `BadInput` where the model takes none, or needs them and the data has none."""
    from xai.bench.data.boxes import BoxSource
    from xai.bench.data.datasets import DATASETS
    from xai.runtime.description import Boxes

    if boxes is None:
        if isinstance(explainer.session.description.picture, Boxes) and data in DATASETS:
            raise BadInput(f"{explainer.session.source} takes boxes with features, and --data {data} has none: name them with --boxes")
        return None
    if not isinstance(explainer.session.description.picture, Boxes):
        raise BadInput(f"--boxes is for a model that takes boxes with features: {explainer.session.source} takes pixels")
    source = BoxSource(boxes)
    source.check(sample.image for sample in samples)
    return source


def _measure(
    model: ModelOptions,
    explainer: Explainer,
    samples: Sequence[Sample],
    request: Request,
    data: str,
    shard: tuple[int, int],
    output: Path,
    resume: bool,
    skip_broken: bool,
    crew: CrewOptions,
) -> RunFolder:
    """Run a shard in its folder, which no other process may write to meanwhile, and make of its results what the folder holds."""
    from xai.bench.data.datasets import DATASETS
    from xai.bench.perturb.report.write import read_results, write_outputs
    from xai.bench.perturb.request import cut_into_chunks, describe_machine, describe_request, join_chunks, shard_chunks
    from xai.bench.perturb.run import Measuring, run_shard
    from xai.bench.perturb.run_folder import RunFolder, RunRecord
    from xai.models.load import identify
    from xai.workers.state import board_of, summarise
    from xai.workers.supervise import Supervisor

    chunks = shard_chunks(cut_into_chunks([sample.image for sample in samples], request.chunk), shard)
    if not chunks:
        raise BadInput(f"shard {shard[0]} of {shard[1]} holds no question: split the run into fewer shards")
    settings = describe_request(explainer, identify(model.model, explainer.session.name), data, samples, request)
    record = RunRecord(settings, shard, join_chunks(chunks), describe_machine())
    folder = RunFolder(output)
    try:
        with folder.writing(record, resume), board_of(folder.state, record.count, Counter("questions")) as board:
            if settings["unknown_labels"]:
                LOG.warning("%s questions have no true answer that the model can give: they score 0", settings["unknown_labels"])
            start = time.perf_counter()
            needs = tuple(path for path in (None if data in DATASETS else Path(data), request.boxes and request.boxes.path) if path)
            workers = crew.crew(model, explainer, Measuring(request, skip_broken), len(chunks), needs)
            count = run_shard(Supervisor(workers, samples, board).measure, chunks, folder, record, board.progress)
            seconds = time.perf_counter() - start
            results = read_results(folder)
            if count:
                say(f"{count} questions in {seconds:.1f} s ({seconds / count:.3f} s each); {summarise(board.state)}")
            write_outputs(folder, results)
    except KeyboardInterrupt as error:
        raise XaiError(f"stopped; what is done lies in {output}: go on with the same command and --resume") from error
    return folder


@click.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(file_okay=False, path_type=Path), metavar="DIR...")
@click.option("-o", "--output", type=click.Path(file_okay=False, path_type=Path), required=True, metavar="DIR", help="Folder to make.")
@click.option("--json", "as_json", is_flag=True, help="Print table.json instead of table.md.")
def merge(folders: tuple[Path, ...], output: Path, as_json: bool) -> None:
    """Join the finished shards of `xai bench perturb --shard i/n` into the run that they are parts of."""
    from xai.bench.perturb.report.write import read_results, write_outputs
    from xai.bench.perturb.run_folder import RunFolder, merging

    with merging(folders, output) as joined:
        write_outputs(joined, read_results(joined))
    _print(RunFolder(output), as_json)


def _reference(explainer: Explainer, model: ModelOptions, reference: ModelOptions | None) -> Explainer:
    """What runs the published procedure: the same model in eager PyTorch."""
    from xai.bench.perturb.crosscheck import check_reference

    if reference is not None:
        found = reference.open()
    elif explainer.session.name == "eager":
        found = explainer
    elif model.is_demo:
        found = replace(model, session="eager").open()
    else:
        raise XaiError("--cross-check runs the published procedure, which a bundle cannot: add --reference CHECKPOINT")
    check_reference(explainer, found)
    return found


def _cross_check(explainer: Explainer, reference: Explainer, found: Sequence[Sample], request: Request, folder: RunFolder) -> None:
    from xai.bench.perturb.crosscheck import cross_check, write_report

    checked = cross_check(explainer, reference, found, request)
    write_report(checked, folder.path / "cross_check.json")
    click.echo(checked.summary(), err=True)


def _print(folder: RunFolder, as_json: bool) -> None:
    click.echo((folder.path / ("table.json" if as_json else "table.md")).read_text(encoding="utf-8"), nl=False)
