"""From a bound socket to the last request: ready, draining, closed."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import uvicorn

from xai.base.errors import XaiError
from xai.serve.errors import unavailable
from xai.serve.settings import Settings

KEEP_ALIVE = 65
"""Seconds: longer than the idle timeout of the proxies in front (60), which would else send into a closed connection."""

LARGEST_HEADER = 32_768
"""Bytes of a request's line and headers."""


class Life:
    """What the server is ready for; changed by the event loop and by signals, read by the routes."""

    def __init__(self) -> None:
        self.ready = False
        self.draining = False
        self.closed = False
        self.failure: XaiError | None = None

    def check(self) -> None:
        """Raises `Refusal` (503) where no work is taken."""
        if self.closed:
            raise unavailable("draining", "the server is shutting down: send this to another one")
        if not self.ready:
            raise unavailable("not_ready", "the server is still loading its models: try again")

    def check_ready(self) -> None:
        """Raises `Refusal` (503) where new requests should go to another server, though this one may still take them."""
        if self.draining:
            raise unavailable("draining", "the server is shutting down: send this to another one")
        self.check()


def listen(settings: Settings) -> socket.socket:
    """A bound socket. Raises `XaiError` where the address cannot be used."""
    where = f"{settings.host} port {settings.port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise XaiError(f"cannot listen on {where}: {getattr(error, 'strerror', None) or error}; choose another --host") from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise XaiError(f"cannot listen on {where}: {error.strerror}; choose another --port or --host") from error
    return bound


class Server(uvicorn.Server):
    """uvicorn, but for signals: SIGTERM drains with a pause, SIGINT without, a second one ends at once."""

    def __init__(self, config: uvicorn.Config, life: Life, pause: float, listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._listening = listening
        self._life, self._pause, self._left = life, pause, 0.0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen, and say so."""
        await super().startup(sockets)
        self._listening()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle both signals; once drained, the process ends as after any work that is done."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        former = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain."""
        if self._life.draining:
            os._exit(128 + sig)  # not by an exception: the thread of a model would be waited for
        self._life.draining = True
        self._left = 0.0 if sig == signal.SIGINT else self._pause

    async def on_tick(self, counter: int) -> bool:
        """Every tenth of a second: whether to stop listening."""
        if self._life.failure is not None:
            self.should_exit = True
        elif self._life.draining:
            self._left -= 0.1
            self.should_exit = self.should_exit or self._left < 0
        stop = await super().on_tick(counter)
        self._life.closed = self._life.closed or stop
        return stop


def serve(app: Any, life: Life, settings: Settings, bound: socket.socket, listening: Callable[[], None] = lambda: None) -> None:
    """Serve until a signal ends it; `listening` is called once connections are taken.

    Raises `XaiError` where a model fails its first explanation.
    """
    for noisy in ("uvicorn.error", "python_multipart"):  # a line for whatever a stranger sends, in a form of its own
        logging.getLogger(noisy).setLevel(logging.ERROR)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        lifespan="on",
        http="h11",
        root_path=settings.root_path,
        timeout_keep_alive=KEEP_ALIVE,
        h11_max_incomplete_event_size=LARGEST_HEADER,
    )
    Server(config, life, settings.drain_pause, listening).run([bound])
    if life.failure is not None:
        raise life.failure
