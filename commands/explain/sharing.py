"""`xai explain --workers`: chunks of pairs or images, shared out among processes of this machine."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, Literal

from xai.base.messages import say
from xai.commands.options import AUTO
from xai.models.load import ModelOptions

if TYPE_CHECKING:
    from xai.workers.crew import Chunk, Item, Work
    from xai.workers.state import Wording

Workers = int | Literal["auto"]


def share(
    model: ModelOptions, work: Work, items: Sequence[Item], chunks: Sequence[Chunk], workers: Workers, wording: Wording
) -> Generator[Any, None, None]:
    """Give what comes of every item of the chunks, in order, each worker with `--threads` (1) of its own.

    Raises `XaiError` where a chunk ended three workers, or no worker can be kept: what comes before was given.
    """
    from xai.workers.local import LocalCrew
    from xai.workers.state import board_of, summarise
    from xai.workers.supervise import Supervisor

    threads = model.threads or 1
    wanted = max(1, len(os.sched_getaffinity(0)) // threads) if workers == AUTO else workers
    crew = LocalCrew(model, work, max(1, min(wanted, len(chunks))), threads)
    with board_of(None, len(items), lambda *_: None) as board:
        if chunks:
            board.progress(chunks[0].start, len(items))
        with closing(Supervisor(crew, items, board, wording).measure(chunks)) as found:
            for chunk, results in zip(chunks, found, strict=True):
                yield from results
                board.progress(chunk.stop, len(items))
    if chunks:
        say(summarise(board.state, wording))
