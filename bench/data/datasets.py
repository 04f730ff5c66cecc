"""The data sets by name. To add one, write a file that reads its samples and give it a row in `DATASETS`."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from xai.base.errors import BadInput, XaiError
from xai.bench.data.easy_vqa import read_easy_vqa
from xai.bench.data.folder import read_folder
from xai.bench.data.sample import Progress, Sample
from xai.bench.data.scenes import scene_samples

PUBLISHED_SEED = 1234
"""Orders the questions of the published table; for `scenes` it names the data set."""


def load_samples(data: str, count: int | None = None, seed: int = PUBLISHED_SEED, progress: Progress | None = None) -> list[Sample]:
    """Load the first `count` samples (all, or as many as the data set names itself, where None) of a row of `DATASETS` or of a folder.

    A folder has one of the layouts of `xai.bench.data.folder`. `progress` hears of the samples that are made one by one. Raises `XaiError`
    where there is no such data, or less than asked for.
    """
    load = DATASETS.get(data)
    if load is None:
        if not os.path.isdir(data):  # noqa: PTH112  # of a name that is too long, too
            raise BadInput(f"unknown data set {data!r}: choose from {', '.join(DATASETS)}, or name a folder")
        load = _shuffled(data, partial(read_folder, Path(data)))
    return load(count, seed, progress)


Load = Callable[[int | None, int, Progress | None], list[Sample]]
"""Takes how many samples, a seed, and who hears of the progress."""


def _shuffled(data: str, read: Callable[[], list[Sample]]) -> Load:
    """Let samples that are read from files come in the order of Python's generator with the seed, as the published run shuffles."""

    def load(count: int | None, seed: int, _: Progress | None) -> list[Sample]:
        samples = read()
        if not samples:
            raise XaiError(f"data set {data} holds no question")
        if double := [name for name, n in Counter(sample.question_id for sample in samples).items() if n > 1]:
            raise XaiError(f"data set {data} has more than one question with the id {double[0]}: give each its own")
        if count is not None and count > len(samples):
            raise BadInput(f"data set {data} has {len(samples)} questions, not {count}: ask for fewer with --samples")
        random.Random(seed).shuffle(samples)
        return samples[:count]

    return load


DATASETS: dict[str, Load] = {
    "scenes": scene_samples,
    "easy-vqa": _shuffled("easy-vqa", read_easy_vqa),
}
"""The data sets that need no folder."""
