"""Shows how the cases of every fuzzer ended."""

from __future__ import annotations

import pytest

from xai.tests.fuzz.sweep import Tally

TALLIES = pytest.StashKey[list[Tally]]()


@pytest.fixture
def tallies(request: pytest.FixtureRequest) -> list[Tally]:
    """What the summary at the end shows."""
    return request.config.stash.setdefault(TALLIES, [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for tally in config.stash.get(TALLIES, []):
        terminalreporter.write_line(f"fuzz {tally}")
