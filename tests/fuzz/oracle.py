"""Runs one case of a fuzzer and judges it.

The right end is exit code 0 with the right numbers, or 1 or 2 with one line that names the input. Never a traceback, a hang, a
file left behind, another number without a word, or anything that a library prints by itself.
"""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from click.testing import CliRunner

import xai
from xai.cli import main

SECONDS = 60.0
"""A case that takes longer hangs: hundreds of times what one takes, because other processes may hold the machine."""
MEGABYTES = 2_000
"""A case may not raise the peak of the memory by more."""
ROOT = Path(xai.__file__).resolve().parent


class Expect(Enum):
    """What a generator knows of the end of its case."""

    SAME = "accepted, with the numbers of the input that was not touched"
    FAITHFUL = "those numbers, or other ones with a warning, or a refusal"
    REFUSED = "a refusal"
    EITHER = "any numbers that can be, or a refusal"


@dataclass(frozen=True)
class Command:
    """`xai` and its arguments, typed in the case's folder; `numbers` reads them from what it prints, or from that folder."""

    arguments: tuple[str, ...]
    numbers: Callable[[str], Any]
    stdin: bytes = b""

    def __str__(self) -> str:
        return "xai " + " ".join(map(_quoted, self.arguments)) + (f"  < {len(self.stdin)} bytes" if self.stdin else "")


@dataclass(frozen=True)
class Call:
    """A call of the library that returns its numbers, and how it is written."""

    text: str
    numbers: Callable[[], Any]

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Case:
    """One input that was changed, and what must come of it. Its files lie in a folder of its own."""

    what: str
    """A kind of change, and behind ` · ` what was changed."""
    expect: Expect
    run: Command | Call
    expected: Any = None
    names: tuple[str, ...] = ()
    """A refusal names one of these; empty where there is nothing to name."""
    writes: tuple[str, ...] = ()
    """Names, or folders with a /, that success may write; * is anything."""
    partly: bool = False
    """Whether the case holds several inputs: the numbers of the good ones are judged even if others were refused."""
    noted: tuple[str, ...] = ()
    """Files that say how it ended, also where it is refused."""
    exits: tuple[int, ...] = (0,)
    """Codes that are success."""
    sane: Callable[[Any], str | None] | None = None
    """What is wrong with numbers that no other input may have, if anything."""


@dataclass
class Outcome:
    """How a case ended."""

    code: int
    numbers: Any = None
    error: BaseException | None = None
    stderr: str = ""
    leaked: str = ""
    """What libraries wrote to the process's own streams."""


@dataclass(frozen=True)
class Verdict:
    """`end` is same, other or refused where that is right, and else what is wrong; failures with one `key` are one defect."""

    end: str
    key: str = ""
    detail: str = field(default="", compare=False)

    @property
    def failed(self) -> bool:
        return self.end not in ("same", "other", "refused")


class TooLong(BaseException):
    """A case did not end. Not an `Exception`, so that nothing in the product catches it."""


def judge(case: Case, folder: Path, real: bool = False) -> Verdict:
    """Run a case in its folder, by a process of its own where `real`, and say how it ended."""
    before, peak = _listing(folder), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        with _inside(folder), _time_limit(SECONDS):
            outcome = _run_process(case.run) if real and isinstance(case.run, Command) else _run(case.run)
    except TooLong as error:
        return Verdict("hang", f"hang at {_site(error)}", f"no end after {SECONDS:.0f} s")
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a panic of a library in Rust is no `Exception`
        outcome = Outcome(1, error=error)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) // 1024
    written = sorted(name for name, state in _listing(folder).items() if before.get(name) != state)
    lost = sorted(set(before) - set(_listing(folder)))
    found = _verdict(case, outcome, written, lost)
    if not found.failed and grown > MEGABYTES:
        return Verdict("memory", f"memory: {case.run!s:.20}", f"{grown} MB more")
    return found


