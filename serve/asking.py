"""A request that was read -> the model that it is for, its place there, and the response: the same for every protocol."""

from __future__ import annotations

import time
from typing import NamedTuple

from starlette.responses import Response

from xai.runtime.explanation import Explanation
from xai.runtime.masked.prediction import Prediction
from xai.serve.errors import Refusal, bad_input
from xai.serve.forms import respond, write_explanations, write_prediction
from xai.serve.lifecycle import Life
from xai.serve.protocol import JSON, AnswerRequest, ExplainRequest
from xai.serve.served import Picture, Result, Served
from xai.serve.settings import Settings


class Models(NamedTuple):
    """The models by name, and the state of the server."""

    served: dict[str, Served]
    settings: Settings
    life: Life

    def find(self, name: str | None) -> Served:
        """The model of that name; of one model, it need not be named. Raises `Refusal`: 404, 422, or 503 where none is ready."""
        self.life.check()
        known = ", ".join(self.served)
        if name is None:
            if len(self.served) > 1:
                raise bad_input(f"several models are served: name one as 'model', of {known}")
            return next(iter(self.served.values()))
        return self.named(name)

    def named(self, name: str) -> Served:
        """The model of that name, ready or not. Raises `Refusal` (404)."""
        if name not in self.served:
            raise Refusal(404, "model", f"no model {name[:80]!r} is served, only {', '.join(self.served)}")
        return self.served[name]

    def check_room(self) -> None:
        """Raises `Refusal` (503), before any work is spent on a request, where no model has a place."""
        for served in self.served.values():
            if not served.batcher.is_full:
                return
        next(iter(self.served.values())).batcher.check_room()

    async def explain(self, asked: ExplainRequest, picture: Picture, form: str) -> Response:
        """One explanation, in a form."""
        served, methods = self.find(asked.model), asked.asked_methods()
        with served.batcher.place():
            passed = await served.explain(picture, asked.question, methods, asked.target, asked.versus, asked.top_k, asked.word_regions)
            start = time.perf_counter()
            content = await served.draw(write_explanations, passed.result.said, form)
            return respond(content, form, passed, time.perf_counter() - start)

    async def answer(self, asked: AnswerRequest, picture: Picture) -> Response:
        """One answer."""
        served = self.find(asked.model)
        with served.batcher.place():
            passed = await served.answer(picture, asked.question, asked.without_patches, asked.without_words, asked.top_k)
            start = time.perf_counter()
            content = await served.draw(write_prediction, passed.result.said)
            return respond(content, JSON, passed, time.perf_counter() - start)

    async def explained(self, name: str, asked: ExplainRequest, picture: Picture) -> list[Explanation]:
        """The explanations by one model, for protocols that write them themselves."""
        served = self.find(_only(name, asked.model))
        methods = asked.asked_methods()
        with served.batcher.place():
            passed = await served.explain(picture, asked.question, methods, asked.target, asked.versus, asked.top_k, asked.word_regions)
            return explanations(passed.result)

    async def answered(self, name: str, asked: AnswerRequest, picture: Picture) -> Prediction:
        """The answer by one model, for protocols that write it themselves."""
        served = self.find(_only(name, asked.model))
        with served.batcher.place():
            passed = await served.answer(picture, asked.question, asked.without_patches, asked.without_words, asked.top_k)
        assert isinstance(passed.result.said, Prediction)
        return passed.result.said


def explanations(result: Result) -> list[Explanation]:
    """What was said to a request that asked for explanations."""
    assert not isinstance(result.said, Prediction)
    return result.said


def _only(path: str, body: str | None) -> str:
    if body not in (None, path):
        raise bad_input(f"the body names model {body[:80] if body else body!r}, the path {path}: name it in the path only")
    return path
