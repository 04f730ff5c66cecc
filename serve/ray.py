"""The application of `xai serve` on Ray Serve: replicas of it, more of them where requests queue, one address in front.

    serve run xai.serve.ray:app models=meter=/shared/meter replicas=1-8 num_cpus=4

with RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=xai.serve.ray:middlewares in the environment that Ray is begun in.

Each replica is what one process of `xai serve` is: the models, their queues and batches, the same routes (docs/serve.md, Ray Serve).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from ray import serve
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from xai.base.errors import BadInput
from xai.models.load import ModelOptions
from xai.serve.app import build
from xai.serve.errors import unavailable
from xai.serve.lifecycle import Life
from xai.serve.settings import Settings, read_keys

_OF_THE_PROXY = ("host", "port", "root_path", "drain_pause", "keys", "cors_origins")
"""Settings that Ray Serve's own configuration takes the place of, or that are no single word."""
_KINDS = {"int": int, "float": float, "str": str}


def app(arguments: Mapping[str, str]) -> serve.Application:
    """Build what `serve run` deploys. Raises `BadInput` for an argument that is not known, or a value that cannot be.

    `models`: `demo`, or NAME=PATH by comma. `replicas`: a number, or LEAST-MOST: how many there are follows the requests that wait.
    `num_cpus`, `num_gpus`: of a replica; `provider`, `threads`, `trust`, `api_key_file`, and limits of `xai serve`, as `max_batch`.
    """
    given = dict(arguments)
    models = _models(given.pop("models", "demo"))
    least, most = _replicas(given.pop("replicas", "1"))
    resources = {name: _number(given, name, float) for name in ("num_cpus", "num_gpus") if name in given}
    threads, trust = _number(given, "threads", int), given.pop("trust", "") == "true"
    options = ModelOptions(provider=given.pop("provider", "cpu"), threads=threads, trust=trust)
    keys = read_keys(Path(given.pop("api_key_file"))) if "api_key_file" in given else ()
    settings = Settings(keys=keys, **_limits(given))
    named = {name: replace(options, model=path) for name, path in models.items()}

    life = Life()  # each replica has its own copy, which the application and the deployment share there

    def application() -> FastAPI:
        return build({name: model.open() for name, model in named.items()}, settings, life)

    @serve.ingress(application)
    class Xai:
        def check_health(self) -> None:
            """Let Ray Serve replace a replica whose model cannot explain."""
            if life.failure is not None:
                raise life.failure

    scaling = {"min_replicas": least, "max_replicas": most, "target_ongoing_requests": settings.max_batch}
    deployment: Any = serve.deployment(
        num_replicas="auto" if least < most else most,
        autoscaling_config=scaling if least < most else None,
        max_ongoing_requests=settings.places,
        ray_actor_options=resources,
    )
    return deployment(Xai).bind()


class _Gone:
    """Says 503 of a request whose replica ended while it had it: the same request may be sent again.

    Ray Serve's proxy then returns without an answer, or with the head of one, of which its web server would make 500. The head is
    therefore held back until the body comes.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        head: Message | None = None
        answered = False

        async def send_with_body(message: Message) -> None:
            nonlocal head, answered
            if message["type"] == "http.response.start":
                head = message
                return
            if head is not None:
                await send(head)
                head, answered = None, True
            await send(message)

        await self.app(scope, receive, send_with_body)
        if not answered:
            gone = unavailable("gone", "the replica that had this request ended: send it again")
            await gone.response()(scope, receive, send)


def middlewares() -> list[Middleware]:
    """Give Ray Serve's proxy what it passes requests through (RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH)."""
    return [Middleware(_Gone)]


def _models(text: str) -> dict[str, str]:
    """Each model by the name that it is served under."""
    found = {}
    for one in text.split(","):
        name, mark, path = one.partition("=")
        found[name if mark else Path(one).stem] = path if mark else one
    return found


def _replicas(text: str) -> tuple[int, int]:
    """The least and the greatest number of replicas."""
    least, _, most = text.partition("-")
    if not (least.isdecimal() and (most or least).isdecimal() and 1 <= int(least) <= int(most or least)):
        raise BadInput(f"replicas is {text!r}: give a number of 1 or more, or two as in 1-8")
    return int(least), int(most or least)


def _number(given: dict[str, str], name: str, kind: type) -> Any:
    """Take a number out of the arguments; None where it is not given."""
    text = given.pop(name, None)
    try:
        return None if text is None else kind(text)
    except ValueError as error:
        raise BadInput(f"{name} is {text!r}: give a number") from error


def _limits(given: dict[str, str]) -> dict[str, Any]:
    """Settings by name, as their types have it."""
    known = {field.name: str(field.type) for field in fields(Settings) if field.name not in _OF_THE_PROXY}
    found: dict[str, Any] = {}
    for name in list(given):
        if name not in known:
            others = "models, replicas, num_cpus, num_gpus, provider, threads, trust, api_key_file"
            raise BadInput(f"{name} is no argument here: choose from {others}, {', '.join(known)}")
        found[name] = given[name] == "true" if known[name] == "bool" else _number(given, name, _KINDS[known[name]])
    return found
