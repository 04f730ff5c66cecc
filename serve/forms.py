"""Responses: the form that a client accepts, and what it cost in `Server-Timing`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from xai.base.files import json_bytes
from xai.runtime.explanation import Explanation
from xai.runtime.masked.prediction import Prediction
from xai.runtime.show.document import policy
from xai.runtime.show.save import render
from xai.serve.errors import Refusal
from xai.serve.queue import Passed
from xai.serve.served import Result

FORMS = {
    "application/json": ".json",
    "image/png": ".png",
    "text/html": ".html",
    "application/x-npz": ".npz",
    "image/svg+xml": ".svg",
    "application/pdf": ".pdf",
    "text/csv": ".csv",
}
"""Media types of an explanation, and the suffixes that `xai explain -o` writes them under; the first is the default."""

POLICIES = {
    "text/html": f"{policy()}; sandbox allow-scripts allow-downloads",
    "image/svg+xml": "default-src 'none'; img-src data:; style-src 'unsafe-inline'; sandbox",
}
"""What these need, and nothing else: a page has its own scripts."""


def accepted(request: Request) -> str:
    """The form that the client likes best. Raises `Refusal` (406) where it takes none of them."""
    wishes: list[tuple[float, int, str]] = []
    for place, part in enumerate(request.headers.get("accept", "*/*").split(",")):
        media, *parameters = [piece.strip().lower() for piece in part.split(";")]
        weight = next((_weight(p[2:]) for p in parameters if p.startswith("q=")), 1.0)
        found = next((form for form in FORMS if media in (form, "*/*", f"{form.partition('/')[0]}/*")), None)
        if found and weight > 0:
            wishes.append((-weight, place, found))
    if not wishes:
        raise Refusal(406, "accept", f"an explanation comes as {', '.join(FORMS)}: accept one of them")
    return min(wishes)[2]


def _weight(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def write_explanations(found: Sequence[Explanation], form: str) -> bytes:
    """The explanations in a form: the bytes that the command line would write."""
    return render(found, Path(f"explanation{FORMS[form]}"))


def write_prediction(found: Prediction) -> bytes:
    """The prediction as JSON."""
    return json_bytes(found.to_json(), indent=1)


def respond(content: bytes, form: str, passed: Passed[Result], written: float) -> Response:
    """The response. `written` is how many seconds the form took."""
    headers = {"Server-Timing": server_timing(passed, written), "Vary": "Accept"}
    if form in POLICIES:
        headers["Content-Security-Policy"] = POLICIES[form]
    return Response(content, media_type=form, headers=headers)


def server_timing(passed: Passed[Result], written: float) -> str:
    """Milliseconds by stage, as browsers show them; `desc` says how many went together, and that the image was kept."""
    times: Mapping[str, float] = passed.result.timings_ms
    parts = [f'queue;dur={1e3 * passed.waited:.1f};desc="batch of {passed.company}"']
    for stage, value in times.items():
        kept = ';desc="kept"' if stage == "encode_image" and passed.result.kept else ""
        parts.append(f"{stage};dur={value:.1f}{kept}")
    return ", ".join([*parts, f"write;dur={1e3 * written:.1f}"])
