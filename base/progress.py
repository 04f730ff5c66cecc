"""A progress bar, for whoever watches."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TypeVar

from xai.base.messages import is_quiet

T = TypeVar("T")


def track(steps: Sequence[T], what: str) -> Iterator[T]:
    """The steps, behind a progress bar on standard error where a person watches several being done, and wants to."""
    if len(steps) == 1 or is_quiet() or not sys.stderr.isatty():
        yield from steps
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(steps, what, console=Console(stderr=True), transient=True)
