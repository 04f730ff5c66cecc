"""What every request passes first and last: its id, its key, its headers, its count and its line in the log."""

from __future__ import annotations

import hmac
import json
import re
import sys
import time
import traceback
import uuid
from datetime import UTC, datetime
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from xai.base.messages import is_quiet
from xai.serve.errors import GONE, Refusal
from xai.serve.gauges import Gauges
from xai.serve.lifecycle import Life
from xai.serve.settings import Settings

OPEN = ("/", "/docs", "/openapi.json", "/healthz", "/readyz", "/v2/health/live", "/v2/health/ready")
"""Routes that need no key."""

POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
"""Of everything that has no policy of its own."""

REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")

OTHER = "other"
"""The path, in logs and metrics, of what no route knows: a stranger's paths are not repeated."""


class Edge:
    """The outermost layer, plain ASGI: it sees the connection's end, which Starlette's own base class for middleware hides."""

    def __init__(self, app: ASGIApp, settings: Settings, gauges: Gauges, life: Life) -> None:
        self.app, self.settings, self.gauges, self.life = app, settings, gauges, life
        self._log = log_json if settings.log_format == "json" else log_text
        self._open = {*OPEN, "/metrics"} if settings.open_metrics else {*OPEN}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on. What it raises is answered with 500, and its traceback logged."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start = time.perf_counter()
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        status = 0

        async def send_more(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self._complete(MutableHeaders(scope=message), request_id)
            await send(message)

        scope["state"]["request_id"] = request_id
        try:
            if refused := self._locked(scope, headers):
                scope["state"]["reason"] = "key"
                await refused(scope, receive, send_more)
            else:
                await self.app(scope, receive, send_more)
        except Exception:
            traceback.print_exc()
            scope["state"]["reason"] = "internal"
            if not status:
                problem = Refusal(500, "internal", f"the server failed, which is its fault: report request {request_id}")
                await problem.response()(scope, receive, send_more)
        finally:
            self._count(scope, status or GONE, request_id, time.perf_counter() - start)

    def _locked(self, scope: Scope, headers: Headers) -> Response | None:
        """The refusal of a request without a key where one is needed; every key is compared, in constant time."""
        if not self.settings.keys or scope["path"].removeprefix(scope.get("root_path", "")) in self._open:
            return None
        kind, _, bearer = headers.get("authorization", "").partition(" ")
        given = (bearer.strip() if kind.lower() == "bearer" else headers.get("x-api-key", "")).encode()
        if sum(hmac.compare_digest(given, key) for key in self.settings.keys):
            return None
        sentence = "the key is missing or wrong: send it as Authorization: Bearer KEY or as X-API-Key"
        return Refusal(401, "key", sentence, {"WWW-Authenticate": "Bearer"}).response()

    def _complete(self, headers: MutableHeaders, request_id: str) -> None:
        headers["X-Request-Id"] = request_id
        headers["X-Content-Type-Options"] = "nosniff"
        headers["Referrer-Policy"] = "no-referrer"
        headers.setdefault("Content-Security-Policy", POLICY)
        headers.setdefault("Cache-Control", "no-store")
        if self.life.draining:
            headers["Connection"] = "close"  # the next request of this client goes to a server that stays

    def _count(self, scope: Scope, status: int, request_id: str, seconds: float) -> None:
        path = getattr(scope.get("route"), "path", OTHER)
        self.gauges.requests.labels(path, str(status)).inc()
        if reason := scope["state"].get("reason"):
            self.gauges.rejected.labels(reason).inc()
        line = {"method": scope["method"], "path": path, "status": status, "ms": round(1e3 * seconds, 1), "id": request_id}
        if not is_quiet():
            self._log({**line, "reason": reason} if reason else line)


def log_text(line: dict[str, Any]) -> None:
    """One line for people."""
    print(" ".join(str(value) for value in line.values()), file=sys.stderr, flush=True)


def log_json(line: dict[str, Any]) -> None:
    """One line for machines."""
    print(json.dumps({"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **line}), file=sys.stderr, flush=True)
