"""The fuzzers by name. To add one, write its file and a row here."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from xai.tests.fuzz.arguments import Arguments
from xai.tests.fuzz.arrays import Arrays
from xai.tests.fuzz.boxes import BoxFiles
from xai.tests.fuzz.bundles import Bundles, Manifests
from xai.tests.fuzz.calls import Calls
from xai.tests.fuzz.checkpoints import Checkpoints
from xai.tests.fuzz.datasets import Datasets
from xai.tests.fuzz.images import Images
from xai.tests.fuzz.material import Material
from xai.tests.fuzz.oracle import Case
from xai.tests.fuzz.reports import Reports
from xai.tests.fuzz.results import Results
from xai.tests.fuzz.texts import Texts


class Subject(Protocol):
    """Makes cases of one kind; the random generator alone decides which."""

    name: str

    def case(self, rng: random.Random, folder: Path) -> Case: ...


SUBJECTS: dict[str, Callable[[Material], Subject]] = {
    subject.name: subject
    for subject in (Images, Arrays, BoxFiles, Checkpoints, Texts, Manifests, Bundles, Results, Datasets, Reports, Arguments, Calls)
}