def _verdict(case: Case, outcome: Outcome, written: list[str], lost: list[str]) -> Verdict:
    if outcome.error is not None:
        error, first = outcome.error, (str(outcome.error).splitlines() or [""])[0]
        return Verdict("traceback", f"{type(error).__name__} at {_site(error)}", f"{type(error).__name__}: {first[:200]}")
    if outcome.leaked.strip():
        line = outcome.leaked.strip().splitlines()[0][:200]
        return Verdict("chatter", f"chatter: {_kind(case)}", line)
    succeeded = outcome.code in case.exits
    if not succeeded and (wrong := _wrong_refusal(case, outcome)):
        return wrong
    if extra := [
        name for name in written if name not in case.noted and (not (succeeded or case.partly) or not _allowed(name, case.writes))
    ]:
        return Verdict("leftover", f"leftover: {_without_names(extra[0])}", f"exit {outcome.code}, wrote {', '.join(extra[:5])}")
    if lost:
        return Verdict("leftover", "a file is gone", ", ".join(lost[:5]))
    if not succeeded and not case.partly:
        return Verdict("refused")
    return _judge_numbers(case, outcome)


def _judge_numbers(case: Case, outcome: Outcome) -> Verdict:
    if case.expect is Expect.REFUSED:
        return Verdict("accepted", f"accepted: {_kind(case)}", "exit 0 on what must be refused")
    if case.expected is not None and (outcome.numbers == case.expected or canonical(outcome.numbers) == canonical(case.expected)):
        return Verdict("same")
    if case.expect is Expect.SAME or (case.expect is Expect.FAITHFUL and "Warning: " not in outcome.stderr):
        return Verdict("changed", f"changed: {_kind(case)}", f"other numbers: {_difference(outcome.numbers, case.expected)}")
    if case.sane and (complaint := case.sane(outcome.numbers)):
        return Verdict("nonsense", f"nonsense: {_without_names(complaint)}", complaint)
    return Verdict("other")


def _wrong_refusal(case: Case, outcome: Outcome) -> Verdict | None:
    """What is wrong with how a case was refused, if anything."""
    lines = [
        line for line in outcome.stderr.splitlines() if not re.match(r"(Warning|Note): |Usage: |Try 'xai |\d+ of \d+|batch \d|$", line)
    ]
    lines = [line for line in lines if not line.endswith(" ...")]  # what is done now
    if isinstance(case.run, Command) and {"-v", "--verbose"}.intersection(case.run.arguments):
        lines = [line for line in lines if line.startswith("Error: ")]  # who asks for more is told what was loaded, too
    if "Traceback" in outcome.stderr:
        return Verdict("traceback", f"traceback: {lines[-1:]}", outcome.stderr[-500:])
    if outcome.code not in (1, 2):
        return Verdict("exit code", f"exit {outcome.code}", outcome.stderr[-500:])
    if not lines or any(not line.startswith("Error: ") for line in lines) or (len(lines) > 1 and not case.partly):
        return Verdict("lines", f"not one line: {_without_names(str(lines[:2]))[:120]}", str(lines[:5]))
    if case.expect is Expect.SAME and not case.partly:
        return Verdict("refused wrongly", f"refused: {_kind(case)}", lines[0])
    if case.names and not any(name in line for name in case.names for line in lines):
        return Verdict("nameless", f"names no input: {_without_names(lines[0])[:100]}", f"{lines[0]} (of {case.names})")
    return None


def _run(run: Command | Call) -> Outcome:
    with _own_streams() as leaked:
        outcome = _run_command(run) if isinstance(run, Command) else _run_call(run)
    outcome.leaked = leaked()
    return outcome


def _run_command(command: Command) -> Outcome:
    with warnings.catch_warnings():
        _as_python_starts()
        result = CliRunner().invoke(main, command.arguments, input=command.stdin, prog_name="xai")
    error = result.exception
    if error is not None and not isinstance(error, SystemExit):
        return Outcome(result.exit_code, error=error)
    return Outcome(result.exit_code, command.numbers(result.stdout) if result.exit_code in (0, 1, 3) else None, None, result.stderr)


