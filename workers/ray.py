"""Workers that are actors of a Ray cluster, each with CPUs of its own (or a GPU) and the model open.

What Ray does, this does not: it places the actors, finds out that a node is gone, and carries the model's files. An actor that ends is not
restarted by Ray, so that there is one who counts what ended it (`workers/supervise.py`).
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from xai.base.errors import XaiError, first_line
from xai.base.versions import XAI_VERSION
from xai.models.load import ModelOptions
from xai.workers.crew import Ended, Finished, Ready, Refused, Report, Task, Work
from xai.workers.parcel import Label, pack, unpack

PATIENCE = 600.0
"""Seconds until a run ends for which no node has a place: clusters that grow by themselves take minutes."""
_ANSWERED = 10.0
"""Seconds in which somebody must answer at the cluster's address."""
_LOOK = 2.0
"""Seconds between two looks at how large the cluster is."""


class Opening(NamedTuple):
    """What an actor is told first."""

    place: int
    label: Label
    work: Work
    threads: int
    folder: str
    """The driver's current folder, from which relative names of files are meant."""
    needs: tuple[Path, ...]
    """Files and folders that must be there."""
    version: str


class Actor:
    """What runs on a node: opens the model, then does one task after the other."""

    def open(self, opening: Opening, files: list[Any]) -> Report:
        """Open the model; `files` holds a reference to its files, which are fetched only where they are not there yet."""
        import ray

        self.opening, self.host = opening, socket.gethostname()
        warnings.simplefilter("ignore", UserWarning)  # of the model, which the driver has opened as well, and said
        logging.getLogger("xai").setLevel(logging.ERROR)
        try:
            self._check()
            model = unpack(opening.label, lambda: ray.get(files[0]))
            self.explainer = replace(model, threads=opening.threads).open()
        except XaiError as error:
            return Refused(opening.place, f"node {self.host}: {error}")
        return Ready(opening.place, f"process {os.getpid()} on {self.host}")

    def _check(self) -> None:
        if self.opening.version != XAI_VERSION:
            raise XaiError(f"xai is {XAI_VERSION} here and {self.opening.version} where the run was started: install the same")
        if os.path.isdir(self.opening.folder):  # noqa: PTH112  # where it is not, nothing may be named from it
            os.chdir(self.opening.folder)
        for path in self.opening.needs:
            if not path.exists():
                raise XaiError(f"{path} is not there: put it into a folder that every node sees under the same name")

    def measure(self, task: Task) -> Report:
        """Do one chunk."""
        try:
            return Finished(self.opening.place, self.opening.work.results(self.explainer, task))
        except XaiError as error:
            return Refused(self.opening.place, str(error))


class _Worker(NamedTuple):
    actor: Any
    reference: Any
    """Of the report that is to come."""


