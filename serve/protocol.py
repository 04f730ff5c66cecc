"""Requests: read within limits, as JSON or multipart, and held against what the documentation says of them."""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from xai.base.errors import XaiError
from xai.base.reading import parse_json
from xai.base.wording import one_line
from xai.runtime.methods import DEFAULT_METHOD
from xai.serve.errors import GONE, Refusal, bad_input, malformed
from xai.serve.served import Picture
from xai.serve.settings import MAX_QUESTION

JSON, MULTIPART = "application/json", "multipart/form-data"

MOST_METHODS = 64
MOST_TOKENS = 10_000
MAX_FIELDS = 64
MAX_FIELD_BYTES = 64_000
"""Of one field of a form that is no file."""
DATA_TYPES = ("image/png", "image/jpeg", "image/webp")

Number = Annotated[int, Field(ge=0)]

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Question(_Request):
    """What every request says: a picture and a question."""

    image: str = Field(
        description="PNG, JPEG or WebP, in base64 or as a data URI. The server fetches nothing.",
        min_length=1,
        json_schema_extra={"format": "picture"},
    )
    question: str = Field(description="The question.", min_length=1, max_length=MAX_QUESTION, json_schema_extra={"format": "question"})
    top_k: int = Field(5, description="How many answers to list.", ge=1, le=1000)
    model: str | None = Field(None, description="Name of the model; needed only where several are served.")


class ExplainRequest(Question):
    """A question whose answer is to be explained."""

    method: str | None = Field(None, description="The method; `all` for every one. Default: dsmi-grad.")
    methods: list[str] | None = Field(None, description="Several methods, in place of `method`.", min_length=1, max_length=MOST_METHODS)
    target: str | int | None = Field(None, description="Explain this answer (name or id) instead of the model's own.")
    versus: str | int | None = Field(None, description="Explain why the target, or the model's own answer, and not this one (name or id).")
    word_regions: bool = Field(False, description="Also say what goes with each word of the picture.")

    def asked_methods(self) -> list[str]:
        """The methods' names. Raises `Refusal` where both fields are given."""
        if self.method is not None and self.methods is not None:
            raise bad_input("method and methods are both given: send one of them")
        return [self.method] if self.method is not None else self.methods or [DEFAULT_METHOD]


class AnswerRequest(Question):
    """A question to be answered, perhaps with parts left out."""

    without_patches: list[Number] = Field([], description="Patches left out, by number: row by row from 0.", max_length=MOST_TOKENS)
    without_words: list[Number] = Field([], description="Words of the question left out, by number from 0.", max_length=MOST_TOKENS)


class Deadline:
    """When a request has to be answered, from now."""

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds that are left, at least 0."""
        return max(self.end - time.monotonic(), 0.0)


async def read_body(request: Request, most: int, seconds: float) -> bytes:
    """The body. Raises `Refusal`: 413 over `most` bytes, 408 where it does not come within `seconds`, 499 where the client goes."""
    too_large = Refusal(413, "body", f"the body has more than {most} bytes: send a smaller picture", {"Connection": "close"})
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > most:
        raise too_large
    content = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                content += chunk
                if len(content) > most:
                    raise too_large
    except TimeoutError as error:
        raise Refusal(408, "slow", f"the body did not come within {seconds:.0f} s: send it again", {"Connection": "close"}) from error
    except ClientDisconnect as error:
        raise Refusal(GONE, "gone", "the client went away") from error
    return bytes(content)


async def read_json(body: bytes) -> Any:
    """The value of a JSON body. Raises `Refusal` (400)."""

    def parse() -> Any:
        try:
            return parse_json(body.decode(), "the body")
        except UnicodeDecodeError as error:
            raise malformed(f"the body is not text in UTF-8 (byte {error.start}): send JSON in UTF-8") from error
        except XaiError as error:
            raise malformed(str(error)) from error

    return parse() if len(body) < MAX_FIELD_BYTES else await asyncio.get_running_loop().run_in_executor(None, parse)


def check(kind: type[M], content: Any, where: str = "the body") -> M:
    """The request. Raises `Refusal` (422) that names the first field that is wrong."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"][:2])
        raise bad_input(one_line(f"{where}{f': {field!r}' if field else ''}: {first['msg'].lower()}")) from error


