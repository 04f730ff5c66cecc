"""The perturbation test from questions to `results.jsonl` (docs/methods.md, Perturbation test).

A run is cut into chunks of whole images; each chunk is encoded, explained, planned and answered, and its lines are written.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from xai.base.errors import BadInput, XaiError
from xai.bench.data.boxes import BoxSource
from xai.bench.data.regions import Cells, grid_cells
from xai.bench.data.sample import Progress, Sample
from xai.bench.perturb.answering import Picture, PreparedQuestion, run_chunk
from xai.bench.perturb.request import Request
from xai.bench.perturb.result_lines import Line, question_lines, skipped_line
from xai.bench.perturb.run_folder import RunFolder, RunRecord
from xai.bench.perturb.shown import shown_files, thumbnail
from xai.runtime.description import Boxes
from xai.runtime.explainer import Explainer
from xai.runtime.inputs.boxes import BoxFeatures, fit_width
from xai.workers.crew import Chunk, Task


class ChunkResults(NamedTuple):
    """What was measured of one chunk."""

    lines: list[Line]
    """In the order of the questions."""
    shown: Mapping[str, bytes]
    """Files of what the report shows of its questions, by name (`xai.bench.perturb.shown`)."""


@dataclass(frozen=True)
class Measuring:
    """What every chunk of a run is measured by."""

    request: Request
    skip_broken: bool

    def results(self, explainer: Explainer, task: Task) -> ChunkResults:
        """Measure one chunk. Raises `XaiError` as `measure_chunk` does."""
        return measure_chunk(explainer, task.items, self.request, task.chunk, self.skip_broken)


MeasureChunks = Callable[[Sequence[Chunk]], Generator[ChunkResults, None, None]]
"""Measures chunks of a run, and gives what it found of each in turn."""


def run_shard(measured: MeasureChunks, chunks: Sequence[Chunk], folder: RunFolder, record: RunRecord, progress: Progress) -> int:
    """Measure the chunks of a shard into a folder that is held, from where it stopped; returns the questions run.

    `progress` hears of questions done and in all. Raises `XaiError` where they cannot be measured or written.
    """
    done = folder.repair(record, chunks)
    before = finished = sum(chunk.stop - chunk.start for chunk in chunks[:done])
    progress(finished, record.count)
    with closing(measured(chunks[done:])) as found:
        for chunk, results in zip(chunks[done:], found, strict=True):
            folder.show(results.shown)
            folder.append(results.lines, record)
            finished += chunk.stop - chunk.start
            progress(finished, record.count)
    return finished - before


def measure_chunk(explainer: Explainer, samples: Sequence[Sample], request: Request, chunk: Chunk, skip_broken: bool) -> ChunkResults:
    """Measure one chunk of `samples` (images side by side).

    A sample that cannot be used (its image is missing or broken, its question too long) raises `XaiError`, or becomes a line that says so
    with `skip_broken`. NumPy's products take one thread: with more, their last bits would be those of the machine's cores.
    """
    with threadpool_limits(1, "blas"):
        return _measure_chunk(explainer, samples, request, chunk, skip_broken)


def _measure_chunk(explainer: Explainer, samples: Sequence[Sample], request: Request, chunk: Chunk, skip_broken: bool) -> ChunkResults:
    prepared, lines = prepare_chunk(explainer, samples, chunk, skip_broken, request.boxes, request.shown)
    measured = run_chunk(explainer.session, prepared, request)
    for one in measured:
        lines += question_lines(one, request, explainer.answers.names)
    return ChunkResults(sorted(lines, key=lambda line: line["index"]), shown_files(measured, request.shown))


def prepare_chunk(
    explainer: Explainer, samples: Sequence[Sample], chunk: Chunk, skip_broken: bool, boxes: BoxSource | None = None, shown: int = 0
) -> tuple[list[PreparedQuestion], list[Line]]:
    """Prepare the chunk's samples that can be run, and make a line for each of the others where those may be skipped.

    `boxes` and `shown` as in `Request`.
    """
    prepared, skipped = [], []
    pictures: dict[str, _Prepared | XaiError] = {}
    for index in range(chunk.start, chunk.stop):
        sample = samples[index]
        if sample.image not in pictures:
            pictures[sample.image] = _picture_or_error(explainer, sample, boxes, drawn=index < shown)
        own = pictures[sample.image]
        try:
            if isinstance(own, XaiError):
                raise own
            prepared.append(
                PreparedQuestion(index, sample, own.picture, explainer.encoder.encode(sample.question), own.cells, own.thumbnail)
            )
        except XaiError as error:
            if not skip_broken:
                raise XaiError(f"question {sample.question_id}: {error} (--skip-broken goes on without it)") from error
            skipped.append(skipped_line(index, sample, str(error)))
    return prepared, skipped


class _Prepared(NamedTuple):
    """An image as `PreparedQuestion` has it."""

    picture: Picture
    cells: Cells
    thumbnail: bytes | None


def _picture_or_error(explainer: Explainer, sample: Sample, boxes: BoxSource | None, drawn: bool) -> _Prepared | XaiError:
    """Prepare a sample's image; an error is kept for the other questions about it."""
    try:
        image = _prepare(explainer, sample, boxes, drawn)
        if not len(image.picture[0]):
            raise BadInput(f"{sample.image} has no box: there is nothing to remove")
        return image
    except XaiError as error:
        return error


def _prepare(explainer: Explainer, sample: Sample, boxes: BoxSource | None, drawn: bool) -> _Prepared:
    """The image as the model takes it: its own, or that of its box features in `boxes`; the picture itself is then only `drawn`."""
    recipe = explainer.session.description.picture
    if boxes is not None and isinstance(recipe, Boxes):
        features = boxes.read(sample.image)
        found = tuple(fit_width(features, recipe.width, sample.image))
        return _Prepared(found, found[1].astype(np.float64), _draw_beneath_boxes(explainer, sample, features) if drawn else None)
    image = explainer.prepare(sample.picture())
    cells = image.arrays[1].astype(np.float64) if image.grid is None else grid_cells(*image.grid, image.crop.box, image.picture.size)
    return _Prepared(image.arrays, cells, thumbnail(image) if drawn else None)


def _draw_beneath_boxes(explainer: Explainer, sample: Sample, features: BoxFeatures) -> bytes | None:
    """Draw the picture that boxes lie in; None where it is missing or broken, which is no reason not to run its questions."""
    try:
        return thumbnail(explainer.prepare(sample.picture(), features))
    except BadInput:
        return None
