"""How far a long command has come, on standard error."""

from __future__ import annotations

import sys
import time

import click

from xai.base.messages import is_quiet
from xai.base.wording import duration

_EVERY = 60
"""Seconds between two lines of a log."""


class Counter:
    """Shows how many are done, their rate and the time that remains: a line that is rewritten, or in a log one every minute.

    Nothing is shown before `patience` seconds have passed: what is done by then needs no word.
    """

    def __init__(self, what: str, patience: float = 0.0) -> None:
        self.what = what
        self.terminal = sys.stderr.isatty()
        self.began = time.perf_counter()
        self.before: int | None = None
        """How many were done when it began to count."""
        self.shown = self.began + patience - _EVERY
        self.said = False

    def __call__(self, done: int, total: int) -> None:
        """Hear that `done` of `total` are done now."""
        now = time.perf_counter()
        if is_quiet():
            return
        if self.before is None:
            self.began, self.before = now, done
        last = done == total
        if now < self.shown + _EVERY and not (self.said and (self.terminal or last)):
            return
        if not self.terminal:
            self.shown = now
        self.said = True
        rate = (done - self.before) / (now - self.began) if done > self.before else 0.0
        rest = f", {rate:.2f} a second, {duration((total - done) / rate)} to go" if rate else ""
        text = f"{done} of {total} {self.what}{rest}"
        click.echo(f"\r{text:<70}" if self.terminal else text, err=True, nl=last or not self.terminal)
