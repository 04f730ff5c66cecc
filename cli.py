"""The command `xai`: the group of its commands, warnings and signals. `xai --help` loads none of the heavy libraries.

Exit codes: 0; 1 for an input that cannot be used (`XaiError`) and 2 for how it was typed (Click's); 3 where `xai bench compare` finds
a slower one; 128 and the signal's number where one ends the command.
"""

from __future__ import annotations

import errno
import logging
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from xai.base.errors import XaiError
from xai.base.messages import LOG
from xai.base.process import let_blas_sleep
from xai.base.streams import OutputError, drop_output, guard_streams
from xai.base.versions import XAI_VERSION
from xai.base.wording import one_line
from xai.commands.table import Commands

COMMANDS = {
    "explain": "xai.commands.explain.command:explain",
    "serve": "xai.commands.serve:serve",
    "bench": "xai.commands.bench:bench",
    "pull": "xai.commands.pull:pull",
    "models": "xai.commands.models:models",
    "export": "xai.commands.export:export",
    "verify": "xai.commands.verify:verify",
    "inspect": "xai.commands.inspect:inspect",
    "doctor": "xai.commands.doctor:doctor",
    "answers": "xai.commands.answers:answers",
}
"""Where each command lies; only the one that runs is loaded."""


class _Group(click.Group):
    """Shows a warning as one line; shows an input that cannot be used as one line too, and exits with 1.

    SIGTERM ends a command as an error does, so that what it had begun to write is removed.
    """

    def main(self, *args: Any, **kwargs: Any) -> Any:
        if not kwargs.get("standalone_mode", True):
            return super().main(*args, **kwargs)
        guard_streams()
        try:
            try:
                super().main(*args, **kwargs)
            finally:
                if sys.stdout is not None:
                    sys.stdout.flush()
        except OutputError as error:
            drop_output()
            if error.errno == errno.EPIPE:  # who read it has seen enough: end as such a process ends
                sys.exit(128 + signal.SIGPIPE)
            click.echo(f"Error: {error}", err=True)
            sys.exit(1)

    def invoke(self, ctx: click.Context) -> Any:
        former = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
        try:
            with _messages(), warnings.catch_warnings():
                warnings.showwarning = _log_warning
                return self._invoke(ctx)
        finally:
            signal.signal(signal.SIGTERM, former)

    def _invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            raise click.UsageError(one_line(error.format_message()), error.ctx) from error
        except XaiError as error:
            cause = error.__cause__
            while cause is not None:
                LOG.info("because of %s: %s", type(cause).__name__, cause)
                cause = cause.__cause__
            raise click.ClickException(one_line(str(error))) from error


class _Lines(logging.Handler):
    """Shows each message as one line on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        begin = "Warning: " if record.levelno >= logging.WARNING else ""
        click.echo(begin + one_line(record.getMessage()), err=True)


@contextmanager
def _messages() -> Iterator[None]:
    """While a command runs, what is said beside its result goes to standard error; --quiet and --verbose set the level."""
    handler, level, propagates = _Lines(), LOG.level, LOG.propagate
    LOG.addHandler(handler)
    LOG.propagate = False
    try:
        yield
    finally:
        LOG.removeHandler(handler)
        LOG.propagate = propagates
        LOG.setLevel(level)


def _log_warning(message: Warning | str, category: type[Warning], filename: str, *_: Any, **__: Any) -> None:
    if issubclass(category, UserWarning) and Path(filename).parent.name != "PIL":  # of a picture that is then used, or refused
        LOG.warning("%s", message)


@click.group(cls=_Group, commands=Commands(COMMANDS), context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(XAI_VERSION, prog_name="xai")
def main() -> None:
    """See why a vision-and-language model gave its answer."""
    let_blas_sleep()
