"""What whoever shares out chunks and whoever works on them say to each other.

Workers stand in numbered places. A place is manned, told a task at a time, and reports; a worker that ends leaves its place to another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, overload

from xai.runtime.explainer import Explainer


class Chunk(NamedTuple):
    """Questions `start` to `stop` (excluded) of a run's order; they are run together."""

    start: int
    stop: int


class Item(Protocol):
    """A question about an image, whatever else it holds."""

    @property
    def image(self) -> str:
        """Name the image."""


@dataclass(frozen=True)
class Excerpt(Sequence[Any]):
    """The items of one chunk, under the numbers that they have in the whole run: what a worker is sent of the data."""

    start: int
    items: tuple[Any, ...]

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return self.items[index.start - self.start : index.stop - self.start]
        if index < self.start:
            raise IndexError(index)
        return self.items[index - self.start]

    def __len__(self) -> int:
        return self.start + len(self.items)


class Task(NamedTuple):
    """One chunk with its items, which have their numbers in the whole run."""

    chunk: Chunk
    items: Sequence[Any]

    @property
    def size(self) -> int:
        """Count the questions."""
        return self.chunk.stop - self.chunk.start


class Work(Protocol):
    """What is done with every chunk of a run; it is sent to each worker once."""

    def results(self, explainer: Explainer, task: Task) -> Any:
        """Do one chunk; what comes of it can be sent, too. Raises `XaiError` where no other worker would fare better."""


class Ready(NamedTuple):
    """A worker has opened the model."""

    place: int
    who: str
    """Such as `process 4711`."""


class Finished(NamedTuple):
    """A task is done."""

    place: int
    results: Any


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
