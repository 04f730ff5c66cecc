"""The command `xai pull`."""

from __future__ import annotations

import click

from xai.base.messages import say
from xai.base.wording import one_line, size_text
from xai.commands.completion import complete_known


@click.command()
@click.argument("model", metavar="NAME|hf://ORG/REPO[@REVISION]|URL", shell_complete=complete_known)
@click.option("--dry-run", is_flag=True, help="Say what would be fetched, and fetch nothing.")
def pull(model: str, dry_run: bool) -> None:
    """Fetch a published model with its tokenizer and answers: one that xai models lists, a repository of the Hugging Face hub, or
    the file behind a URL.

    The only command that downloads. Afterwards the model is named in the same way, with --model.
    """
    from xai.pull.cache import locate
    from xai.pull.model import carry_out, find_pullable, make_plan

    entry = find_pullable(model)
    plan = make_plan(entry)
    if dry_run:
        for one in plan.files:
            size = size_text(one.bytes) if one.bytes is not None else "size not stated"
            state = "here" if one.cached else "to fetch"
            click.echo(f"{state:<9} {size:>15}  {one_line(one.name)}  {one.source}  {one.published or 'no hash published'}")
        wanted = sum(one.bytes or 0 for one in plan.files if not one.cached)
        click.echo(f"{entry.name}: {size_text(wanted)} to fetch, licence {entry.licence or 'unknown: see where it comes from'}")
        return
    for one in plan.files:
        if not one.cached:
            say(f"{one_line(one.name)} ({size_text(one.bytes) if one.bytes is not None else 'size not stated'}) from {one.source}")
    for record in carry_out(plan):
        for name, kept in record.files.items():
            how = "as published" if kept.published else "recorded at first download: none is published"
            click.echo(f"{one_line(name)}  {size_text(kept.bytes)}  SHA-256 {kept.sha256}, {how}")
        if record.commit:
            click.echo(f"{record.source} is at commit {record.commit}")
    click.echo(f"{entry.name}: {locate(entry).model}")
