"""One process for all cases, and what is shown of them at the end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from xai.tests.fuzz.sweep import Tally, Worker

TALLIES = pytest.StashKey[list[Tally]]()


@pytest.fixture(scope="session")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    made = Worker(tmp_path_factory.mktemp("fuzz"))
    yield made
    made.stop()


@pytest.fixture
def tallies(request: pytest.FixtureRequest) -> list[Tally]:
    """What the summary shows."""
    return request.config.stash.setdefault(TALLIES, [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for tally in config.stash.get(TALLIES, []):
        terminalreporter.write_line(f"fuzz {tally}")
