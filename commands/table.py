"""Commands by name, each imported when it is asked for: `xai explain` loads none of the others."""

from __future__ import annotations

import logging
from collections import UserDict
from collections.abc import Iterator, Mapping
from importlib import import_module

import click

from xai.base.messages import LOG


class Commands(UserDict[str, click.Command]):
    """What a group takes as its `commands`; `places` says of each name `MODULE:COMMAND`. Commands get -q and -v."""

    def __init__(self, places: Mapping[str, str]) -> None:
        super().__init__()
        self._places = dict(places)

    def __getitem__(self, name: str) -> click.Command:
        if name not in self.data:
            module, _, attribute = self._places[name].partition(":")
            command: click.Command = getattr(import_module(module), attribute)
            _add_verbosity(command)
            self.data[name] = command
        return self.data[name]

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def _add_verbosity(command: click.Command) -> None:
    if isinstance(command, click.Group):
        for inner in command.commands.values() if isinstance(command.commands, dict) else ():  # else a table of its own, which does so
            _add_verbosity(inner)
        return
    for names, text in (
        (["-q", "--quiet"], "Print results and errors only: no warnings, notes or progress."),
        (["-v", "--verbose"], "Also say what was loaded, where the time went, and what was behind an error."),
    ):
        command.params.append(click.Option(names, is_flag=True, expose_value=False, callback=_set_level, help=text))


def _set_level(_: click.Context, option: click.Parameter, wanted: bool) -> None:
    if wanted:
        LOG.setLevel(logging.ERROR if option.name == "quiet" else logging.INFO)
