"""Whatever a user gives: the right numbers, or one line that names the input.

Each fuzzer runs a few hundred cases here, and ten thousand with `-m slow`. One case again, or other ones:
`python -m xai.tests.fuzz SUBJECT START STOP`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from xai.tests.fuzz.subjects import SUBJECTS
from xai.tests.fuzz.sweep import Tally, sweep

FEW = {
    "images": 250, "arrays": 250, "checkpoints": 150, "texts": 150, "manifests": 150, "bundles": 100, "results": 100, "datasets": 100, "reports": 400,
    "arguments": 120, "calls": 250,
}  # fmt: skip
"""Cases of the default run: what a few seconds hold."""
MANY = 10_000


def check(subject: str, cases: range, folder: Path, tallies: list[Tally], real: bool = False) -> None:
    tally = sweep(subject, cases, folder, real)
    tallies.append(tally)
    assert not tally.failures, tally.report()


@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_few_hundred_cases(subject, tmp_path, tallies) -> None:
    check(subject, range(FEW[subject]), tmp_path, tallies)


@pytest.mark.slow
@pytest.mark.parametrize("subject", SUBJECTS)
def test_ten_thousand_cases(subject, tmp_path, tallies) -> None:
    check(subject, range(MANY), tmp_path, tallies)


@pytest.mark.slow
@pytest.mark.parametrize("subject", SUBJECTS)
def test_processes_of_their_own(subject, tmp_path, tallies) -> None:
    """A sample by the command as a shell starts it: its streams and its exit code are the real ones."""
    check(subject, range(MANY, MANY + 50), tmp_path, tallies, real=True)
