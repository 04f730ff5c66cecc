"""Standard streams as they may be: closed, full, broken, ascii; and files that are streams. Whole processes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import xai

SCENE = Path(xai.__file__).parent / "examples" / "scene1.png"
QUESTION = "What color is the circle?"
EXPLAIN = f"'{sys.executable}' -m xai explain '{SCENE}' '{QUESTION}'"


def shell(command: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command of bash, where `pipefail` gives the first exit code that is not 0."""
    import os

    asked = ["bash", "-o", "pipefail", "-c", command]
    return subprocess.run(asked, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, timeout=120, check=False)


def one_error(done: subprocess.CompletedProcess[str], message: str) -> None:
    assert done.returncode == 1, done
    assert done.stderr.splitlines() == [f"Error: {message}"]


def test_a_terminal_without_letters_for_it_shows_escapes(tmp_path) -> None:
    done = shell(f"'{sys.executable}' -m xai explain '{SCENE}' '圆 What color?'", tmp_path, PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "\\u5706 What color?"


@pytest.mark.parametrize(
    ("redirected", "message"),
    [
        (f"'{sys.executable}' -m xai explain - '{QUESTION}' <&-", "standard input is closed: name a file, or send the content by a pipe"),
        (f"{EXPLAIN} >&-", "cannot write to standard output: Bad file descriptor"),
        (f"{EXPLAIN} > /dev/full", "cannot write to standard output: No space left on device"),
        (f"{EXPLAIN} --json - > /dev/full", "cannot write to standard output: No space left on device"),
        (f"'{sys.executable}' -m xai --version > /dev/full", "cannot write to standard output: No space left on device"),
        (f"'{sys.executable}' -m xai inspect demo > /dev/full", "cannot write to standard output: No space left on device"),
    ],
)
def test_a_stream_that_is_closed_or_full_is_one_line(tmp_path, redirected, message) -> None:
    one_error(shell(redirected, tmp_path), message)


def test_with_nothing_to_write_to_the_file_is_right_and_the_exit_code_too(tmp_path) -> None:
    done = shell(f"{EXPLAIN} -o why.json <&- >&- 2>&-", tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
    assert json.loads((tmp_path / "why.json").read_text())["answer"]["text"] == "red"  # no stream's number was reused
    assert shell(f"'{sys.executable}' -m xai explain none.png '{QUESTION}' 2> /dev/full", tmp_path).returncode == 1


def test_who_stops_reading_ends_it_silently(tmp_path) -> None:
    done = shell(f"'{sys.executable}' -m xai explain --help | true", tmp_path)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


@pytest.mark.parametrize(
    "redirected",
    [
        f"{EXPLAIN} --json /dev/stdout | cat",
        f"{EXPLAIN} --json /dev/stdout > out.json; cat out.json",
        f"{EXPLAIN} --json >(cat > out.json) > /dev/null; sleep 0.5; cat out.json",
        f"'{sys.executable}' -m xai explain <(cat '{SCENE}') '{QUESTION}' --json /proc/self/fd/1",
    ],
)
def test_a_file_that_is_a_stream(tmp_path, redirected) -> None:
    done = shell(redirected, tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["answer"]["text"] == "red"
