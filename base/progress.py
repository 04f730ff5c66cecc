"""A progress bar, for whoever watches."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from xai.base.messages import is_quiet

T = TypeVar("T")


def track(steps: Sequence[T], what: str) -> Iterator[T]:
    """The steps, behind a progress bar on standard error where a person watches several being done, and wants to."""
    if len(steps) == 1 or not is_watched():
        yield from steps
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(steps, what, console=Console(stderr=True), transient=True)


def is_watched() -> bool:
    """Whether a person looks at standard error, and wants to see progress there."""
    return sys.stderr is not None and sys.stderr.isatty() and not is_quiet()


@contextmanager
def byte_bar(what: str, total: int | None, done: int = 0) -> Iterator[Callable[[int], None]]:
    """A function that is told how many bytes came, behind a bar on standard error where a person watches; `done` were there before."""
    if not is_watched():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total, completed=done)
        yield lambda count: bar.advance(task, count)
