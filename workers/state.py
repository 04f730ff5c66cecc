"""Where a run stands: `status.json` beside `run.json`, written by the driver, read by `xai bench status` (docs/formats.md).

Durations are taken from a clock that only goes forward, so that setting the machine's clock changes none of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, NamedTuple

from xai.base.errors import XaiError
from xai.base.files import json_bytes
from xai.base.messages import LOG
from xai.base.reading import read_json
from xai.base.records import parse, plain
from xai.workers.crew import Chunk

Progress = Callable[[int, int], None]
"""Is told how many are done, of how many."""

_PAUSE = 0.2
"""Seconds between two writes, at least: what happens between them is in the next."""


class Wording(NamedTuple):
    """How a run speaks of what its chunks are made of."""

    one: str
    first: int
    """The number of the first one."""
    advice: str
    """What to do after a chunk that ended three workers."""

    def name(self, chunk: Sequence[int]) -> str:
        """Name a chunk by the numbers of its items, both ends included."""
        start, last = chunk[0] + self.first, chunk[1] - 1 + self.first
        return f"{self.one} {start}" if start == last else f"{self.one}s {start} to {last}"


QUESTIONS = Wording("question", 0, "what was done before is kept: go on with --resume and fewer workers")
"""Of a results folder, whose lines have the numbers as `index`."""


@dataclass
class Worker:
    """One place of the crew, and what all workers there have done."""

    place: int
    """From 1."""
    doing: Literal["nothing", "opening", "waiting", "measuring"] = "nothing"
    who: str = ""
    """Who stands there, such as `process 4711`."""
    chunk: Chunk | None = None
    since: float = 0.0
    """When it began with that, by the clock of this process; in the file, for how many seconds it has been at it."""
    chunks: int = 0
    questions: int = 0
    busy: float = 0.0
    """Seconds spent on chunks that were finished."""
    deaths: int = 0


@dataclass(frozen=True)
class Retry:
    """A chunk that was given to another worker, and why."""

    chunk: Chunk
    reason: str


@dataclass
class State:
    """All that `status.json` says."""

    questions: int
    format: Literal[1] = 1
    state: Literal["running", "done", "stopped", "failed"] = "running"
    failure: str | None = None
    before: int = 0
    """Questions that were done when this run began, or went on."""
    done: int = 0
    """Questions written, those of before included."""
    seconds: float = 0.0
    workers: tuple[Worker, ...] = ()
    retries: tuple[Retry, ...] = ()

    @property
    def rate(self) -> float:
        """Questions a second since this run began, or went on."""
        return (self.done - self.before) / self.seconds if self.seconds else 0.0

    def utilisation(self, worker: Worker) -> float:
        """The share of the time that a worker's place measured chunks."""
        return worker.busy / self.seconds if self.seconds else 0.0


@dataclass
class Board:
    """Keeps `status.json` up to date while a run goes on; one that cannot be written is told of once, and stops nothing."""

    path: Path | None
    """None of a run that keeps no such file."""
    state: State
    counter: Progress
    """Who else hears how many questions are done."""
    began: float = field(default_factory=lambda: time.monotonic())
    _written: float = -_PAUSE
    _warned: bool = False

    def progress(self, done: int, total: int) -> None:
        """Hear that `done` of `total` questions are written; the first time, how many were before."""
        if not self.state.seconds:
            self.state.before = done
        self.state.done = done
        self.show()
        self.counter(done, total)

    def show(self, last: bool = False) -> None:
        """Write the state, unless that was done a moment ago and this is not the `last` time."""
        now = time.monotonic()
        self.state.seconds = max(now - self.began, 1e-9)
        if self.path is None or (now < self._written + _PAUSE and not last):
            return
        self._written = now
        workers = tuple(_as_seen(worker, now) for worker in self.state.workers)
        state = replace(self.state, workers=workers, seconds=round(self.state.seconds, 3))
        # Of one name, so that what a kill leaves is written over by the run that goes on.
        draft = self.path.with_name(f"{self.path.name}.part")
        try:
            draft.write_bytes(json_bytes(plain(state), indent=1))
            draft.replace(self.path)
        except OSError as error:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
            if not self._warned:
                LOG.warning("cannot save %s: %s; xai bench status will not know how far this run is", self.path, error.strerror)
            self._warned = True


def _as_seen(worker: Worker, now: float) -> Worker:
    """Give a worker as the file has it: seconds, of which milliseconds are worth saying."""
    return replace(worker, since=round(now - worker.since, 3) if worker.chunk else 0.0, busy=round(worker.busy, 3))


@contextmanager
def board_of(path: Path | None, questions: int, counter: Progress) -> Iterator[Board]:
    """Give a run its board; at the end the file says how it ended, or is gone where nobody could write it."""
    board = Board(path, State(questions), counter)
    try:
        yield board
    except XaiError as error:
        board.state.state, board.state.failure = "failed", str(error)
        raise
    except BaseException:
        board.state.state = "stopped"
        raise
    else:
        board.state.state = "done"
    finally:
        board.show(last=True)


def read_state(path: Path) -> State:
    """Read `status.json`. Raises `XaiError` where it is not there, or not as it was written."""
    return parse(State, read_json(path), str(path))


def summarise(state: State, wording: Wording = QUESTIONS) -> str:
    """Say in a line what a run's workers did: rate, how busy each was, what was given to another."""
    parts = [f"{state.rate:.2f} {wording.one}s a second"]
    if len(state.workers) > 1:
        shares = ", ".join(f"{state.utilisation(worker):.0%}" for worker in state.workers)
        parts.append(f"{len(state.workers)} workers, busy {shares}")
    if state.retries:
        again = ", ".join(f"{wording.name(retry.chunk)} ({retry.reason})" for retry in state.retries)
        parts.append(f"given to another worker: {again}")
    return "; ".join(parts)
