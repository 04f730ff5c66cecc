"""The perturbation test from questions to `results.jsonl` (docs/methods.md, Perturbation test).

A run is cut into chunks of whole images; each chunk is encoded, explained, planned and answered, and its lines are written.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from xai.base.errors import BadInput, XaiError
from xai.bench.data.boxes import BoxSource
from xai.bench.data.sample import Progress, Sample
from xai.bench.perturb.answering import Picture, PreparedQuestion, run_chunk
from xai.bench.perturb.request import Chunk, Request
from xai.bench.perturb.result_lines import Line, question_lines, skipped_line
from xai.bench.perturb.run_folder import RunFolder, RunRecord
from xai.runtime.description import Boxes
from xai.runtime.explainer import Explainer
from xai.runtime.inputs.boxes import SUFFIXES, BoxFeatures, fit_width, read_boxes


def run_shard(
    explainer: Explainer,
    samples: Sequence[Sample],
    request: Request,
    chunks: Sequence[Chunk],
    folder: RunFolder,
    record: RunRecord,
    skip_broken: bool,
    progress: Progress,
) -> int:
    """Measure the chunks of `samples` (images side by side) into a folder that is held, from where it stopped; returns the questions run.

    A sample that cannot be used (its image is missing or broken, its question too long) stops the run, or becomes a line that
    says so with `skip_broken`. `progress` hears of questions done and in all. Raises `XaiError`.
    """
    done = folder.repair(record, chunks)
    before = finished = sum(chunk.stop - chunk.start for chunk in chunks[:done])
    progress(finished, record.count)
    for chunk in chunks[done:]:
        prepared, lines = prepare_chunk(explainer, samples, chunk, skip_broken, request.boxes)
        for measured in run_chunk(explainer.session, prepared, request):
            lines += question_lines(measured, request, explainer.answers.names)
        folder.append(sorted(lines, key=lambda line: line["index"]), record)
        finished += chunk.stop - chunk.start
        progress(finished, record.count)
    return finished - before


def prepare_chunk(
    explainer: Explainer, samples: Sequence[Sample], chunk: Chunk, skip_broken: bool, boxes: BoxSource | None = None
) -> tuple[list[PreparedQuestion], list[Line]]:
    """Prepare the chunk's samples that can be run, and make a line for each of the others where those may be skipped.

    `boxes` as in `Request`.
    """
    prepared, skipped = [], []
    pictures: dict[str, _Prepared | XaiError] = {}
    for index in range(chunk.start, chunk.stop):
        sample = samples[index]
        if sample.image not in pictures:
            pictures[sample.image] = _picture_or_error(explainer, sample, boxes)
        own = pictures[sample.image]
        try:
            if isinstance(own, XaiError):
                raise own
            prepared.append(PreparedQuestion(index, sample, own.picture, explainer.encoder.encode(sample.question).ids, own.grid))
        except XaiError as error:
            if not skip_broken:
                raise XaiError(f"question {sample.question_id}: {error} (--skip-broken goes on without it)") from error
            skipped.append(skipped_line(index, sample, str(error)))
    return prepared, skipped


class _Prepared(NamedTuple):
    """An image as `PreparedQuestion` has it."""

    picture: Picture
    grid: tuple[int, int] | None


def _picture_or_error(explainer: Explainer, sample: Sample, boxes: BoxSource | None) -> _Prepared | XaiError:
    """Prepare a sample's image; an error is kept for the other questions about it."""
    recipe = explainer.session.description.picture
    try:
        if isinstance(recipe, Boxes):
            return _Prepared(tuple(fit_width(_read_boxes(sample, boxes), recipe.width, sample.image)), None)
        image = explainer.prepare(sample.picture())
        return _Prepared((image.pixels,), image.grid)
    except XaiError as error:
        return error


def _read_boxes(sample: Sample, boxes: BoxSource | None) -> BoxFeatures:
    """A sample's box features: from `boxes`, or from the image itself where that is a file of them."""
    if boxes is not None:
        return boxes.read(sample.image)
    source = sample.picture()
    if isinstance(source, Path) and source.suffix.lower() in SUFFIXES:
        return read_boxes(source, sample.image)
    raise BadInput(f"{sample.image}: the model takes boxes with features, not pixels: name them with --boxes FILE|FOLDER")
