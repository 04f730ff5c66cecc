"""Whatever a user gives: the right numbers, or one line that names the input.

Each fuzzer runs some hundred cases here, and ten thousand with `-m slow`. One case again, or other ones:
`python -m xai.tests.fuzz SUBJECT START STOP`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from xai.tests.fuzz.subjects import SUBJECTS
from xai.tests.fuzz.sweep import Tally, Worker, sweep

FEW = {
    "images": 80,
    "arrays": 150,
    "boxes": 60,
    "checkpoints": 80,
    "texts": 80,
    "manifests": 50,
    "bundles": 40,
    "results": 25,
    "datasets": 30,
    "reports": 300,
    "arguments": 50,
    "calls": 150,
}
"""Cases of the default run: what two or three seconds hold."""
MANY = 10_000


def check(worker: Worker, subject: str, cases: range, folder: Path, tallies: list[Tally], real: bool = False) -> None:
    tally = sweep(worker, subject, cases, folder, real)
    tallies.append(tally)
    assert not tally.failures, tally.report()


@pytest.mark.parametrize("subject", SUBJECTS)
def test_some_hundred_cases(worker, subject, tmp_path, tallies) -> None:
    check(worker, subject, range(FEW[subject]), tmp_path, tallies)


@pytest.mark.slow
@pytest.mark.parametrize("subject", SUBJECTS)
def test_ten_thousand_cases(worker, subject, tmp_path, tallies) -> None:
    check(worker, subject, range(MANY), tmp_path, tallies)


@pytest.mark.parametrize("subject", ["results", "datasets", "reports", "arguments"])
def test_one_process_of_its_own(worker, subject, tmp_path, tallies) -> None:
    check(worker, subject, range(MANY, MANY + 1), tmp_path, tallies, real=True)


@pytest.mark.slow
@pytest.mark.parametrize("subject", SUBJECTS)
def test_processes_of_their_own(worker, subject, tmp_path, tallies) -> None:
    """A sample by the command as a shell starts it: its streams and its exit code are the real ones."""
    check(worker, subject, range(MANY, MANY + 50), tmp_path, tallies, real=True)
