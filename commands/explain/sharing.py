"""`xai explain --workers`: chunks of pairs or images, shared out among processes of this machine."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, Literal

from xai.base.messages import say
from xai.commands.options import AUTO, cores_hold
from xai.models.load import ModelOptions

if TYPE_CHECKING:
    from xai.runtime.explainer import Explainer
    from xai.workers.crew import Chunk, Item, Work
    from xai.workers.state import Wording

Workers = int | Literal["auto"]


def within(
    workers: Workers | None, memory: int | None, explainer: Explainer, rows: int, questions: Iterable[str], graphs: int, threads: int | None
) -> int | None:
    """The number of workers, None for this process alone: `auto` is what the cores hold of `threads` (1), and `memory` bytes where given.

    `rows` of the questions are explained at once, `graphs` as `explaining_takes` takes it. Raises `BadInput` where memory does not
    hold the workers that are asked for.
    """
    if workers is None:
        return None
    wanted = cores_hold(threads or 1) if workers == AUTO else workers
    if memory is None:
        return wanted

    from xai.runtime.sessions.memory import check_bounded, check_workers, explaining_takes, process_takes

    check_bounded(explainer.session)
    driver = process_takes()
    worker = driver + explaining_takes(explainer.session, rows, explainer.encoder.longest(questions), graphs)
    return min(wanted, check_workers(memory, driver, worker, 1 if workers == AUTO else wanted))


def share(
    model: ModelOptions, work: Work, items: Sequence[Item], chunks: Sequence[Chunk], workers: int, wording: Wording
) -> Generator[Any, None, None]:
    """Give what comes of every item of the chunks, in order, each worker with `--threads` (1) of its own.

    Raises `XaiError` where a chunk ended three workers, or no worker can be kept: what comes before was given.
    """
    from xai.workers.local import LocalCrew
    from xai.workers.state import board_of, summarise
    from xai.workers.supervise import Supervisor

    crew = LocalCrew(model, work, max(1, min(workers, len(chunks))), model.threads or 1)
    with board_of(None, len(items), lambda *_: None) as board:
        if chunks:
            board.progress(chunks[0].start, len(items))
        with closing(Supervisor(crew, items, board, wording).measure(chunks)) as found:
            for chunk, results in zip(chunks, found, strict=True):
                yield from results
                board.progress(chunk.stop, len(items))
    if chunks:
        say(summarise(board.state, wording))
