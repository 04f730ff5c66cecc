"""What a shell offers when a user presses Tab, where Click does not know it by itself. Nothing heavy is loaded for it."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem

from xai.models.load import DEMO


def complete_file(_: click.Context, __: click.Parameter, begun: str) -> list[CompletionItem]:
    """Files and folders, by the shell itself."""
    return [CompletionItem(begun, type="file")]


def complete_model(context: click.Context, option: click.Parameter, begun: str) -> list[CompletionItem]:
    """The demo model, and files and folders."""
    named = [CompletionItem(DEMO, help="the model that ships with xai")] if DEMO.startswith(begun) else []
    return named + complete_file(context, option, begun)


def complete_method(_: click.Context, __: click.Parameter, begun: str) -> list[CompletionItem]:
    """Names of methods, and `all`."""
    from xai.runtime.methods import METHODS

    return [CompletionItem(name) for name in ("all", *METHODS) if name.startswith(begun)]
