"""Why a request was refused: one shape for every route, the sentence that the command line would print."""

from __future__ import annotations

from starlette.responses import JSONResponse, Response

RETRY_SECONDS = 1
"""What a client is asked to wait when the server is full."""

GONE = 499
"""The status of a request whose client went away, for logs and metrics only."""


class Refusal(Exception):
    """A request that gets no answer. `reason` is its short name in the body (`code`) and in `xai_rejected_total`."""

    def __init__(self, status: int, reason: str, sentence: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status, self.reason, self.sentence, self.headers = status, reason, sentence, headers or {}

    def response(self) -> Response:
        """The documented shape."""
        return JSONResponse({"error": self.sentence, "code": self.reason}, self.status, self.headers)


def unavailable(reason: str, sentence: str) -> Refusal:
    """503 with `Retry-After`."""
    return Refusal(503, reason, sentence, {"Retry-After": str(RETRY_SECONDS)})


def malformed(sentence: str) -> Refusal:
    """400: the body is not what its type says."""
    return Refusal(400, "malformed", sentence)


def bad_input(sentence: str) -> Refusal:
    """422: the body can be read, but what it asks cannot be done."""
    return Refusal(422, "bad_input", sentence)