def decode_image(text: str, name: str = "image") -> Picture:
    """The picture in base64 or a data URI. Raises `Refusal`: 422, or 415 for a data URI of another type."""
    if text.startswith("data:"):
        head, _, text = text[5:].partition(",")
        kind, _, encoding = head.rpartition(";")
        if encoding != "base64" or kind.lower() not in DATA_TYPES:
            raise Refusal(415, "picture_type", f"{name} is a data URI, but not one of {', '.join(DATA_TYPES)} in base64: convert it")
    try:
        return Picture(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError) as error:
        raise bad_input(f"{name} is not base64: send the file's bytes in base64, or as a data URI; nothing is fetched") from error


def check_media(request: Request) -> None:
    """Raises `Refusal` (415) where the body is neither JSON nor a form."""
    if (media := media_type(request)) not in (JSON, MULTIPART):
        raise Refusal(415, "media_type", f"the body is {media or 'of no type'}: send {MULTIPART} or {JSON}")


async def parse_request(request: Request, body: bytes, kind: type[M]) -> tuple[M, Picture]:
    """The request and its picture, from JSON or multipart. Raises `Refusal`."""
    if media_type(request) == JSON:
        asked = check(kind, await read_json(body))
        return asked, decode_image(getattr(asked, "image", ""))
    content, picture = await _read_form(request, body)
    return check(kind, {**content, "image": "file"}), picture


def media_type(request: Request) -> str:
    """The body's type, without its parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def check_json(request: Request) -> None:
    """Raises `Refusal` (415) where the body says that it is not JSON. Some clients of KServe's protocols say nothing."""
    if (media := media_type(request)) not in ("", JSON):
        raise Refusal(415, "media_type", f"the body is {media}: send {JSON}")


class _InMemory(MultiPartParser):
    """Keeps files in memory, whose size was checked: the file system may be read-only."""

    spool_max_size = 2**31


async def _read_form(request: Request, body: bytes) -> tuple[dict[str, Any], Picture]:
    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    parser = _InMemory(request.headers, stream(), max_files=1, max_fields=MAX_FIELDS, max_part_size=MAX_FIELD_BYTES)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise malformed(f"the form cannot be read: {one_line(error.message).lower().rstrip('.')}") from error
    except (KeyError, ValueError, UnicodeError) as error:  # no boundary, a part without a name
        raise malformed("the form cannot be read: its boundary or a part's header is damaged") from error
    try:
        return await _fields(form)
    finally:
        await form.close()
        for file in parser._files_to_close_on_error:  # one whose end never came is not part of the form
            file.close()


async def _fields(form: FormData) -> tuple[dict[str, Any], Picture]:
    image = form.get("image")
    if not isinstance(image, UploadFile):
        raise bad_input("the form has no file 'image': send the picture under that name")
    picture = Picture(await image.read(), one_line(image.filename or "")[-200:] or "the image")
    content: dict[str, Any] = {}
    for name in form:
        values = [value for value in form.getlist(name) if isinstance(value, str)]
        if name == "image":
            continue
        if not values:
            raise bad_input(f"the form sends {name!r} as a file: only 'image' is one")
        if name == "methods":
            content[name] = [part.strip() for value in values for part in value.split(",")]
        elif name in ("without_patches", "without_words"):
            content[name] = [_integer(name, part) for value in values for part in value.split(",") if part.strip()]
        elif len(values) > 1:
            raise bad_input(f"the form names {name!r} {len(values)} times: send it once")
        else:
            content[name] = _READ[name](name, values[0]) if name in _READ else values[0]
    return content, picture


def _integer(name: str, text: str) -> int:
    if not (text.strip().isdecimal() and len(text) < 10):
        raise bad_input(f"{name} holds {one_line(text)[:20]!r}: send whole numbers")
    return int(text)


def _boolean(name: str, text: str) -> bool:
    if text not in ("true", "false"):
        raise bad_input(f"{name} holds {one_line(text)[:20]!r}: send true or false")
    return text == "true"


_READ: dict[str, Callable[[str, str], Any]] = {"top_k": _integer, "word_regions": _boolean}
"""Fields of a form that are no text."""


async def within(request: Request, seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """What `work` gives. It is cancelled where the client goes away (`Refusal` 499) or `seconds` pass (504)."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_until_gone(request))
    try:
        await asyncio.wait({task, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if gone.done():
            raise Refusal(GONE, "gone", "the client went away")
        raise Refusal(504, "deadline", f"no answer within the {seconds:.0f} s that were left: try again when the server is less busy")
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
