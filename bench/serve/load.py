"""Loads on a server: closed (each client asks again once it has its answer) and open (requests come at a rate, whatever the answers do)."""

from __future__ import annotations

import http.client
import itertools
import json
import re
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple
from urllib.parse import urlsplit

from xai.base.errors import XaiError

PATH = "/v1/explain"

TIMEOUT = 120
"""Seconds until a request counts as lost."""

MOST_OPEN = 256
"""Requests of an open load that wait at once: a server that answers within its deadline does not get there."""

BATCH = re.compile(r'queue;dur=([\d.]+);desc="batch of (\d+)"')


class Reply(NamedTuple):
    """One request: when it was to be sent, its latency in seconds (from then), its status (0 where it was lost), its batch and queue."""

    sent: float
    latency: float
    status: int
    batch: int
    queue_ms: float


class Server:
    """A server by its URL, and the requests that it is asked, in turn. Raises `XaiError` where the URL is none of http."""

    def __init__(self, url: str, bodies: Sequence[bytes]) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise XaiError(f"{url} is not the URL of a server: give one such as http://127.0.0.1:8000")
        try:
            self._host, self._port = parts.hostname, parts.port or 80
        except ValueError as error:
            raise XaiError(f"{url} is not the URL of a server: {error}") from error
        self._path = parts.path.rstrip("/")
        self._bodies = bodies
        self._turns = itertools.count()

    @contextmanager
    def connection(self) -> Iterator[http.client.HTTPConnection]:
        """A connection that is kept alive."""
        made = http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT)
        try:
            yield made
        finally:
            made.close()

    def ask(self, connection: http.client.HTTPConnection, due: float | None = None) -> Reply:
        """Send the next request and wait for its answer."""
        body = self._bodies[next(self._turns) % len(self._bodies)]
        sent = time.perf_counter() if due is None else due
        try:
            connection.request("POST", self._path + PATH, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            response.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            return Reply(sent, time.perf_counter() - sent, 0, 0, 0.0)
        latency = time.perf_counter() - sent
        found = BATCH.search(response.headers.get("Server-Timing", ""))
        return Reply(sent, latency, response.status, int(found[2]) if found else 0, float(found[1]) if found else 0.0)

    def get(self, path: str) -> tuple[int, str]:
        """The status and text of a page. Raises `XaiError` where nobody answers."""
        with self.connection() as connection:
            try:
                connection.request("GET", self._path + path)
                response = connection.getresponse()
                return response.status, response.read().decode()
            except (OSError, http.client.HTTPException) as error:
                raise XaiError(f"nobody answers at {self._host} port {self._port}: {error}") from error

    def memory_mb(self) -> float | None:
        """Memory of the server's process, in 10^6 bytes; None where it does not show its metrics."""
        status, text = self.get("/metrics")
        found = re.search(r"^process_resident_memory_bytes (\S+)$", text, flags=re.MULTILINE)
        return float(found[1]) / 1e6 if status == 200 and found else None


def body(image_base64: str, question: str) -> bytes:
    """A request."""
    return json.dumps({"image": image_base64, "question": question}).encode()


def closed(server: Server, clients: int, seconds: float) -> list[Reply]:
    """So many clients, each with one request at a time, for so long."""
    end = time.perf_counter() + seconds

    def client(_: int) -> list[Reply]:
        found = []
        with server.connection() as connection:
            while time.perf_counter() < end:
                found.append(server.ask(connection))
        return found

    with ThreadPoolExecutor(clients) as pool:
        return [reply for replies in pool.map(client, range(clients)) for reply in replies]


def open_loop(server: Server, rate: float, seconds: float) -> list[Reply]:
    """Requests evenly at `rate` a second, whatever the answers do. A latency counts from when a request was due: none is left out because
    the one before it was slow (coordinated omission, Tene 2013)."""
    idle: list[http.client.HTTPConnection] = []
    lock = threading.Lock()

    def one(due: float) -> Reply:
        with lock:
            connection = idle.pop() if idle else http.client.HTTPConnection(server._host, server._port, timeout=TIMEOUT)
        reply = server.ask(connection, due)
        with lock:
            idle.append(connection)
        return reply

    start = time.perf_counter()
    with ThreadPoolExecutor(MOST_OPEN) as pool:
        waiting = []
        for i in range(int(rate * seconds)):
            due = start + i / rate
            time.sleep(max(due - time.perf_counter(), 0))
            waiting.append(pool.submit(one, due))
        replies = [one.result() for one in waiting]
    for connection in idle:
        connection.close()
    return replies
