"""One file behind a URL -> the user's cache: resumed by range, hashed while it streams, kept only if it is what it should be."""

from __future__ import annotations

import hashlib
import http.client
import json
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from xai.base.errors import XaiError, first_line
from xai.base.files import hash_file, json_bytes, write
from xai.base.lock import locked
from xai.base.messages import LOG
from xai.base.progress import byte_bar
from xai.base.versions import XAI_VERSION
from xai.base.wording import size_text
from xai.pull.cache import Kept, Record, read_record, record_path, require_network, write_record
from xai.pull.catalogue import Web

CHUNK = 1 << 18
TIMEOUT = 30.0
"""Seconds without a byte, after which a connection is given up."""
ATTEMPTS = 4
"""Connections in a row that may bring nothing."""
PAUSE = 1.0
"""Seconds before the next one, and as many more each time."""

PART = ".part"
_NO_SUCH_RANGE = 416
_AGAIN = (408, 429, 500, 502, 503, 504)
"""Statuses of a server that may answer later."""


class _Interrupted(Exception):
    """A transfer that ended early and may be tried again; from the start, where what is there is `stale`."""

    def __init__(self, message: str, stale: bool = False) -> None:
        super().__init__(message)
        self.stale = stale


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirect but not from an encrypted connection to one that anybody on the way can change."""

    def redirect_request(self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if req.type == "https" and not newurl.startswith("https:"):
            raise urllib.error.HTTPError(req.full_url, code, f"with a redirect to {newurl}, which is not encrypted", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


@dataclass
class _Part:
    """What is there of a file: its bytes so far, and what the server said of it: its size, and the mark (ETag or date) by which it tells
    whether it is still the same file."""

    path: Path
    total: int | None = None
    mark: str | None = None

    @property
    def note(self) -> Path:
        return self.path.with_name(self.path.name + ".json")

    @property
    def have(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def read(self) -> None:
        """Take up what a former run left; bytes of which nothing is known are dropped."""
        try:
            said: dict[str, Any] = json.loads(self.note.read_text(encoding="utf-8"))
            self.total, self.mark = said["total"], said["mark"]
        except (OSError, ValueError, KeyError, TypeError):
            self.drop()

    def start(self, total: int | None, mark: str | None) -> None:
        """Begin anew with a file of which the server says this."""
        self.drop()
        self.total, self.mark = total, mark
        write({self.note: json_bytes({"total": total, "mark": mark})})

    def drop(self) -> None:
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)
        self.total = self.mark = None


def check_web(source: Web) -> Record | None:
    """The record of a file that lies in the cache unchanged. A file that was changed is removed, with a warning; None where none lies."""
    record = read_record(source)
    if record is None:
        return None
    path, kept = record.folder / source.name, record.files.get(source.name)
    wanted = source.sha256 or (kept and kept.sha256)
    try:
        found = hash_file(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise XaiError(f"{path} cannot be read: {error.strerror}") from error
    if kept is None or found != wanted:
        LOG.warning("%s was changed since it was pulled (SHA-256 %s, not %s): removed", path, found, wanted)
        record_path(source).unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        return None
    return record


def probe(source: Web) -> int | None:
    """The size that a server states for a file, without fetching it; None where it states none. Raises `XaiError` as `fetch_web`."""
    require_network(f"the file {source.url}")
    try:
        with _open(source, {}) as response:
            _refuse_page(source, response, response.read(64))
            return _total(response)
    except (_Interrupted, OSError, http.client.HTTPException) as error:
        raise XaiError(f"{source.url} cannot be fetched: {first_line(error)}") from error


def fetch_web(source: Web) -> Record:
    """The record of a file, fetched unless it lies in the cache unchanged; another process that fetches it is waited for.

    Raises `XaiError` where it cannot be had, or is not what was published: then nothing is left of it. What a broken connection or a kill
    leaves is gone on with next time.
    """
    place = record_path(source)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise XaiError(f"cannot save {place.parent}: {error.strerror}") from error
    with locked(place.with_name("lock"), source.url, wait=True):
        if (record := check_web(source)) is not None:
            return record
        require_network(f"the file {source.url}")
        path = place.with_name(source.name)
        part = _Part(path.with_name(path.name + PART))
        part.read()
        try:
            digest = _transfer(source, part)
        except OSError as error:
            raise XaiError(f"cannot save {part.path}: {error.strerror or error}") from error
        _compare(source, part, digest)
        part.path.replace(path)
        record = Record(str(source), path.parent, {path.name: Kept(path.stat().st_size, digest, source.sha256 is not None)})
        write_record(source, record)
        part.drop()
        return record


def _compare(source: Web, part: _Part, digest: str) -> None:
    size = part.have
    wrong = None
    if source.bytes not in (None, size):
        wrong = f"it has {size} bytes, {source.bytes} were published"
    elif source.sha256 not in (None, digest):
        wrong = f"its SHA-256 is {digest}, {source.sha256} was published"
    if wrong:
        part.drop()
        raise XaiError(f"{source.url} is not the file that was published: {wrong}; it was removed")


def _transfer(source: Web, part: _Part) -> str:
    """Fetch what is missing, in as many connections as it takes; the SHA-256 of the whole."""
    failures, most = 0, part.have
    while True:
        try:
            return _stream(source, part)
        except _Interrupted as error:
            if error.stale:
                part.drop()
            failures = 0 if part.have > most else failures + 1
            most = max(most, part.have)
            if failures >= ATTEMPTS:
                here = f"{part.have} of {part.total or 'an unknown number of'} bytes are here"
                raise XaiError(f"{source.url} cannot be fetched: {error}; {here}: pull again to go on") from error
            LOG.info("%s: %s, trying again", source.url, error)
            time.sleep(PAUSE * failures)


def _stream(source: Web, part: _Part) -> str:
    """One connection: go on where the part ends, or begin anew where the server cannot, or the file is another one by now."""
    have = part.have if part.mark or source.sha256 else 0
    if have and have == part.total:
        return hash_file(part.path)
    headers = {"Range": f"bytes={have}-"} if have else {}
    if have and part.mark:
        headers["If-Range"] = part.mark
    with _open(source, headers) as response:
        rest = response.headers["Content-Range"] == f"bytes {have}-{(part.total or 0) - 1}/{part.total}"
        if response.status == 206 and not rest:
            raise _Interrupted("the server sent another part than was asked for", stale=True)
        if response.status != 206:
            have = 0
        with _reading():
            first = response.read1(CHUNK)
        if have == 0:
            _refuse_page(source, response, first)
            part.start(_check_total(source, _total(response)), response.headers["ETag"] or response.headers["Last-Modified"])
        check_space(part.path.parent, (part.total or 0) - have, source.url)
        return _write(response, part, first, have)


def _write(response: http.client.HTTPResponse, part: _Part, first: bytes, have: int) -> str:
    digest = hashlib.sha256()
    with part.path.open("r+b" if have else "wb") as file:
        _digest_up_to(file, have, digest.update)
        with byte_bar(part.path.name.removesuffix(PART), part.total, have) as advance:
            chunk = first
            while chunk:
                file.write(chunk)
                digest.update(chunk)
                advance(len(chunk))
                with _reading():
                    chunk = response.read1(CHUNK)
    if part.total is not None and part.have < part.total:
        raise _Interrupted(f"the connection ended after {part.have} of {part.total} bytes")
    if part.total is not None and part.have > part.total:
        raise _Interrupted("the server sent more than it said", stale=True)
    return digest.hexdigest()


def _digest_up_to(file: BinaryIO, have: int, update: Callable[[bytes], object]) -> None:
    while have:
        update(chunk := file.read(min(CHUNK, have)))
        have -= len(chunk)


@contextmanager
def _reading() -> Iterator[None]:
    """What breaks while a body is read is an interruption."""
    try:
        yield
    except (OSError, http.client.HTTPException) as error:
        raise _Interrupted(first_line(error)) from error


def _open(source: Web, headers: dict[str, str]) -> http.client.HTTPResponse:
    """The response to a request, redirects followed. Raises `_Interrupted` where it may come later, `XaiError` where it will not."""
    asked = {"User-Agent": f"xai/{XAI_VERSION}", "Accept-Encoding": "identity", **headers}
    try:
        opener = urllib.request.build_opener(_Redirects)
        response: http.client.HTTPResponse = opener.open(urllib.request.Request(source.url, headers=asked), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        with error:
            answer = f"the server answered {error.code} {error.reason}"
            if error.code in (*_AGAIN, _NO_SUCH_RANGE):
                raise _Interrupted(answer, stale=error.code == _NO_SUCH_RANGE) from error
            raise XaiError(f"{source.url} cannot be fetched: {answer}") from error
    except (ValueError, http.client.InvalidURL) as error:
        raise XaiError(f"{source.url} cannot be fetched: {first_line(error)}") from error
    except (OSError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise _Interrupted(first_line(reason) if isinstance(reason, BaseException) else str(reason)) from error
    if (encoding := response.headers["Content-Encoding"]) not in (None, "identity"):
        response.close()
        raise XaiError(f"{source.url} cannot be fetched: the server sends it in the encoding {encoding}, which was not asked for")
    return response


def _total(response: http.client.HTTPResponse) -> int | None:
    stated = response.headers["Content-Length"]
    return int(stated) if stated is not None and stated.isdecimal() else None


def _check_total(source: Web, total: int | None) -> int | None:
    """The size to expect. Raises `XaiError` where it is not the published one, or nothing at all could show that a file is whole."""
    if source.bytes is not None and total not in (None, source.bytes):
        raise XaiError(f"{source.url} is not the file that was published: it has {total} bytes, {source.bytes} were published")
    if total is None and source.bytes is None and source.sha256 is None:
        raise XaiError(f"{source.url} cannot be fetched: the server does not say how long the file is, so that nothing would show its end")
    return source.bytes if total is None else total


def _refuse_page(source: Web, response: http.client.HTTPResponse, first: bytes) -> None:
    if response.headers.get_content_type() == "text/html" or first.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<":
        raise XaiError(f"{source.url} is a web page, not a file: open it in a browser to see what it says, and name the file itself")


def check_space(folder: Path, wanted: int, what: str) -> None:
    """Raises `XaiError` where a file system has not as many bytes free; `folder` need not exist yet."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free
    if wanted > free:
        raise XaiError(f"{what} does not fit: it takes {size_text(wanted)}, and {there} has {size_text(free)} free")
