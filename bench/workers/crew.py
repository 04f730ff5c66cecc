"""What whoever shares out chunks and whoever measures them say to each other.

Workers stand in numbered places. A place is manned, told a task at a time, and reports; a worker that ends leaves its place to another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, overload

from xai.bench.data.sample import Sample
from xai.bench.perturb.request import Chunk, Request
from xai.bench.perturb.run import ChunkResults, measure_chunk
from xai.runtime.explainer import Explainer


@dataclass(frozen=True)
class Excerpt(Sequence[Sample]):
    """The samples of one chunk, under the numbers that they have in the whole run: what a worker is sent of the data."""

    start: int
    samples: tuple[Sample, ...]

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | Sequence[Sample]:
        if isinstance(index, slice):
            return self.samples[index.start - self.start : index.stop - self.start]
        if index < self.start:
            raise IndexError(index)
        return self.samples[index - self.start]

    def __len__(self) -> int:
        return self.start + len(self.samples)


class Task(NamedTuple):
    """One chunk with its samples."""

    chunk: Chunk
    samples: Sequence[Sample]

    @property
    def size(self) -> int:
        """Count the questions."""
        return self.chunk.stop - self.chunk.start


@dataclass(frozen=True)
class Measuring:
    """What every chunk of a run is measured by."""

    request: Request
    skip_broken: bool

    def results(self, explainer: Explainer, task: Task) -> ChunkResults:
        """Measure one chunk. Raises `XaiError` as `measure_chunk` does."""
        return measure_chunk(explainer, task.samples, self.request, task.chunk, self.skip_broken)


class Ready(NamedTuple):
    """A worker has opened the model."""

    place: int
    who: str
    """Such as `process 4711`."""


class Finished(NamedTuple):
    """A task is done."""

    place: int
    results: ChunkResults


class Refused(NamedTuple):
    """The model cannot be opened, or the task not be measured, and no other worker would fare better: the run ends with this sentence."""

    place: int
    message: str


class Ended(NamedTuple):
    """A worker is no more; what it was doing is for another."""

    place: int
    reason: str


Report = Ready | Finished | Refused | Ended


class Crew(Protocol):
    """Workers that take tasks and give results, wherever they run. A context manager: at its end none of them is left."""

    @property
    def places(self) -> int:
        """How many workers there can be now."""

    def man(self, place: int) -> None:
        """Start a worker in a place that has none; `Ready` follows, or `Refused`, or `Ended`."""

    def give(self, place: int, task: Task) -> None:
        """Give a ready worker a task; `Finished` follows, or `Refused`, or `Ended`."""

    def wait(self, seconds: float) -> Sequence[Report]:
        """Wait until something is to be reported, for so many seconds at most."""

    def __enter__(self) -> Crew: ...
    def __exit__(self, *_: object) -> None: ...
