"""Runs many cases of a fuzzer in a process of their own, and counts how they ended.

Case number i is made by a generator seeded with the fuzzer's name and i: it can be repeated alone. A case that takes the
process with it is a failure like another; the sweep goes on with the next one in a new process.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import random
import resource
import shutil
import time
import traceback
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

from xai.tests.fuzz.oracle import SECONDS, Verdict, judge

PATIENCE = 5 * SECONDS
"""Seconds for a case that does not come back, its material included."""
ADDRESSES = 6 * 2**30
"""Bytes of addresses that a case may take beside what the process holds before it."""
ENDS = ("same", "other", "refused")


class Asked(NamedTuple):
    """A case to run: its files go to `folder`, and stay there if it is the first failure of its kind."""

    subject: str
    index: int
    folder: Path
    real: bool


class Ended(NamedTuple):
    """How a case ended, in words and CPU seconds."""

    what: str
    command: str
    verdict: Verdict
    seconds: float


@dataclass(frozen=True)
class Failure:
    """One case that failed."""

    index: int
    folder: Path
    ended: Ended


@dataclass
class Tally:
    """How the cases of a fuzzer ended."""

    subject: str
    ends: Counter[str] = field(default_factory=Counter)
    failures: dict[str, list[Failure]] = field(default_factory=dict)
    """Key of a defect -> its cases."""
    seconds: float = 0.0

    def count(self, index: int, folder: Path, ended: Ended) -> None:
        """Add a case."""
        self.seconds += ended.seconds
        if ended.verdict.failed:
            self.failures.setdefault(ended.verdict.key, []).append(Failure(index, folder, ended))
        else:
            self.ends[ended.verdict.end] += 1

    def __str__(self) -> str:
        failed = sum(map(len, self.failures.values()))
        counts = ", ".join(f"{self.ends[end]} {end}" for end in ENDS)
        cases = f"{self.ends.total() + failed} cases in {self.seconds:.1f} s"
        return f"{self.subject}: {cases}: {counts}, {failed} failed in {len(self.failures)} ways"

    def report(self) -> str:
        """Every way to fail once, with its first case."""
        lines = [str(self)]
        for key, found in sorted(self.failures.items(), key=lambda item: -len(item[1])):
            first = found[0]
            lines += [
                f"- {len(found)} x {key}",
                f"    case {self.subject}:{first.index}: {first.ended.what[:300]}",
                f"    {first.ended.verdict.detail[:400]}",
                f"    cd {first.folder / 'files'} && {first.ended.command[:600]}",
            ]
        return "\n".join(lines)


class Worker:
    """A process that runs cases; another one is started where it ends. `folder` is for its material."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running: tuple[BaseProcess, Connection] | None = None
        self.started = 0

    def run(self, asked: Asked) -> Ended:
        """Raises RuntimeError where a case cannot even be made: a fault of the fuzzer."""
        process, pipe = self.running = self.running or self._start()
        with suppress(BrokenPipeError):  # the process is gone: said below
            pipe.send(asked)
        if not pipe.poll(PATIENCE):
            self.stop()
            return _lost(asked, Verdict("hang", "the process does not come back", f"nothing for {PATIENCE:.0f} s"))
        try:
            answer = pipe.recv()
        except (EOFError, ConnectionResetError):
            process.join()
            self.stop()
            return _lost(asked, Verdict("crash", f"the process ended with {process.exitcode}", f"exit code {process.exitcode}"))
        if isinstance(answer, str):
            raise RuntimeError(f"case {asked.subject}:{asked.index} cannot be made:\n{answer}")
        return answer

    def stop(self) -> None:
        """End the process."""
        if self.running:
            process, pipe = self.running
            pipe.close()
            process.kill()
            process.join()
            self.running = None

    def _start(self) -> tuple[BaseProcess, Connection]:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        self.started += 1
        process = context.Process(target=_serve, args=(self.folder / f"material{self.started}", theirs), daemon=True)
        process.start()
        theirs.close()
        return process, ours


def sweep(worker: Worker, subject: str, indices: Iterable[int], folder: Path, real: bool = False) -> Tally:
    """Run these cases; the first failures of each kind keep their files below `folder`."""
    tally = Tally(subject)
    for index in indices:
        place = folder / f"{subject}-{index}"
        tally.count(index, place, worker.run(Asked(subject, index, place, real)))
    return tally


def _lost(asked: Asked, verdict: Verdict) -> Ended:
    note = asked.folder / "case"
    return Ended(note.read_text() if note.exists() else "it was being made", "", verdict, 0.0)


def _serve(material: Path, pipe: Connection) -> None:
    """In the process: run cases until no more are asked for. Sends the traceback of a fault of the fuzzer's own."""
    import torch

    from xai.tests.fuzz.material import Material
    from xai.tests.fuzz.subjects import SUBJECTS, Subject

    torch.set_num_threads(1)
    faulthandler.enable()
    made = Material(material)
    fuzzers: dict[str, Subject] = {}
    kept: set[str] = set()
    while True:
        try:
            asked: Asked = pipe.recv()
        except EOFError:
            return
        inside = asked.folder / "files"
        try:
            inside.mkdir(parents=True)
            if asked.subject not in fuzzers:
                fuzzers[asked.subject] = SUBJECTS[asked.subject](made)
            case = fuzzers[asked.subject].case(random.Random(f"{asked.subject}:{asked.index}"), inside)
        except Exception:
            pipe.send(traceback.format_exc())
            continue
        (asked.folder / "case").write_text(f"{case.what}\n{case.run}\n", errors="backslashreplace")
        _limit_addresses()
        start = time.process_time()
        verdict = judge(case, inside, asked.real)
        seconds = time.process_time() - start
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        key = f"{asked.subject}: {verdict.key}"
        if verdict.failed and key not in kept:
            kept.add(key)
        else:
            shutil.rmtree(asked.folder, ignore_errors=True)
        pipe.send(Ended(case.what, str(case.run), verdict, seconds))


def _limit_addresses() -> None:
    held = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (held + ADDRESSES, resource.RLIM_INFINITY))
