"""Plans a run of the perturbation test on 1 to 1,000 workers: the real supervisor, workers whose clock is simulated.

    python benchmarks/scaling.py                  # the published 3,303 questions, and the 214,354 of VQAv2's validation

A chunk takes the seconds of its questions, each the mean times a share that was recorded (`RECORDED`); now and then a worker straggles, or
dies, loses what it had, and comes again. The driver hands out chunks and writes them, one after the other.
"""

from __future__ import annotations

import heapq
import logging
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from random import Random

import click

from xai.base.errors import XaiError
from xai.bench.data.sample import Sample
from xai.bench.perturb.run import ChunkResults
from xai.workers.crew import Chunk, Ended, Finished, Ready, Report, Task
from xai.workers.state import Board, State
from xai.workers.supervise import Supervisor

RECORDED = tuple(percent / 100 for percent in (
    73, 74, 75, 76, 77, 79, 79, 80, 80, 81, 82, 82, 83, 83, 84, 85, 85, 86, 86, 86, 86, 88, 88, 88,
    89, 90, 91, 91, 92, 93, 95, 96, 96, 97, 100, 101, 102, 102, 103, 104, 105, 107, 107, 107, 108, 109, 109, 110,
    110, 113, 115, 115, 115, 116, 121, 125, 129, 133, 135, 136, 139, 141, 141, 144,
))  # fmt: skip
"""Seconds of 64 questions of the demo, one at a time, all methods, one thread, as shares of their mean."""
QUESTIONS = {3_303: (1, 8, 32), 214_354: (8, 32)}
"""How many, and how many in a chunk."""
WORKERS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)
SPEEDS = {"CPU, 31.4 s a question": 31.4, "GPU, 0.09 s a question (predicted)": 0.09}
"""Full size: TorchScript bfloat16 on two cores (NOTES.md, The perturbation table), and what docs/performance.md hopes of an H100."""


@dataclass(frozen=True)
class Weather:
    """What goes wrong, and what the driver costs."""

    straggling: float = 0.02
    """The share of chunks that take `slower` times as long."""
    slower: float = 4.0
    deaths: float = 0.05
    """Of a worker, in an hour."""
    opening: float = 10.0
    """Seconds in which a worker opens the model."""
    writing: float = 0.004
    """Seconds of the driver for a chunk: the message, `fsync`."""
    writing_question: float = 0.0012
    """And for each of its questions: JSON and checksums of its lines."""


@dataclass
class Simulated:
    """Workers in simulated time."""

    places: int
    seconds: float
    weather: Weather
    random: Random
    clock: float = 0.0
    busy: float = 0.0
    ended: int = 0
    resumed: int = 0
    _events: list[tuple[float, int, bool]] = field(default_factory=list)
    """When, where, and whether the worker dies then."""
    _tasks: dict[int, Task | None] = field(default_factory=dict)

    def man(self, place: int) -> None:
        """Begin to open the model."""
        self._tasks[place] = None
        heapq.heappush(self._events, (self.clock + self.weather.opening, place, False))

    def give(self, place: int, task: Task) -> None:
        """Draw how long the chunk takes, and whether the worker lives as long."""
        long = sum(self.seconds * self.random.choice(RECORDED) for _ in range(task.size))
        if self.random.random() < self.weather.straggling:
            long *= self.weather.slower
        life = self.random.expovariate(self.weather.deaths / 3600) if self.weather.deaths else float("inf")
        self._tasks[place] = task
        heapq.heappush(self._events, (self.clock + min(long, life), place, life < long))
        self.busy += min(long, life)

    def wait(self, seconds: float) -> Sequence[Report]:
        """Go on to the next event; those that came while the driver wrote are there at once."""
        when, place, dies = heapq.heappop(self._events)
        self.clock = max(self.clock, when)
        task = self._tasks.pop(place)
        if dies:
            self.ended += 1
            return [Ended(place, "simulated")]
        return [Finished(place, ChunkResults([], {})) if task else Ready(place, "simulated")]

    def __enter__(self) -> Simulated:
        return self

    def __exit__(self, *_: object) -> None:
        """End all workers."""
        self._events.clear()
        self._tasks.clear()


def plan(questions: int, chunk: int, workers: int, seconds: float, weather: Weather, folder: Path) -> Simulated:
    """Run the supervisor to the end on simulated workers; their clock then says how long it took."""
    chunks = [Chunk(start, min(start + chunk, questions)) for start in range(0, questions, chunk)]
    crew = Simulated(min(workers, len(chunks)), seconds, weather, Random(workers))
    nobody = [Sample("", "", "", {}, Path)] * questions
    board = Board(folder / "status.json", State(questions), lambda *_: None)
    while chunks:
        done = 0
        try:
            for _ in Supervisor(crew, nobody, board).measure(chunks):
                crew.clock += weather.writing + weather.writing_question * (chunks[done].stop - chunks[done].start)
                done += 1
        except XaiError:  # three died by chance on one chunk: somebody types --resume
            crew.resumed += 1
        chunks = chunks[done:]
    return crew


def rows(questions: int, chunk: int, seconds: float, weather: Weather, folder: Path) -> Iterator[str]:
    """One row of the table for each number of workers."""
    alone = plan(questions, chunk, 1, seconds, weather, folder).clock
    for workers in WORKERS:
        found = plan(questions, chunk, workers, seconds, weather, folder)
        speedup = alone / found.clock
        share = found.busy / (found.clock * workers)
        counted = f"{found.ended} | {found.resumed}"
        yield f"| {workers} | {found.clock / 3600:.3f} | {speedup:.1f} | {speedup / workers:.0%} | {share:.0%} | {counted} |"


@click.command()
@click.option("--questions", type=click.Choice([str(count) for count in QUESTIONS]), help="Only so many.")
def main(questions: str | None) -> None:
    """Print hours, speed-up, efficiency and how busy the workers are, by questions, speed and size of a chunk."""
    logging.getLogger("xai").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        for count, sizes in QUESTIONS.items():
            for (name, seconds), chunk in product(SPEEDS.items(), sizes):
                if questions in (None, str(count)):
                    click.echo(f"\n{count:,} questions, {name}, chunks of {chunk}\n")
                    click.echo("| workers | hours | speed-up | efficiency | busy | died | resumed |\n|---|---|---|---|---|---|---|")
                    for row in rows(count, chunk, seconds, Weather(), Path(folder)):
                        click.echo(row)


if __name__ == "__main__":
    main()
