"""Our own routes: `/v1/explain` and `/v1/answer`."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from xai.serve.asking import Models
from xai.serve.forms import accepted
from xai.serve.protocol import AnswerRequest, Deadline, ExplainRequest, read_request, within
from xai.serve.routes import describe


def routes(models: Models) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["xai"])
    settings = models.settings

    @router.post("/v1/explain", summary="Explain an answer", response_class=Response, **describe.explaining())
    async def explain(request: Request) -> Response:
        """Answer a question about a picture, and say which regions and words made the answer. `Accept` chooses the form."""
        form, clock = accepted(request), Deadline(settings.deadline)
        models.life.check()
        asked, picture = await read_request(request, ExplainRequest, settings.max_body, clock.left())
        return await within(request, clock.left(), models.explain(asked, picture, form))

    @router.post("/v1/answer", summary="Answer, perhaps with parts left out", response_class=Response, **describe.answering())
    async def answer(request: Request) -> Response:
        """Answer a question about a picture, without the patches and words that are named."""
        clock = Deadline(settings.deadline)
        models.life.check()
        asked, picture = await read_request(request, AnswerRequest, settings.max_body, clock.left())
        return await within(request, clock.left(), models.answer(asked, picture))

    return router
