from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest

from xai.base.errors import XaiError
from xai.base.lock import holder, locked

HOLD = """
import pathlib, time
from xai.base.lock import locked
with locked(pathlib.Path("lock"), "it"):
    print(flush=True)
    time.sleep(60)
"""


def test_one_at_a_time_and_nothing_is_left(tmp_path) -> None:
    path = tmp_path / "lock"
    with locked(path, "the folder"):
        message = rf"^the folder is in use by process {os.getpid()} on .* since \d{{4}}-.*: wait"
        with pytest.raises(XaiError, match=message) as caught, locked(path, "the folder"):
            pytest.fail("two are inside")
        assert "\n" not in str(caught.value)
        assert (holder(path) or "").startswith(f"process {os.getpid()} on ")
    assert holder(path) is None
    assert not path.exists()
    with locked(path, "the folder"):
        pass


def test_a_killed_process_leaves_no_lock(tmp_path) -> None:
    path = tmp_path / "lock"
    process = subprocess.Popen([sys.executable, "-c", HOLD], cwd=tmp_path, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    with pytest.raises(XaiError, match=f"in use by process {process.pid} on "), locked(path, "it"):
        pytest.fail("two are inside")
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert re.match(rf"process {process.pid} on", path.read_text())  # the file is there, its holder is not
    assert holder(path) is None
    with locked(path, "it"):
        assert f"process {os.getpid()} on" in path.read_text()
    assert not path.exists()


def test_a_file_that_its_holder_removed_meanwhile_does_not_count(tmp_path, monkeypatch) -> None:
    path, calls, lock = tmp_path / "lock", [], fcntl.flock

    def removed_before(descriptor: int, operation: int) -> None:
        calls.append(operation)
        if len(calls) == 1:
            path.unlink()
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", removed_before)
    with locked(path, "it"), pytest.raises(XaiError, match="in use"), locked(path, "it"):
        pytest.fail("two are inside")
    assert len(calls) == 3


def test_threads_that_come_and_go_are_never_two_inside(tmp_path) -> None:
    """The file is made and removed anew each time: whoever holds a removed one must not count."""
    path, inside, most = tmp_path / "lock", [], []

    def enter() -> bool:
        try:
            with locked(path, "it"):
                inside.append(1)
                most.append(len(inside))
                inside.pop()
        except XaiError:
            return False
        return True

    def work() -> None:
        for _ in range(50):
            while not enter():
                time.sleep(0)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 200
    assert not path.exists()


def test_what_cannot_be_locked_is_one_line(tmp_path) -> None:
    with (
        pytest.raises(XaiError, match="the folder cannot be locked: No such file or directory"),
        locked(tmp_path / "no" / "lock", "the folder"),
    ):
        pytest.fail("it has no file")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(XaiError, match="cannot be locked"), locked(tmp_path / "link", "the folder"):
        pytest.fail("links are not followed")
    assert not (tmp_path / "elsewhere").exists()


def test_who_waits_comes_in_when_the_other_has_ended(tmp_path) -> None:
    path, order = tmp_path / "lock", []

    def second() -> None:
        with locked(path, "it", wait=True):
            order.append("second")

    thread = threading.Thread(target=second)
    with locked(path, "it"):
        thread.start()
        thread.join(0.3)
        order.append("first")
    thread.join(60)
    assert order == ["first", "second"]
    assert not path.exists()