def _run_call(call: Call) -> Outcome:
    with warnings.catch_warnings(record=True) as warned:
        _as_python_starts()
        try:
            numbers, code, error = call.numbers(), 0, ""
        except xai.XaiError as refusal:
            numbers, code, error = None, 1, f"Error: {refusal}\n"
        except Exception as other:
            return Outcome(1, error=other)
    said = "".join(f"Warning: {w.message}\n" for w in warned if issubclass(w.category, UserWarning))
    return Outcome(code, numbers, None, said + error)


def _run_process(command: Command) -> Outcome:
    arguments = [sys.executable, "-c", "from xai.cli import main; main(prog_name='xai')", *command.arguments]
    done = subprocess.run(arguments, input=command.stdin, capture_output=True, timeout=10 * SECONDS, check=False)
    stdout, stderr = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    return Outcome(done.returncode, command.numbers(stdout) if done.returncode in (0, 1, 3) else None, None, stderr)


def _as_python_starts() -> None:
    warnings.resetwarnings()
    for category in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
        warnings.simplefilter("ignore", category)


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    def stop(number: int, frame: Any) -> None:
        raise TooLong

    former = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)


@contextmanager
def _own_streams() -> Iterator[Callable[[], str]]:
    """Catch what is written to the process's file descriptors 1 and 2 rather than to Python's streams."""
    with tempfile.TemporaryFile() as file:
        kept = os.dup(1), os.dup(2)
        for number in (1, 2):
            os.dup2(file.fileno(), number)
        content = ""
        try:
            yield lambda: content
        finally:
            for number, former in zip((1, 2), kept, strict=True):
                os.dup2(former, number)
                os.close(former)
            file.seek(0)
            content = file.read().decode(errors="replace")


def _listing(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Every file below a folder, with its size, its number and the time of its last change."""
    found = {}
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place, name)
            status = path.lstat()
            is_file = name in files
            found[str(path.relative_to(folder))] = (is_file * status.st_size, status.st_ino, is_file * status.st_mtime_ns)
    return found


def _allowed(name: str, writes: tuple[str, ...]) -> bool:
    return "*" in writes or any(name == allowed.rstrip("/") or (allowed.endswith("/") and name.startswith(allowed)) for allowed in writes)


def _site(error: BaseException) -> str:
    """The last line of the product that an error went through; `judge` of this file where it went through none."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if Path(f.filename).is_relative_to(ROOT) and "/tests/" not in f.filename and "venv" not in f.filename]
    return f"{Path(own[-1].filename).relative_to(ROOT)}:{own[-1].name}" if own else f"{frames[-1].filename}:{frames[-1].name}"


def nothing(_: str) -> None:
    """The numbers of a command that prints none."""


def canonical(numbers: Any) -> str:
    """Numbers as text, so that they can be compared, NaN included."""
    return json.dumps(numbers, sort_keys=True, default=repr)


def _difference(found: Any, expected: Any, where: str = "") -> str:
    """The first place where two structures differ."""
    if isinstance(found, dict) and isinstance(expected, dict):
        for key in dict.fromkeys((*expected, *found)):
            if canonical(found.get(key)) != canonical(expected.get(key)):
                return _difference(found.get(key), expected.get(key), f"{where}.{key}")
    if isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        for i, (one, other) in enumerate(zip(found, expected, strict=True)):
            if canonical(one) != canonical(other):
                return _difference(one, other, f"{where}[{i}]")
    return f"{where} {found!r:.80} instead of {expected!r:.80}"


def _without_names(text: str) -> str:
    """A message without what differs from case to case."""
    return re.sub(r"'[^']*'|\"[^\"]*\"|\d+|/\S+|\[.*\]", "*", text)[:160]


def _kind(case: Case) -> str:
    return case.what.partition(" · ")[0]


def _quoted(argument: str) -> str:
    short = argument if len(argument) <= 200 else f"{argument[:80]}…({len(argument)} characters)"
    return short if re.fullmatch(r"[\w./=,:@+-]+", short) else repr(short)
