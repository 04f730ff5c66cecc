"""Runs many cases of one fuzzer in a process of its own, and counts how they ended.

Case number i is made by a generator seeded with the fuzzer's name and i: it can be repeated alone. A case that takes the
process with it is a failure like another; the sweep goes on with the next one.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import random
import resource
import shutil
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from xai.tests.fuzz.oracle import SECONDS, Verdict, judge

PATIENCE = 15 * SECONDS
"""Seconds for a case that does not come back, its material included."""
ADDRESSES = 6 * 2**30
"""Bytes of addresses that a case may take beside what the process holds when it starts."""
ENDS = ("same", "other", "refused")


@dataclass(frozen=True)
class Failure:
    """The first case of a defect."""

    index: int
    what: str
    command: str
    verdict: Verdict
    folder: Path


@dataclass
class Tally:
    """How the cases of a fuzzer ended."""

    subject: str
    ends: Counter[str] = field(default_factory=Counter)
    failures: dict[str, list[Failure]] = field(default_factory=dict)
    """Key of a defect -> its cases."""

    def __str__(self) -> str:
        failed = sum(map(len, self.failures.values()))
        counts = ", ".join(f"{self.ends[end]} {end}" for end in ENDS)
        return f"{self.subject}: {self.ends.total() + failed} cases, {counts}, {failed} failed in {len(self.failures)} ways"

    def report(self) -> str:
        """Every way to fail once, with its first case."""
        lines = [str(self)]
        for key, found in sorted(self.failures.items(), key=lambda item: -len(item[1])):
            first = found[0]
            lines += [
                f"- {len(found)} x {key}",
                f"    case {self.subject}:{first.index}: {first.what[:300]}",
                f"    {first.verdict.detail[:400]}",
                f"    cd {first.folder} && {first.command[:600]}",
            ]
        return "\n".join(lines)


def sweep(subject: str, indices: Iterable[int], folder: Path, real: bool = False) -> Tally:
    """Run these cases; folders of the first failures of each kind stay in `folder`."""
    tally, todo = Tally(subject), list(indices)
    context = multiprocessing.get_context("spawn")
    while todo:
        ours, theirs = context.Pipe()
        worker = context.Process(target=_work, args=(subject, todo, folder, real, theirs), daemon=True)
        worker.start()
        theirs.close()
        try:
            while todo:
                if not ours.poll(PATIENCE):
                    _lost(tally, todo.pop(0), folder, Verdict("hang", "the process does not come back", f"{PATIENCE} s"))
                    break
                answer = ours.recv()
                if isinstance(answer, str):
                    raise RuntimeError(f"case {subject}:{todo[0]} cannot be made:\n{answer}")
                _count(tally, todo.pop(0), *answer)
        except EOFError:
            worker.join()
            _lost(tally, todo.pop(0), folder, Verdict("crash", f"the process ended with {worker.exitcode}", f"exit code {worker.exitcode}"))
        finally:
            worker.kill()
            worker.join()
    return tally


def _count(tally: Tally, index: int, what: str, command: str, verdict: Verdict, kept: Path) -> None:
    if verdict.failed:
        tally.failures.setdefault(verdict.key, []).append(Failure(index, what, command, verdict, kept))
    else:
        tally.ends[verdict.end] += 1


def _lost(tally: Tally, index: int, folder: Path, verdict: Verdict) -> None:
    place = folder / f"{tally.subject}-{index}"
    _count(
        tally, index, "see stderr and the folder", (place / "command").read_text() if (place / "command").exists() else "", verdict, place
    )


def _work(subject: str, indices: list[int], folder: Path, real: bool, results: Connection) -> None:
    """In the process: make, run and judge the cases in turn. Sends each end, or the traceback of a fault of the fuzzer's own."""
    try:
        for answer in _ends(subject, indices, folder, real):
            results.send(answer)
    except Exception:
        results.send(traceback.format_exc())


def _ends(subject: str, indices: list[int], folder: Path, real: bool) -> Iterator[tuple[str, str, Verdict, Path]]:
    import torch

    from xai.tests.fuzz.material import Material
    from xai.tests.fuzz.subjects import SUBJECTS

    torch.set_num_threads(1)
    faulthandler.enable()
    fuzzer = SUBJECTS[subject](Material(folder / f"material-{os.getpid()}"))
    kept: set[str] = set()
    limited = False
    for index in indices:
        rng = random.Random(f"{subject}:{index}")
        place = folder / f"{subject}-{index}"
        inside = place / "files"
        inside.mkdir(parents=True)
        case = fuzzer.case(rng, inside)
        (place / "command").write_text(f"{case.what}\n{case.run}\n", errors="backslashreplace")
        if not limited:
            _limit_memory()
            limited = True
        verdict = judge(case, inside, real)
        if verdict.failed and verdict.key not in kept:
            kept.add(verdict.key)
        else:
            shutil.rmtree(place, ignore_errors=True)
        yield case.what, str(case.run), verdict, inside


def _limit_memory() -> None:
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + ADDRESSES, resource.RLIM_INFINITY))
