"""`docs/cli.md` names what there is."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

import xai
from xai.cli import main

TEXT = (Path(xai.__file__).parent / "docs" / "cli.md").read_text(encoding="utf-8")


def commands(command: click.Command) -> list[click.Command]:
    """A command, or those of a group."""
    return [one for inner in command.commands.values() for one in commands(inner)] if isinstance(command, click.Group) else [command]


def test_every_option_of_explain_is_there() -> None:
    for option in main.commands["explain"].params:
        if isinstance(option, click.Option) and not option.hidden:
            assert f"`{option.opts[-1]}" in TEXT, option.opts


def test_every_option_that_is_named_exists() -> None:
    known = {name for command in commands(main) for option in command.params for name in option.opts} | {"--help"}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", TEXT)) <= known


@pytest.mark.parametrize("command", commands(main), ids=lambda command: command.name)
def test_every_command_can_be_quiet_or_say_more(command) -> None:
    names = {name for option in command.params for name in option.opts}
    assert {"-q", "--quiet", "-v", "--verbose"} <= names
    assert sum(name == "-q" for option in command.params for name in option.opts) == 1
