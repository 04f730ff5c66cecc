"""The perturbation test from questions to `results.jsonl` (docs/methods.md, Perturbation test).

A run is cut into chunks of whole images; each chunk is encoded, explained, planned and answered, and its lines are written.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from xai.base.errors import XaiError
from xai.bench.data.sample import Progress, Sample
from xai.bench.perturb.answering import PreparedQuestion, run_chunk
from xai.bench.perturb.request import Chunk, Request
from xai.bench.perturb.result_lines import Line, question_lines, skipped_line
from xai.bench.perturb.run_folder import RunFolder, RunRecord
from xai.runtime.explainer import Explainer


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
        prepared, lines = prepare_chunk(explainer, samples, chunk, skip_broken)
        for measured in run_chunk(explainer.session, prepared, request):
            lines += question_lines(measured, request, explainer.answers.names, explainer.session.description.grid)
        folder.append(sorted(lines, key=lambda line: line["index"]), record)
        finished += chunk.stop - chunk.start
        progress(finished, record.count)
    return finished - before


def prepare_chunk(
    explainer: Explainer, samples: Sequence[Sample], chunk: Chunk, skip_broken: bool
) -> tuple[list[PreparedQuestion], list[Line]]:
    """Prepare the chunk's samples that can be run, and make a line for each of the others where those may be skipped."""
    prepared, skipped = [], []
    pixels: dict[str, NDArray[np.float32] | XaiError] = {}
    for index in range(chunk.start, chunk.stop):
        sample = samples[index]
        if sample.image not in pixels:
            pixels[sample.image] = _pixels_or_error(explainer, sample)
        own = pixels[sample.image]
        try:
            if isinstance(own, XaiError):
                raise own
            prepared.append(PreparedQuestion(index, sample, own, explainer.encoder.encode(sample.question).ids))
        except XaiError as error:
            if not skip_broken:
                raise XaiError(f"question {sample.question_id}: {error} (--skip-broken goes on without it)") from error
            skipped.append(skipped_line(index, sample, str(error)))
    return prepared, skipped


def _pixels_or_error(explainer: Explainer, sample: Sample) -> NDArray[np.float32] | XaiError:
    """Prepare a sample's image; an error is kept for the other questions about it."""
    try:
        return explainer.prepare(sample.picture()).pixels
    except XaiError as error:
        return error
