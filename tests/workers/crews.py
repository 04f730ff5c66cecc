"""A crew of no processes, whose workers end when a script says so."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from xai.bench.data.sample import Sample
from xai.bench.perturb.run import ChunkResults
from xai.workers.crew import Chunk, Ended, Finished, Ready, Refused, Report, Task
from xai.workers.state import Board, State

Fate = Callable[[Task | None, int], type[Finished] | type[Ended] | type[Refused]]
"""How a task's n-th try ends, or, without a task, the n-th opening."""


def sample(index: int) -> Sample:
    return Sample(str(index), f"image {index}", "why?", {"yes": 1.0}, lambda: b"")


def lines_of(chunk: Chunk) -> list[dict[str, Any]]:
    return [{"index": index} for index in range(*chunk)]


def results_of(chunk: Chunk) -> ChunkResults:
    """What a worker sends of a chunk, with a file of the report."""
    return ChunkResults(lines_of(chunk), {f"maps/{chunk.start:06d}.js": b"maps"})


def board(path, questions: int) -> Board:
    return Board(path / "status.json", State(questions), lambda *_: None)


@dataclass
class ScriptedCrew:
    """Reports in any order that `random` draws."""

    places: int
    fate: Fate
    random: Random
    tries: Counter[Any] = field(default_factory=Counter)
    pending: dict[int, Task | None] = field(default_factory=dict)
    """By place: the task that it has, None where it opens the model."""
    idle: set[int] = field(default_factory=set)
    begun: list[Chunk] = field(default_factory=list)
    left: bool = False

    def man(self, place: int) -> None:
        assert place not in self.pending
        assert place not in self.idle
        self.pending[place] = None

    def give(self, place: int, task: Task) -> None:
        self.idle.remove(place)
        assert [task.items[i].question_id for i in range(*task.chunk)] == [str(i) for i in range(*task.chunk)]
        self.begun.append(task.chunk)
        self.pending[place] = task

    def wait(self, seconds: float) -> Sequence[Report]:
        places = sorted(self.pending)
        assert places, "the supervisor waits for nobody"
        chosen = self.random.sample(places, self.random.randint(1, len(places)))
        return [self._report(place, self.pending.pop(place)) for place in chosen]

    def _report(self, place: int, task: Task | None) -> Report:
        key = task.chunk if task else "opening"
        self.tries[key] += 1
        kind = self.fate(task, self.tries[key])
        if kind is Ended:
            return Ended(place, "SIGKILL: out of memory?")
        self.idle.add(place)
        if kind is Refused:
            return Refused(place, f"cannot measure {key}")
        return Finished(place, results_of(task.chunk)) if task else Ready(place, f"process {place}")

    def __enter__(self) -> ScriptedCrew:
        return self

    def __exit__(self, *_: object) -> None:
        self.left = True


@dataclass(frozen=True)
class Deadly:
    """Work that ends the process at one of its images."""

    def results(self, explainer: Any, task: Task) -> list[str]:
        names = [item.image for item in task.items[task.chunk.start : task.chunk.stop]]
        if "bad" in names:
            os._exit(3)
        return names
