"""A file behind a URL: whole and unchanged, or not there at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import pytest

from xai.base import progress
from xai.base.errors import XaiError
from xai.pull import download
from xai.pull.cache import read_record, record_path
from xai.pull.catalogue import Web
from xai.pull.download import PART, fetch_web, probe
from xai.tests.pull.server import Served, Site

BODY = bytes(range(256)) * 400  # 102,400 bytes
SHA256 = hashlib.sha256(BODY).hexdigest()
PATH = "/releases/meter.ckpt"


def offer(site: Site, **how: object) -> Web:
    site.files[PATH] = Served(BODY, **how)  # type: ignore[arg-type]
    return Web(site.url + PATH)


def left(cache: Path) -> list[str]:
    """What lies in the cache, but for folders."""
    return sorted(path.name for path in cache.rglob("*") if path.is_file())


def test_a_file_is_kept_with_what_it_was(site, cache) -> None:
    record = fetch_web(offer(site))
    (kept,) = record.files.values()
    assert (record.folder / "meter.ckpt").read_bytes() == BODY
    assert (kept.bytes, kept.sha256, kept.published) == (len(BODY), SHA256, False)
    assert left(cache) == ["meter.ckpt", "record.json"]
    assert read_record(Web(site.url + PATH)) == record


def test_a_file_that_is_here_is_not_asked_for_again(site) -> None:
    source = offer(site)
    fetch_web(source)
    fetch_web(source)
    assert len(site.asked) == 1


def test_redirects_are_followed(site) -> None:
    source = offer(site)
    site.moved["/download/meter.ckpt"] = PATH
    record = fetch_web(Web(site.url + "/download/meter.ckpt"))
    assert (record.folder / "meter.ckpt").read_bytes() == BODY
    assert source != Web(record.source)


@pytest.mark.parametrize("cuts", [[1000], [1000, 5000, 1], [0, 0, 20_000]])
def test_a_broken_connection_is_gone_on_with(site, cuts) -> None:
    record = fetch_web(offer(site, cuts=list(cuts)))
    assert record.files["meter.ckpt"].sha256 == SHA256
    asked = site.ranges_of(PATH)
    assert asked[0] is None
    done = 0
    for cut, wanted in zip(cuts, asked[1:], strict=True):
        done += cut
        assert wanted == (f"bytes={done}-" if done else None)


def test_a_server_that_is_busy_is_asked_again(site) -> None:
    assert fetch_web(offer(site, statuses=[503, 429])).files["meter.ckpt"].sha256 == SHA256


def test_without_ranges_a_file_is_begun_anew(site) -> None:
    assert fetch_web(offer(site, ranges=False, cuts=[5000])).files["meter.ckpt"].sha256 == SHA256
    assert fetch_web(Web(site.url + PATH)).files["meter.ckpt"].bytes == len(BODY)


def test_without_a_mark_what_is_there_could_be_of_another_file(site) -> None:
    assert fetch_web(offer(site, mark=None, cuts=[5000])).files["meter.ckpt"].sha256 == SHA256
    assert site.ranges_of(PATH) == [None, None]


def test_without_a_mark_a_published_hash_is_enough_to_go_on(site) -> None:
    offer(site, mark=None, cuts=[5000])
    fetch_web(Web(site.url + PATH, sha256=SHA256))
    assert site.ranges_of(PATH) == [None, "bytes=5000-"]


def test_a_file_that_was_replaced_meanwhile_is_begun_anew(site) -> None:
    source = offer(site, cuts=[5000, 0, 0, 0, 0, 0, 0])
    with pytest.raises(XaiError, match=r"5000 of 102400 bytes are here: pull again to go on"):
        fetch_web(source)
    new = BODY[::-1]
    site.files[PATH] = Served(new, '"second"')
    assert fetch_web(source).files["meter.ckpt"].sha256 == hashlib.sha256(new).hexdigest()
    assert site.ranges_of(PATH)[-1] == "bytes=5000-"


@pytest.mark.parametrize("body", [b"<!DOCTYPE html><html>Sign in</html>", b"\xef\xbb\xbf\n <html>quota</html>", b"not found"])
def test_a_web_page_is_refused_and_nothing_is_left(site, cache, body) -> None:
    site.files[PATH] = Served(body, kind="text/html; charset=utf-8" if body == b"not found" else "application/octet-stream")
    with pytest.raises(XaiError, match=r"meter\.ckpt is a web page, not a file"):
        fetch_web(Web(site.url + PATH))
    with pytest.raises(XaiError, match="is a web page"):
        probe(Web(site.url + PATH))
    assert left(cache) == []


@pytest.mark.parametrize(
    ("published", "message"),
    [
        ({"sha256": "0" * 64}, rf"its SHA-256 is {SHA256}, {'0' * 64} was published; it was removed"),
        ({"bytes": 7}, "it has 102400 bytes, 7 were published"),
    ],
)
def test_what_is_not_the_published_file_is_removed(site, cache, published, message) -> None:
    offer(site)
    with pytest.raises(XaiError, match=message):
        fetch_web(Web(site.url + PATH, **published))
    assert left(cache) == []


def test_the_published_hash_is_said_to_be_compared(site) -> None:
    offer(site)
    assert fetch_web(Web(site.url + PATH, len(BODY), SHA256)).files["meter.ckpt"].published


def test_a_shorter_file_than_was_stated_is_never_kept(site, cache) -> None:
    source = offer(site, stated=len(BODY) + 10)
    with pytest.raises(XaiError, match=r"cannot be fetched: .*102400 of 102410 bytes"):
        fetch_web(source)
    assert "meter.ckpt" not in left(cache)
    assert read_record(source) is None


def test_a_file_of_which_nothing_would_show_the_end_is_refused(site, cache) -> None:
    with pytest.raises(XaiError, match="does not say how long the file is"):
        fetch_web(offer(site, stated=-1))
    assert left(cache) == []
    assert fetch_web(Web(site.url + PATH, sha256=SHA256)).files["meter.ckpt"].bytes == len(BODY)


@pytest.mark.parametrize("status", [404, 403, 401])
def test_what_will_not_come_is_said_at_once(site, cache, status) -> None:
    source = offer(site, statuses=[status])
    with pytest.raises(XaiError, match=rf"cannot be fetched: the server answered {status} "):
        fetch_web(source)
    assert len(site.asked) == 1
    assert left(cache) == []


def test_nobody_there_is_one_line(site) -> None:
    with pytest.raises(XaiError, match=r"cannot be fetched: .*refused") as caught:
        fetch_web(Web("http://127.0.0.1:1/meter.ckpt"))
    assert "\n" not in str(caught.value)


def test_a_connection_that_stops_sending_is_left_for_another(site, monkeypatch) -> None:
    monkeypatch.setattr(download, "TIMEOUT", 0.2)
    site.files[PATH] = Served(BODY[:9000], pause=1.0)
    assert fetch_web(Web(site.url + PATH)).files["meter.ckpt"].bytes == 9000
    assert site.ranges_of(PATH) == [None, "bytes=4096-", "bytes=8192-"]


def test_a_changed_file_is_removed_and_fetched_again(site, caplog) -> None:
    source = offer(site)
    path = fetch_web(source).folder / "meter.ckpt"
    path.write_bytes(BODY[:-1] + b"x")
    assert fetch_web(source).files["meter.ckpt"].sha256 == SHA256
    assert path.read_bytes() == BODY
    assert "was changed since it was pulled" in caplog.text
    path.unlink()
    fetch_web(source)
    assert path.read_bytes() == BODY


def test_a_person_who_watches_sees_how_far_it_is(site, monkeypatch, capsys) -> None:
    source = offer(site)
    monkeypatch.setattr(progress, "is_watched", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")  # a terminal, for the library that draws
    monkeypatch.setenv("TERM", "xterm")
    fetch_web(source)
    shown = capsys.readouterr()
    assert shown.out == "" and "meter.ckpt" in shown.err and "102.4/102.4" in shown.err


def test_a_full_disk_is_told_before(site, cache, monkeypatch) -> None:
    usage = namedtuple("usage", "total used free")(10**6, 10**6, 50_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(XaiError, match=r"does not fit: it takes 102\.4 kB, and .* has 50\.0 kB free"):
        fetch_web(offer(site))
    assert not [name for name in left(cache) if name.endswith((PART, ".ckpt"))]


@pytest.mark.parametrize("variable", ["XAI_OFFLINE", "HF_HUB_OFFLINE"])
def test_without_network_what_is_wanted_is_named(site, monkeypatch, variable) -> None:
    source = offer(site)
    monkeypatch.setenv(variable, "1")
    with pytest.raises(XaiError, match=rf"{variable} is set, and the file {site.url}{PATH} is not here"):
        fetch_web(source)
    assert site.asked == []
    monkeypatch.setenv(variable, "0")
    fetch_web(source)
    monkeypatch.setenv(variable, "1")
    assert fetch_web(source).files["meter.ckpt"].sha256 == SHA256


def start(url: str) -> subprocess.Popen[str]:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts jobs in its background deaf to it
    return subprocess.Popen([sys.executable, "-m", "xai", "pull", url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_part(source: Web, bytes_: int) -> Path:
    part = record_path(source).with_name(source.name + PART)
    end = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size >= bytes_):
        assert time.monotonic() < end
        time.sleep(0.01)
    return part


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_pull_goes_on_where_it_was(site, number) -> None:
    source = offer(site, pause=0.1)
    process = start(source.url)
    try:
        part = wait_for_part(source, 8192)
        process.send_signal(number)
        out, said = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert process.returncode != 0 and "Traceback" not in said, out
    assert "meter.ckpt: " not in out
    have = part.stat().st_size
    assert 8192 <= have < len(BODY)
    site.files[PATH].pause = 0.0
    assert fetch_web(source).files["meter.ckpt"].sha256 == SHA256
    assert site.ranges_of(PATH)[-1] == f"bytes={have}-"


def test_two_pulls_at_once_fetch_a_file_once(site, cache) -> None:
    source = offer(site, pause=0.02)
    processes = [start(source.url) for _ in range(2)]
    outputs = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert left(cache) == ["meter.ckpt", "record.json"]
    assert read_record(source).files["meter.ckpt"].sha256 == SHA256
    bodies = site.ranges_of(PATH)
    assert len(bodies) <= 3 and set(bodies) == {None}  # one asks for the size, one fetches; the other waited or came too late to ask


def test_a_record_that_cannot_be_read_is_written_anew(site) -> None:
    source = offer(site)
    fetch_web(source)
    record_path(source).write_text('{"source": 1')
    assert read_record(source) is None
    fetch_web(source)
    assert json.loads(record_path(source).read_text())["files"]["meter.ckpt"]["sha256"] == SHA256


def test_a_cache_that_may_not_be_written_to_is_one_line(site, cache) -> None:
    cache.parent.mkdir(parents=True, exist_ok=True)
    cache.write_text("a file where a folder should be")
    with pytest.raises(XaiError, match="cannot save"):
        fetch_web(offer(site))
    assert os.path.isfile(cache)  # noqa: PTH113