@dataclass
class RayCrew:
    """At most `most` actors of `threads` CPUs each, or of one GPU each, on the cluster at `address` (one of this machine where empty).

    One CPU is left free, and there is one place at least, however small the cluster is at the moment: it is asked again and again, so
    that nodes may come and go. `needs` are paths that every node must see.
    """

    address: str
    model: ModelOptions
    work: Work
    most: int
    threads: int = 1
    needs: tuple[Path, ...] = ()
    _workers: dict[int, _Worker] = field(default_factory=dict, init=False)
    _idle: dict[int, Any] = field(default_factory=dict, init=False)
    _measuring: set[int] = field(default_factory=set, init=False)
    _heard: float = field(default=0.0, init=False)
    """When an actor last reported."""
    _label: Label = field(init=False)
    _files: Any = field(init=False)
    """A reference to the model's files."""
    _seen: tuple[float, int] = field(default=(-_LOOK, 1), init=False)
    """When the cluster was last looked at, and its places."""

    @property
    def places(self) -> int:
        """How many actors the cluster can hold now."""
        import ray

        now = time.monotonic()
        if now >= self._seen[0] + _LOOK:
            whole = ray.cluster_resources()
            free = whole.get("GPU", 0) if self._gpus else (whole.get("CPU", 0) - 1) // self.threads
            self._seen = now, max(1, min(int(free), self.most))
        return self._seen[1]

    @property
    def _gpus(self) -> int:
        return 0 if self.model.provider == "cpu" else 1

    def man(self, place: int) -> None:
        """Ask for an actor; it waits where no node has a place for it."""
        import ray

        options = {"num_cpus": self.threads, "num_gpus": self._gpus, "max_restarts": 0, "max_task_retries": 0}
        actor = ray.remote(Actor).options(**options).remote()
        opening = Opening(place, self._label, self.work, self.threads, str(Path.cwd()), self.needs, XAI_VERSION)
        self._workers[place] = _Worker(actor, actor.open.remote(opening, [self._files]))

    def give(self, place: int, task: Task) -> None:
        """Send an actor its next task."""
        actor = self._idle.pop(place)
        self._measuring.add(place)
        self._workers[place] = _Worker(actor, actor.measure.remote(task))

    def wait(self, seconds: float) -> Sequence[Report]:
        """Hear what actors report, and of those that ended. Raises `XaiError` where none has found a place for ten minutes."""
        import ray

        if not self._workers:
            time.sleep(seconds)
            return []
        places = {worker.reference: place for place, worker in self._workers.items()}
        ready, _ = ray.wait(list(places), num_returns=1, timeout=seconds)
        if ready or self._idle or self._measuring:
            self._heard = time.monotonic()
        elif time.monotonic() > self._heard + PATIENCE:
            raise XaiError(f"no node of the Ray cluster has had {self.threads} CPUs free for ten minutes: go on with --resume when one has")
        return [self._hear(places[reference]) for reference in ready]

    def _hear(self, place: int) -> Report:
        """Take the report of a place that has one, whose actor then waits, or is gone."""
        import ray
        from ray.exceptions import RayError

        worker = self._workers.pop(place)
        self._measuring.discard(place)
        try:
            report: Report = ray.get(worker.reference)
        except RayError as error:
            ray.kill(worker.actor)
            return Ended(place, _describe(error))
        self._idle[place] = worker.actor
        return report

    def __enter__(self) -> RayCrew:
        """Join the cluster, or begin one on this machine, and put the model's files where nodes can fetch them. Raises `XaiError`."""
        ray = _import_ray()
        label, files = pack(self.model)
        former = signal.getsignal(signal.SIGTERM)
        try:
            _knock(self.address)
            ray.init(address=self.address or None, log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, RuntimeError, ValueError) as error:
            where = f"answers at {self.address}" if self.address else "could be begun here"
            raise XaiError(f"no Ray cluster {where}: {first_line(error)}; begin one with ray start --head, or name its address") from error
        finally:
            signal.signal(signal.SIGTERM, former)  # which Ray takes for itself
        self._label, self._files, self._heard = label, ray.put(files), time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of every actor, and of the cluster, which ends where it was begun here."""
        import ray

        for actor in (*self._idle.values(), *(worker.actor for worker in self._workers.values())):
            ray.kill(actor)
        ray.shutdown()


def _knock(address: str) -> None:
    """Raise `OSError` where nobody answers at `HOST:PORT`: Ray itself would try again for minutes, and then end the process."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdecimal() and "/" not in host:
        socket.create_connection((host, int(port)), _ANSWERED).close()


def _import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing that runs here is told to anybody
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # what Ray is going to do, and warns of
    try:
        import ray
    except ModuleNotFoundError as error:
        raise XaiError(f"--ray needs {error.name}: pip install 'xai-vqa[ray]'") from error
    return ray


def _describe(error: Exception) -> str:
    """Say in a line why an actor gave no report."""
    from ray.exceptions import OutOfMemoryError, RayTaskError

    if isinstance(error, OutOfMemoryError):
        return "out of memory"
    if isinstance(error, RayTaskError):
        return f"{type(error.cause).__name__}: {first_line(error.cause)}"
    return type(error).__name__
