"""Run work in a process of its own: its memory is its own, and if it dies, nothing else does."""

from __future__ import annotations

import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from xai.base.errors import XaiError
from xai.base.wording import one_line


def isolated(work: Callable[..., Any], *arguments: Any, seconds: float) -> Any:
    """Run `work(*arguments)` in a fresh process. Raises `XaiError` with what it raised, how it died, or that it took too long."""
    context = get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(theirs, work, arguments))
    process.start()
    theirs.close()  # so that its death is the end of the pipe
    try:
        if not ours.poll(seconds):
            raise XaiError(f"took longer than {seconds:g} s")
        done, result = ours.recv()
    except EOFError as error:
        process.join()
        raise XaiError(_ending(process.exitcode)) from error
    finally:
        process.kill()
        process.join()
    if not done:
        raise XaiError(result)
    return result


def _child(pipe: Connection, work: Callable[..., Any], arguments: Sequence[Any]) -> None:
    warnings.simplefilter("ignore", UserWarning)  # every part loads the same model, and would say the same about it
    try:
        pipe.send((True, work(*arguments)))
    except XaiError as error:
        pipe.send((False, str(error)))
    except Exception as error:  # whatever it is, the parent reports it
        pipe.send((False, f"{type(error).__name__}: {one_line(str(error))}"))


def run_command(*arguments: str, seconds: float) -> None:
    """Run the command `xai` with these arguments. Raises `XaiError` with its last line where it fails, or where it takes too long."""
    try:
        done = subprocess.run([sys.executable, "-m", "xai", *arguments], capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired as error:
        raise XaiError(f"xai {arguments[0]} took longer than {seconds:g} s") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise XaiError(lines[-1].removeprefix("Error: ") if done.returncode > 0 and lines else _ending(done.returncode))


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        hint = ": out of memory?" if -code == signal.SIGKILL else ""
        return f"the process was ended by {signal.Signals(-code).name}{hint}"
    return f"the process ended with exit code {code}"
