"""Our own routes: `/v1/explain` and `/v1/answer`."""

from __future__ import annotations

import time
from typing import NamedTuple

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from xai.serve import describe
from xai.serve.errors import Refusal, bad_input
from xai.serve.forms import accepted, respond, write_explanations, write_prediction
from xai.serve.lifecycle import Life
from xai.serve.protocol import JSON, AnswerRequest, Deadline, ExplainRequest, read_request, within
from xai.serve.served import Picture, Served
from xai.serve.settings import Settings


class Models(NamedTuple):
    """The models by name, and the state of the server."""

    served: dict[str, Served]
    settings: Settings
    life: Life

    def find(self, name: str | None) -> Served:
        """The model of that name; of one model, it need not be named. Raises `Refusal`: 404, 422, or 503 where it is not ready."""
        self.life.check()
        known = ", ".join(self.served)
        if name is None:
            if len(self.served) > 1:
                raise bad_input(f"several models are served: name one as 'model', of {known}")
            return next(iter(self.served.values()))
        if name not in self.served:
            raise Refusal(404, "model", f"no model {name[:80]!r} is served, only {known}")
        return self.served[name]


async def explain(models: Models, request: Request, asked: ExplainRequest, picture: Picture, form: str, clock: Deadline) -> Response:
    """One explanation, in a form."""
    served, methods = models.find(asked.model), asked.asked_methods()

    async def work() -> Response:
        with served.batcher.place():
            passed = await served.explain(picture, asked.question, methods, asked.target, asked.top_k)
            start = time.perf_counter()
            content = await served.draw(write_explanations, passed.result.said, form)
            return respond(content, form, passed, time.perf_counter() - start)

    return await within(request, clock.left(), work())


async def answer(models: Models, request: Request, asked: AnswerRequest, picture: Picture, clock: Deadline) -> Response:
    """One answer."""
    served = models.find(asked.model)

    async def work() -> Response:
        with served.batcher.place():
            passed = await served.answer(picture, asked.question, asked.without_patches, asked.without_words, asked.top_k)
            start = time.perf_counter()
            content = await served.draw(write_prediction, passed.result.said)
            return respond(content, JSON, passed, time.perf_counter() - start)

    return await within(request, clock.left(), work())


def routes(models: Models) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["xai"])
    settings = models.settings

    @router.post("/v1/explain", summary="Explain an answer", response_class=Response, **describe.explaining())
    async def explain_route(request: Request) -> Response:
        """Answer a question about a picture, and say which regions and words made the answer. `Accept` chooses the form."""
        form, clock = accepted(request), Deadline(settings.deadline)
        models.life.check()
        asked, picture = await read_request(request, ExplainRequest, settings.max_body, clock.left())
        return await explain(models, request, asked, picture, form, clock)

    @router.post("/v1/answer", summary="Answer, perhaps with parts left out", response_class=Response, **describe.answering())
    async def answer_route(request: Request) -> Response:
        """Answer a question about a picture, without the patches and words that are named."""
        clock = Deadline(settings.deadline)
        models.life.check()
        asked, picture = await read_request(request, AnswerRequest, settings.max_body, clock.left())
        return await answer(models, request, asked, picture, clock)

    return router
