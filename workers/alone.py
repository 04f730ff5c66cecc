"""The crew of one that works in this very process."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from xai.base.errors import XaiError
from xai.runtime.explainer import Explainer
from xai.workers.crew import Finished, Ready, Refused, Report, Task, Work


@dataclass
class Alone:
    """A place in this process, where the model is open already; what else than `XaiError` a task raises goes through `wait`."""

    explainer: Explainer
    work: Work
    places: int = 1
    _task: Task | None = field(default=None, init=False)

    def man(self, place: int) -> None:
        """Do nothing: who calls is there."""

    def give(self, place: int, task: Task) -> None:
        """Note the task."""
        self._task = task

    def wait(self, seconds: float) -> Sequence[Report]:
        """Do the task that was given, however long that takes."""
        task, self._task = self._task, None
        if task is None:
            return [Ready(1, f"process {os.getpid()}")]
        try:
            return [Finished(1, self.work.results(self.explainer, task))]
        except XaiError as error:
            return [Refused(1, str(error))]

    def __enter__(self) -> Alone:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the process as it is."""
