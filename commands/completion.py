"""What a shell offers when a user presses Tab, where Click does not know it by itself. Nothing heavy is loaded for it."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem

from xai.models.load import DEMO
from xai.pull.catalogue import known


def complete_file(_: click.Context, __: click.Parameter, begun: str) -> list[CompletionItem]:
    """Files and folders, by the shell itself."""
    return [CompletionItem(begun, type="file")]


def complete_model(context: click.Context, option: click.Parameter, begun: str) -> list[CompletionItem]:
    """The demo model, the models of the catalogue, and files and folders."""
    named = [CompletionItem(DEMO, help="the model that ships with xai")] if DEMO.startswith(begun) else []
    return named + complete_known(context, option, begun) + complete_file(context, option, begun)


def complete_known(_: click.Context, __: click.Parameter, begun: str) -> list[CompletionItem]:
    """The models of the catalogue."""
    return [CompletionItem(name, help=entry.family) for name, entry in known().items() if name.startswith(begun)]


def complete_method(_: click.Context, __: click.Parameter, begun: str) -> list[CompletionItem]:
    """Names of methods, and `all`."""
    from xai.runtime.methods import METHODS

    return [CompletionItem(name) for name in ("all", *METHODS) if name.startswith(begun)]
