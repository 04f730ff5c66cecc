from __future__ import annotations

import io

import pytest

from xai.commands.bench import counter as module
from xai.commands.bench.counter import Counter


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    """The time, which a test sets."""
    now = [0.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    return now


def test_a_log_gets_a_line_a_minute_and_the_last_one(clock, capsys) -> None:
    count = Counter("questions")
    for second in range(0, 201, 10):
        clock[0] = second
        count(second, 200)
    assert capsys.readouterr().err.splitlines() == [
        "0 of 200 questions",
        "60 of 200 questions, 1.00 a second, 2 min 20 s to go",
        "120 of 200 questions, 1.00 a second, 1 min 20 s to go",
        "180 of 200 questions, 1.00 a second, 20 s to go",
        "200 of 200 questions, 1.00 a second, 0 s to go",
    ]


def test_what_is_soon_done_needs_no_word_and_what_takes_longer_is_told(clock, capsys) -> None:
    for length, said in ((1, []), (100, ["2 of 100 scenes, 1.00 a second, 1 min 38 s to go", "62 of 100", "100 of 100"])):
        clock[0] = 0
        count = Counter("scenes", patience=2)
        for second in range(length + 1):
            clock[0] = second
            count(second, length)
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == len(said)
        assert all(line.startswith(start) for line, start in zip(lines, said, strict=True))


def test_a_terminal_shows_one_line_that_is_rewritten(clock, monkeypatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr(module.sys, "stderr", screen)
    count = Counter("questions")
    for second in range(4):
        clock[0] = second
        count(second, 3)
    assert screen.getvalue().count("\r") == 4
    assert screen.getvalue().count("\n") == 1
    assert screen.getvalue().endswith("\n")
