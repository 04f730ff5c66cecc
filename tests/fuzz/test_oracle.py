"""The oracle sees what it is there to see."""

from __future__ import annotations

import os
import signal
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from xai import XaiError
from xai.tests.fuzz import oracle
from xai.tests.fuzz.oracle import Call, Case, Command, Expect, judge
from xai.tests.fuzz.sweep import Asked, Tally, Worker


def refuse(message: str) -> Any:
    raise XaiError(message)


def write(name: str) -> int:
    Path(name).write_text("x")
    return 1


def warn(text: str = "something was assumed") -> int:
    warnings.warn(text, stacklevel=2)
    return 2


def stop(error: BaseException) -> Any:
    raise error


@pytest.mark.parametrize(
    ("function", "expect", "end"),
    [
        (lambda: 1, Expect.SAME, "same"),
        (lambda: 2, Expect.SAME, "changed"),
        (lambda: 2, Expect.FAITHFUL, "changed"),
        (warn, Expect.FAITHFUL, "other"),
        (warn, Expect.SAME, "changed"),
        (lambda: 2, Expect.EITHER, "other"),
        (lambda: -1, Expect.EITHER, "nonsense"),
        (lambda: 1, Expect.REFUSED, "accepted"),
        (lambda: refuse("a.png is broken"), Expect.EITHER, "refused"),
        (lambda: refuse("a.png is broken"), Expect.REFUSED, "refused"),
        (lambda: refuse("a.png is broken"), Expect.SAME, "refused wrongly"),
        (lambda: refuse("it is broken"), Expect.EITHER, "nameless"),
        (lambda: refuse("a.png is\nbroken"), Expect.EITHER, "refused"),  # an `XaiError` is one line, whatever is in it
        (lambda: warn("something\nwas assumed") and refuse("a.png is broken"), Expect.EITHER, "lines"),
        (lambda: stop(KeyError("x")), Expect.EITHER, "traceback"),
        (lambda: stop(BaseException("a panic")), Expect.EITHER, "traceback"),
        (lambda: write("new"), Expect.SAME, "leftover"),
        (lambda: write("allowed"), Expect.SAME, "same"),
        (lambda: write("old") and refuse("a.png is broken"), Expect.EITHER, "leftover"),
        (lambda: write("allowed") and refuse("a.png is broken"), Expect.EITHER, "leftover"),
        (lambda: Path("old").unlink() or 1, Expect.SAME, "leftover"),
        (lambda: os.write(2, b"libfoo: damaged\n") and 1, Expect.SAME, "chatter"),
        (lambda: time.sleep(60) or 1, Expect.SAME, "hang"),
    ],
)
def test_every_end_is_told_from_the_others(tmp_path, monkeypatch, function: Callable[[], Any], expect, end) -> None:
    monkeypatch.setattr(oracle, "SECONDS", 3.0)
    (tmp_path / "old").write_text("before")
    case = Case("a change", expect, Call("f()", function), 1, ("a.png",), ("allowed",), sane=lambda n: "it is negative" if n < 0 else None)
    assert judge(case, tmp_path).end == end


def test_a_case_that_takes_too_much_memory_is_told(tmp_path, monkeypatch) -> None:
    peaks = iter((0, (oracle.MEGABYTES + 1) * 1024))  # in KiB: before and after
    monkeypatch.setattr(oracle.resource, "getrusage", lambda _: SimpleNamespace(ru_maxrss=next(peaks)))
    assert judge(Case("a change", Expect.SAME, Call("f()", lambda: 1), 1, ()), tmp_path).end == "memory"


@pytest.mark.parametrize("real", [False, True])
def test_a_command_is_judged_by_its_code_and_its_streams(tmp_path, real) -> None:
    def case(expect: Expect, *arguments: str, name: str = "none.json") -> Case:
        return Case("a change", expect, Command(arguments, lambda text: len(text) > 100), True, (name,))

    assert judge(case(Expect.REFUSED, "bench", "compare", "none.json", "b.json"), tmp_path, real).end == "refused"
    assert judge(case(Expect.REFUSED, "bench", "compare", "none.json", "b.json", name="other.json"), tmp_path, real).end == "nameless"
    if not real:
        assert judge(case(Expect.SAME, "--help"), tmp_path).end == "same"
        assert judge(case(Expect.REFUSED, "no-such-command", name="no-such-command"), tmp_path).end == "refused"


def test_a_process_that_ends_is_a_failure_and_the_next_case_runs(tmp_path) -> None:
    worker = Worker(tmp_path)
    asked = Asked("reports", 1, tmp_path / "one", False)
    ended = worker.run(asked)
    assert worker.running
    os.kill(worker.running[0].pid or 0, signal.SIGKILL)
    worker.running[0].join()
    tally = Tally("reports")
    tally.count(1, tmp_path, worker.run(asked._replace(folder=tmp_path / "two")))
    assert list(tally.failures) == ["the process ended with -9"]
    again = worker.run(asked._replace(folder=tmp_path / "three"))
    assert again.verdict == ended.verdict
    assert again.what == ended.what
    worker.stop()
