"""A server on the loopback that behaves like a page of releases, with its troubles, and like the Hugging Face hub."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PIECE = 4096


@dataclass
class Served:
    """A file, and how it is sent. `cuts` and `statuses` are used up, one by each request that sends a body."""

    body: bytes
    mark: str | None = '"first"'
    ranges: bool = True
    stated: int | None = None
    """The length that is stated in place of the true one; negative: none."""
    cuts: list[int] = field(default_factory=list)
    """Bytes after which the connection is closed."""
    statuses: list[int] = field(default_factory=list)
    pause: float = 0.0
    """Seconds after each piece."""
    kind: str = "application/octet-stream"
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Site:
    """What is served by path, where a path is sent on to, and what was asked for: (path, Range or None)."""

    files: dict[str, Served] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)
    repositories: dict[str, dict[str, object]] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    url: str = ""

    def ranges_of(self, path: str) -> list[str | None]:
        return [wanted for asked, wanted in self.asked if asked == path]

    def publish(self, repo: str, contents: dict[str, bytes], commit: str = COMMIT) -> None:
        """A repository of the hub: weights are large files, which lie on another path, the rest is Git's own."""
        siblings = []
        for name, body in contents.items():
            git = hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()
            one: dict[str, object] = {"rfilename": name, "size": len(body), "blobId": git}
            path = f"/{repo}/resolve/{commit}/{name}"
            if name.endswith((".safetensors", ".bin")):
                sha256 = hashlib.sha256(body).hexdigest()
                one["lfs"] = {"sha256": sha256, "size": len(body), "pointerSize": 134}
                self.moved[path] = f"/cdn/{sha256}"
                self.files[f"/cdn/{sha256}"] = Served(body, f'"{sha256}"')
                self.files[path] = Served(body, None, headers={"X-Linked-Etag": f'"{sha256}"', "X-Linked-Size": str(len(body))})
            else:
                self.files[path] = Served(body, f'"{git}"')
            self.files[path].headers["X-Repo-Commit"] = commit
            siblings.append(one)
        self.repositories[repo] = {"id": repo, "sha": commit, "private": False, "tags": [], "downloads": 0, "siblings": siblings}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Site

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer(send=False)

    def do_GET(self) -> None:
        self.answer(send=True)

    def answer(self, send: bool) -> None:
        path = urlsplit(self.path).path
        if send:
            self.site.asked.append((path, self.headers["Range"]))
        if path.startswith("/api/models/"):
            self.describe(path)
            return
        served = self.site.files.get(path)
        if path in self.site.moved:
            extra = dict(served.headers) if served else {}
            other = self.site.url.replace("127.0.0.1", "localhost")  # another host, as the hub's store of large files is
            self.reply(302, b"", {"Location": other + self.site.moved[path], **extra}, send)
        elif served is None:
            self.reply(404, b"", {"X-Error-Code": "EntryNotFound"}, send)
        elif send and served.statuses:
            self.reply(served.statuses.pop(0), b"", {}, send)
        else:
            self.send_file(served, send)

    def describe(self, path: str) -> None:
        repo, _, revision = path.removeprefix("/api/models/").partition("/revision/")
        found = self.site.repositories.get(repo)
        if found is None:
            self.reply(404, b"{}", {"X-Error-Code": "RepoNotFound"}, True)
        elif revision not in ("main", found["sha"]):
            self.reply(404, b"{}", {"X-Error-Code": "RevisionNotFound"}, True)
        else:
            self.reply(200, json.dumps(found).encode(), {"Content-Type": "application/json"}, True)

    def reply(self, status: int, body: bytes, headers: dict[str, str], send: bool) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if send:
            self.wfile.write(body)

    def send_file(self, served: Served, send: bool) -> None:
        start, wanted = 0, self.headers["Range"]
        if wanted and served.ranges and self.headers["If-Range"] in (None, served.mark):
            start = int(wanted.removeprefix("bytes=").partition("-")[0])
            if start >= len(served.body):
                self.reply(416, b"", {"Content-Range": f"bytes */{len(served.body)}"}, send)
                return
        rest = served.body[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(served.body) - 1}/{len(served.body)}")
        if served.mark:
            self.send_header("ETag", served.mark)
        for name, value in served.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", served.kind)
        stated = len(rest) if served.stated is None else served.stated
        if stated >= 0:
            self.send_header("Content-Length", str(stated))
        self.send_header("Connection", "close")
        self.end_headers()
        if send:
            self.send_body(rest[: served.cuts.pop(0)] if served.cuts else rest, served.pause)

    def send_body(self, body: bytes, pause: float) -> None:
        try:
            for i in range(0, len(body), PIECE):
                self.wfile.write(body[i : i + PIECE])
                time.sleep(pause)
        except OSError:  # whoever asked has gone
            pass


@contextmanager
def serving() -> Iterator[Site]:
    """A site, for as long as the block runs."""
    site = Site()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"site": site}))
    server.daemon_threads = True
    site.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def contents(folder: Path, *names: str) -> dict[str, bytes]:
    """Files of a folder by name."""
    return {name: (folder / name).read_bytes() for name in names}
