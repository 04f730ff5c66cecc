"""The command `xai bench status`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from xai.base.errors import XaiError
from xai.base.wording import duration

if TYPE_CHECKING:
    from xai.bench.perturb.run_folder import RunFolder
    from xai.workers.state import State, Worker


@click.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(file_okay=False, path_type=Path), metavar="DIR...")
@click.option("--json", "as_json", is_flag=True, help="Print what is known of each folder as JSON, one a line.")
def status(folders: tuple[Path, ...], as_json: bool) -> None:
    """Say how far runs of `xai bench perturb` are: what is done, who works on what, what failed."""
    from xai.base.files import json_bytes
    from xai.base.lock import holder
    from xai.base.records import plain
    from xai.bench.perturb.run_folder import RunFolder
    from xai.workers.state import read_state

    for path in folders:
        folder = RunFolder(path)
        folder.read_record()
        if not folder.state.exists():
            raise XaiError(f"{path} has no {folder.state.name}: nothing was measured there yet, or by an older version of xai")
        state, who = read_state(folder.state), holder(folder.lock)
        if as_json:
            seen: dict[str, Any] = {"folder": str(path), "held_by": who, **plain(state)}
            click.echo(json_bytes(seen).decode(), nl=False)
        else:
            click.echo("\n".join(describe(folder, state, who)))


def describe(folder: RunFolder, state: State, who: str | None) -> Iterator[str]:
    """Say it in lines; `who` holds the folder now, None where nobody does."""
    from xai.workers.state import QUESTIONS

    first = f"{folder.path}: {state.done} of {state.questions} questions done"
    if who is not None:
        rest = f", {state.rate:.2f} a second, {duration((state.questions - state.done) / state.rate)} to go" if state.rate else ""
        yield f"{first}{rest}; held by {who}"
        yield from (_describe_worker(worker, state) for worker in state.workers)
    else:
        yield f"{first}; {_how_it_ended(state)}"
    yield from (f"  given to another worker: {QUESTIONS.name(retry.chunk)} ({retry.reason})" for retry in state.retries)


def _how_it_ended(state: State) -> str:
    took = f"after {duration(state.seconds)}"
    match state.state:
        case "done":
            return f"done {took}"
        case "failed":
            return f"failed {took}: {state.failure}"
        case "stopped":
            return f"stopped {took}: go on with --resume"
        case "running":
            return f"ended without a word {took} or more, as a killed process does: go on with --resume"


def _describe_worker(worker: Worker, state: State) -> str:
    from xai.workers.state import QUESTIONS

    now = f"{QUESTIONS.name(worker.chunk)} for {duration(worker.since)}" if worker.chunk else worker.doing
    died = f", {worker.deaths} ended there" if worker.deaths else ""
    done = f"{worker.chunks} chunks, {worker.questions} questions, busy {state.utilisation(worker):.0%}"
    return f"  worker {worker.place}{f' ({worker.who})' if worker.who else ''}: {now}; {done}{died}"
