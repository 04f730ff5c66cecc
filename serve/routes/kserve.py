"""KServe's protocol, version 1: `/v1/models`, `:predict` and `:explain`, many instances at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse

from xai.runtime.explanation import to_json
from xai.serve.asking import Models
from xai.serve.errors import bad_input
from xai.serve.protocol import (
    AnswerRequest,
    Deadline,
    ExplainRequest,
    Question,
    check,
    check_json,
    decode_image,
    read_body,
    read_json,
    within,
)
from xai.serve.routes import describe
from xai.serve.served import Picture

Q = TypeVar("Q", bound=Question)
Handle = Callable[[str, Q, Picture], Coroutine[Any, Any, dict[str, Any]]]


def instances(content: Any, kind: type[Q], most: int) -> list[tuple[Q, Picture]]:
    """The instances of a body. Raises `Refusal` that says which one is wrong."""
    if not isinstance(content, dict) or not isinstance(content.get("instances"), list):
        raise bad_input('the body has no list \'instances\': send {"instances": [{"image": ..., "question": ...}]}')
    if others := sorted(content.keys() - {"instances"}):
        raise bad_input(f"the body: {others[0]!r} is not a field that belongs here")
    listed = content["instances"]
    if not 1 <= len(listed) <= most:
        raise bad_input(f"the body has {len(listed)} instances: send 1 to {most}")
    found = []
    for i, instance in enumerate(listed):
        where = f"instance {i}"
        if isinstance(instance, dict) and isinstance(instance.get("image"), dict) and list(instance["image"]) == ["b64"]:
            instance = {**instance, "image": instance["image"]["b64"]}  # KServe's own way to send bytes
        asked = check(kind, instance, where)
        found.append((asked, decode_image(asked.image, f"{where}: image")))
    return found


def routes(models: Models) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["KServe v1"])
    settings = models.settings

    async def handle(request: Request, name: str, kind: type[Q], answer: Handle[Q]) -> list[dict[str, Any]]:
        clock = Deadline(settings.deadline)
        served = models.find(name)
        check_json(request)
        body = await read_body(request, settings.max_body, clock.left())
        served.batcher.check_room()
        content = await read_json(body)
        asked = instances(content, kind, settings.max_batch)
        return await within(request, clock.left(), _all([answer(name, one, picture) for one, picture in asked]))

    async def explain(name: str, asked: ExplainRequest, picture: Picture) -> dict[str, Any]:
        return to_json(await models.explained(name, asked, picture))

    async def predict(name: str, asked: AnswerRequest, picture: Picture) -> dict[str, Any]:
        return (await models.answered(name, asked, picture)).to_json()

    @router.get("/v1/models", summary="The models' names", responses=describe.listing("models"))
    async def names() -> JSONResponse:
        return JSONResponse({"models": list(models.served)})

    @router.post(
        "/v1/models/{model}:predict", summary="Answer", **describe.instances(AnswerRequest, "predictions", "Prediction", settings.max_batch)
    )
    async def predict_route(model: str, request: Request) -> JSONResponse:
        """Answer every instance; one that cannot be used refuses the request."""
        return JSONResponse({"predictions": await handle(request, model, AnswerRequest, predict)})

    @router.post(
        "/v1/models/{model}:explain",
        summary="Explain",
        **describe.instances(ExplainRequest, "explanations", "Explanation", settings.max_batch),
    )
    async def explain_route(model: str, request: Request) -> JSONResponse:
        """Explain every instance; one that cannot be used refuses the request."""
        return JSONResponse({"explanations": await handle(request, model, ExplainRequest, explain)})

    # Last: its path would take the two above.
    @router.get("/v1/models/{model}", summary="Whether a model is ready", responses=describe.model_state())
    async def state(model: str) -> JSONResponse:
        """KServe's `ready` is true once the model has explained something."""
        return JSONResponse({"name": model, "ready": models.named(model).ready})

    return router


async def _all(works: list[Coroutine[Any, Any, dict[str, Any]]]) -> list[dict[str, Any]]:
    """All results in order; the first failure ends the others."""
    async with _Group() as group:
        tasks = [group.create_task(work) for work in works]
    return [task.result() for task in tasks]


class _Group(asyncio.TaskGroup):
    """A task group that raises the first error itself, not a group of errors."""

    async def __aexit__(self, *error: Any) -> None:
        try:
            await super().__aexit__(*error)
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
