"""The process of one worker: `python -m xai.workers.process DESCRIPTOR`, started by `workers/local.py`.

Imports little before it must: the environment that it was started with decides how many threads libraries take.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import sys
import threading
import warnings
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xai.workers.crew import Task
    from xai.workers.local import Opening


def main(descriptor: int) -> None:
    """Open the model, then do one task after the other until the connection closes, at which the process ends at once."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    connection = Connection(descriptor)
    try:
        opening = connection.recv()
    except (EOFError, OSError):  # the driver ended first
        return
    tasks: queue.SimpleQueue[Task] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(connection, tasks), daemon=True).start()

    from xai.base.errors import first_line
    from xai.workers.crew import Ended

    warnings.simplefilter("ignore", UserWarning)  # of the model, which the driver has opened as well, and said
    logging.getLogger("xai").setLevel(logging.ERROR)
    try:
        _work(opening, connection, tasks)
    except Exception as error:  # such as MemoryError: the driver says it, and starts another worker
        with suppress(OSError):  # where the driver has ended, nobody listens
            connection.send(Ended(opening.place, f"{type(error).__name__}: {first_line(error)}"))


def _work(opening: Opening, connection: Connection, tasks: queue.SimpleQueue[Task]) -> None:
    from xai.base.errors import XaiError
    from xai.workers.crew import Finished, Ready, Refused

    try:
        explainer = opening.model.open()
    except XaiError as error:
        connection.send(Refused(opening.place, str(error)))
        return
    connection.send(Ready(opening.place, f"process {os.getpid()}"))
    while True:
        task = tasks.get()
        try:
            results = opening.work.results(explainer, task)
        except XaiError as error:
            connection.send(Refused(opening.place, str(error)))
        else:
            connection.send(Finished(opening.place, results))


def _receive(connection: Connection, tasks: queue.SimpleQueue[Task]) -> None:
    """Hand tasks on; end the process with its connection, whatever the other thread does."""
    while True:
        try:
            tasks.put(connection.recv())
        except (EOFError, OSError):
            os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]))
