"""Shares chunks out among a crew, gives again what a worker did not end, and hands the results on in order."""

from __future__ import annotations

import heapq
import time
from collections import Counter
from collections.abc import Generator, Sequence
from typing import Any

from xai.base.errors import XaiError
from xai.base.messages import LOG
from xai.workers.crew import Chunk, Crew, Ended, Excerpt, Finished, Item, Ready, Refused, Report, Task
from xai.workers.state import QUESTIONS, Board, Retry, Wording, Worker

MOST_DEATHS = 3
"""Workers that one chunk may end, and that may end one after the other while they open the model in a place."""
AHEAD = 4
"""Chunks per worker that are begun before the first one that is not done: a slow one holds the others up no sooner."""
TICK = 1.0
"""Seconds between two looks at what goes on where nothing is reported."""


class Supervisor:
    """Has the chunks of one run done by a crew; `items` are the whole run's."""

    def __init__(self, crew: Crew, items: Sequence[Item], board: Board, wording: Wording = QUESTIONS) -> None:
        self.crew, self.items, self.board, self.wording = crew, items, board, wording
        self._workers: list[Worker] = []
        self._failed_openings: Counter[int] = Counter()
        self._deaths: Counter[Chunk] = Counter()
        self._waiting: list[Chunk] = []
        """A heap: the first chunk is given first."""
        self._found: dict[Chunk, Any] = {}
        self._last: Chunk | None = None
        """The first chunk that cannot be measured: what comes after it is not begun."""

    def measure(self, chunks: Sequence[Chunk]) -> Generator[Any, None, None]:
        """Give the results of each chunk in turn, whoever measures it whenever.

        Raises `XaiError` in the place of the first chunk that cannot be measured, or that ended three workers, and where no worker can
        open the model: all chunks before were given.
        """
        self._waiting = sorted(chunks)
        with self.crew:
            for number, chunk in enumerate(chunks):
                while chunk not in self._found:
                    self._man()
                    self._assign(chunks, number)
                    self.board.show()
                    for report in self.crew.wait(TICK):
                        self._hear(report)
                self._assign(chunks, number + 1)  # before the lines are written, so that nobody waits for that
                found = self._found.pop(chunk)
                if isinstance(found, XaiError):
                    raise found
                yield found

    def _man(self) -> None:
        """Start a worker wherever there is none, is work for one, and was none that could not open the model."""
        while len(self._workers) < self.crew.places:
            self._workers.append(Worker(len(self._workers) + 1))
        self.board.state.workers = tuple(self._workers)
        manned = sum(worker.doing != "nothing" for worker in self._workers)
        measuring = sum(worker.doing == "measuring" for worker in self._workers)
        for worker in self._workers[: self.crew.places]:
            wanted = manned - measuring < len(self._waiting)
            if worker.doing == "nothing" and wanted and self._failed_openings[worker.place] < MOST_DEATHS:
                worker.doing = "opening"
                manned += 1
                self.crew.man(worker.place)

    def _assign(self, chunks: Sequence[Chunk], number: int) -> None:
        """Give the first chunks that wait to whoever has nothing to do; chunk `number` is the first that was not handed on."""
        end = chunks[min(number + AHEAD * max(1, self.crew.places), len(chunks)) - 1]
        for worker in self._workers:
            if not self._waiting or self._waiting[0] > end or (self._last and self._waiting[0] > self._last):
                return
            if worker.doing == "waiting":
                worker.chunk = heapq.heappop(self._waiting)
                worker.doing, worker.since = "measuring", time.monotonic()
                items = tuple(self.items[worker.chunk.start : worker.chunk.stop])
                self.crew.give(worker.place, Task(worker.chunk, Excerpt(worker.chunk.start, items)))

    def _hear(self, report: Report) -> None:
        worker = self._workers[report.place - 1]
        chunk, worker.chunk = worker.chunk, None
        match report:
            case Ready(who=who):
                self._failed_openings[worker.place] = 0
                worker.doing, worker.who = "waiting", who
            case Finished(results=results):
                assert chunk is not None
                worker.doing = "waiting"
                worker.busy += time.monotonic() - worker.since
                worker.chunks += 1
                worker.questions += chunk.stop - chunk.start
                self._found[chunk] = results
            case Refused(message=message):
                if chunk is None:
                    raise XaiError(message)
                worker.doing = "waiting"
                self._give_up(chunk, message)
            case Ended(reason=reason):
                worker.doing = "nothing"
                worker.deaths += 1
                self._bury(worker, chunk, reason)

    def _bury(self, worker: Worker, chunk: Chunk | None, reason: str) -> None:
        """Give the chunk of a worker that ended to another one, unless it has ended three."""
        name = worker.who or f"worker {worker.place}"
        worker.who = ""
        if chunk is None:
            self._bury_idle(worker, name, reason)
            return
        self._deaths[chunk] += 1
        if self._deaths[chunk] == MOST_DEATHS:
            images = ", ".join(sorted({item.image for item in self.items[chunk.start : chunk.stop]})[:3])
            named = f"{self.wording.name(chunk)} ({images})"
            self._give_up(chunk, f"{named} ended {MOST_DEATHS} workers, the last one by {reason}; {self.wording.advice}")
            return
        LOG.warning("%s ended (%s): another one takes %s", name, reason, self.wording.name(chunk))
        heapq.heappush(self._waiting, chunk)
        self.board.state.retries += (Retry(chunk, reason),)

    def _bury_idle(self, worker: Worker, name: str, reason: str) -> None:
        """Count a worker that ended before it had a chunk; raise `XaiError` where no place is left that could be manned."""
        self._failed_openings[worker.place] += 1
        LOG.warning("%s ended while it had nothing to do (%s)", name, reason)
        if all(self._failed_openings[one.place] >= MOST_DEATHS for one in self._workers[: self.crew.places]):
            raise XaiError(f"no worker can be kept: the last one ended ({reason}); take fewer workers, or less memory for each")

    def _give_up(self, chunk: Chunk, message: str) -> None:
        """Let the run end where this chunk's lines would come."""
        self._found[chunk] = XaiError(message)
        self._last = min(chunk, self._last or chunk)
