"""The command `xai`. Parts are wired together here; `xai --help` loads none of the heavy libraries."""

from __future__ import annotations

import signal
import sys
import warnings
from typing import Any

import click

from xai.base.errors import XaiError
from xai.base.process import let_blas_sleep
from xai.base.text import one_line
from xai.base.versions import XAI_VERSION
from xai.commands.answers import answers
from xai.commands.bench import bench
from xai.commands.doctor import doctor
from xai.commands.explain import explain
from xai.commands.export import export
from xai.commands.inspect import inspect
from xai.commands.serve import serve
from xai.commands.verify import verify


class _Group(click.Group):
    """Shows a warning as one line; shows an input that cannot be used as one line too, and exits with 1.

    SIGTERM ends a command as an error does, so that what it had begun to write is removed.
    """

    def invoke(self, ctx: click.Context) -> Any:
        former = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
        try:
            return self._invoke(ctx)
        finally:
            signal.signal(signal.SIGTERM, former)

    def _invoke(self, ctx: click.Context) -> Any:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            try:
                return super().invoke(ctx)
            except XaiError as error:
                raise click.ClickException(one_line(str(error))) from error


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(XAI_VERSION, prog_name="xai")
def main() -> None:
    """See why a vision-and-language model gave its answer."""
    let_blas_sleep()


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    if issubclass(category, UserWarning):
        click.echo(f"Warning: {one_line(str(message))}", err=True)


for _command in (explain, serve, bench, export, verify, inspect, doctor, answers):
    main.add_command(_command)
