"""Workers that are processes of this machine, each with the model open and as many threads as one process would have.

A worker is told everything through one connection, and ends when that closes: whoever kills the driver kills them all.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait

from xai.base.errors import BadInput
from xai.models.load import ModelOptions
from xai.workers.crew import Ended, Report, Task, Work

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""How many threads NumPy's, SciPy's and PyTorch's products take; they are read when these are loaded."""
VISIBLE_DEVICES = "CUDA_VISIBLE_DEVICES"
_PATIENCE = 5.0
"""Seconds that a worker has to end after its connection closed."""


@dataclass(frozen=True)
class Opening:
    """What a worker is told first: its place, which model to open, and what to do with each chunk."""

    place: int
    model: ModelOptions
    work: Work


@dataclass
class _Worker:
    process: subprocess.Popen[bytes]
    connection: Connection


@dataclass
class LocalCrew:
    """`places` processes with `threads` each, so that their number changes no bit of what they find; place i sees one of the
    `devices` (`visible_device`), in turn, where any are named."""

    model: ModelOptions
    work: Work
    places: int
    threads: int
    devices: Sequence[str] = ()
    _workers: dict[int, _Worker] = field(default_factory=dict, init=False)

    def man(self, place: int) -> None:
        """Start a process; it opens the model while this one goes on."""
        ours, theirs = socket.socketpair()
        with theirs:
            arguments = [sys.executable, "-P", "-m", "xai.workers.process", str(theirs.fileno())]
            # A Ctrl-C is for the driver, which ends its workers. They are begun with the signal held back and then ignore it.
            held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                process = subprocess.Popen(
                    arguments, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=self._environment(place), pass_fds=[theirs.fileno()]
                )
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, held)
        self._workers[place] = _Worker(process, Connection(ours.detach()))
        self._send(place, Opening(place, replace(self.model, threads=self.threads), self.work))

    def _environment(self, place: int) -> Mapping[str, str]:
        found = os.environ | dict.fromkeys(THREAD_VARIABLES, str(self.threads))
        if self.devices:
            found[VISIBLE_DEVICES] = self.devices[(place - 1) % len(self.devices)]
        return found

    def give(self, place: int, task: Task) -> None:
        """Send a worker its next task."""
        self._send(place, task)

    def _send(self, place: int, what: Opening | Task) -> None:
        with suppress(OSError):  # a worker that has ended: `wait` finds the end of its connection
            self._workers[place].connection.send(what)

    def wait(self, seconds: float) -> Sequence[Report]:
        """Hear what workers send, and of those that ended."""
        places = {worker.connection: place for place, worker in self._workers.items()}
        heard: list[Report] = []
        for connection in wait(list(places), seconds):
            assert isinstance(connection, Connection)
            try:
                report = connection.recv()
            except (EOFError, OSError):
                report = Ended(places[connection], self._end(places[connection]))
            else:
                if isinstance(report, Ended):
                    self._end(report.place)
            heard.append(report)
        return heard

    def _end(self, place: int) -> str:
        """Let go of a worker that closed its connection, and say how it ended."""
        worker = self._workers.pop(place)
        worker.connection.close()
        try:
            code = worker.process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            worker.process.kill()
            code = worker.process.wait()
        return describe_ending(code)

    def __enter__(self) -> LocalCrew:
        return self

    def __exit__(self, *_: object) -> None:
        """End every worker, whatever it does."""
        for worker in self._workers.values():
            worker.connection.close()
            worker.process.kill()
        for worker in self._workers.values():
            worker.process.wait()
        self._workers.clear()


def visible_device(number: int) -> str:
    """What CUDA calls GPU `number` of those that this process sees. Raises `BadInput` where it is known to see fewer."""
    if VISIBLE_DEVICES not in os.environ:
        return str(number)
    names = [name for name in os.environ[VISIBLE_DEVICES].split(",") if name]
    if number >= len(names):
        raise BadInput(f"cuda:{number} is not among the {len(names)} that {VISIBLE_DEVICES} names: choose a smaller number")
    return names[number]


def describe_ending(code: int) -> str:
    """Say how a process ended, as far as its exit code tells."""
    if code < 0:
        hint = ": out of memory?" if -code == signal.SIGKILL else ""
        return f"{signal.Signals(-code).name}{hint}"
    return f"exit code {code}"
