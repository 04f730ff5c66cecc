"""Our own routes: `/v1/explain` and `/v1/answer`."""

from __future__ import annotations

from typing import TypeVar

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from xai.serve.asking import Models
from xai.serve.forms import accepted
from xai.serve.protocol import AnswerRequest, Deadline, ExplainRequest, Question, check_media, parse_request, read_body, within
from xai.serve.routes import describe
from xai.serve.served import Picture

Q = TypeVar("Q", bound=Question)


def routes(models: Models) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["xai"])
    settings = models.settings

    async def read(request: Request, kind: type[Q], clock: Deadline) -> tuple[Q, Picture]:
        models.life.check()
        check_media(request)
        body = await read_body(request, settings.max_body, clock.left())  # all of it, so that a refusal reaches who sends it
        models.check_room()
        return await parse_request(request, body, kind)

    @router.post("/v1/explain", summary="Explain an answer", response_class=Response, **describe.explaining())
    async def explain(request: Request) -> Response:
        """Answer a question about a picture, and say which regions and words made the answer. `Accept` chooses the form."""
        form, clock = accepted(request), Deadline(settings.deadline)
        asked, picture = await read(request, ExplainRequest, clock)
        return await within(request, clock.left(), models.explain(asked, picture, form))

    @router.post("/v1/answer", summary="Answer, perhaps with parts left out", response_class=Response, **describe.answering())
    async def answer(request: Request) -> Response:
        """Answer a question about a picture, without the patches and words that are named."""
        clock = Deadline(settings.deadline)
        asked, picture = await read(request, AnswerRequest, clock)
        return await within(request, clock.left(), models.answer(asked, picture))

    return router
