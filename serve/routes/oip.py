"""The Open Inference Protocol, version 2, over JSON, with the extension `xai_explain`.

`infer` gives the tensors `answer`, `image_relevance` and `text_relevance`, or those that are asked for; `explain` gives these and the
whole explanation as JSON. https://github.com/kserve/open-inference-protocol, specification/protocol/inference_rest.md
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse

from xai.base.files import json_bytes
from xai.base.versions import XAI_VERSION
from xai.runtime.description import Aspect, Boxes, Square
from xai.runtime.explanation import Explanation, to_json
from xai.serve.asking import Models
from xai.serve.errors import bad_input, malformed
from xai.serve.protocol import AnswerRequest, Deadline, ExplainRequest, check, check_json, decode_image, read_body, read_json, within
from xai.serve.routes import describe
from xai.serve.served import Picture

HEADER = "Inference-Header-Content-Length"
"""Of the protocol's extension for binary tensors: `image` is then the file itself. Answers come as JSON."""

EXTENSION = "xai_explain"

ANSWER, IMAGE, TEXT, WHOLE = "answer", "image_relevance", "text_relevance", "explanation"

PARAMETERS = ("method", "target", "versus", "top_k")
"""Of a request, as in `/v1/explain`."""

MOST_INPUTS = 16


def routes(models: Models) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["Open Inference Protocol v2"])

    @router.get("/v2", summary="The server", responses=describe.open_object("name", "version", "extensions"))
    async def server() -> JSONResponse:
        return JSONResponse({"name": "xai", "version": XAI_VERSION, "extensions": [EXTENSION]})

    @router.get("/v2/health/live", summary="Whether the process lives", responses=describe.open_object("live"))
    async def live() -> JSONResponse:
        return JSONResponse({"live": True})

    @router.get("/v2/health/ready", summary="Whether to send requests here", responses={**describe.open_object("ready"), **describe.down()})
    async def ready() -> JSONResponse:
        models.life.check_ready()
        return JSONResponse({"ready": True})

    missing = describe.problems(404)

    @router.get("/v2/models/{model}", summary="A model", responses={**describe.open_object("name", "inputs", "outputs"), **missing})
    async def metadata(model: str) -> JSONResponse:
        return JSONResponse(describe_model(model, models.named(model).explainer.session.description.picture))

    @router.get(
        "/v2/models/{model}/ready",
        summary="Whether a model is ready",
        responses={**describe.open_object("ready"), **describe.problems(404, 503)},
    )
    async def model_ready(model: str) -> JSONResponse:
        models.named(model)
        models.life.check_ready()
        return JSONResponse({"name": model, "ready": True})

    @router.post("/v2/models/{model}/infer", summary="Tensors of an answer and its explanation", **describe.inference())
    async def infer(model: str, request: Request) -> JSONResponse:
        """Answer and explain; where `outputs` names `answer` alone, nothing is explained."""
        return await _infer(models, request, model, (ANSWER, IMAGE, TEXT))

    @router.post("/v2/models/{model}/explain", summary="The extension xai_explain", **describe.inference())
    async def explain(model: str, request: Request) -> JSONResponse:
        """As `infer`, with the tensor `explanation`: the JSON of `/v1/explain`."""
        return await _infer(models, request, model, (ANSWER, IMAGE, TEXT, WHOLE))

    return router


async def _infer(models: Models, request: Request, name: str, outputs: tuple[str, ...]) -> JSONResponse:
    """Tensors of an answer, and of its explanation where they are wanted, of the `outputs` that there are."""
    settings = models.settings
    clock = Deadline(settings.deadline)
    served = models.find(name)
    head = request.headers.get(HEADER)
    if head is None:
        check_json(request)
    body = await read_body(request, settings.max_body, clock.left())
    served.batcher.check_room()
    length = _length(head, len(body))
    content = await read_json(body[:length])
    asked, wanted, request_id, file = read(content, outputs, body[length:])
    if content.get("model_name", name) != name:  # KServe's client repeats it there
        raise bad_input(f"the body names another model than the path, {name}: leave it out of the body")
    picture = decode_image(asked.image) if file is None else Picture(file)
    if wanted == [ANSWER]:
        plain = check(AnswerRequest, {"image": asked.image, "question": asked.question, "top_k": asked.top_k})
        prediction = await within(request, clock.left(), models.answered(name, plain, picture))
        tensors = [_text(ANSWER, prediction.answer.text)]
    else:
        found = await within(request, clock.left(), models.explained(name, asked, picture))
        tensors = [_tensor(output, found) for output in wanted]
    said: dict[str, Any] = {"model_name": name, "outputs": tensors}
    return JSONResponse(said if request_id is None else {**said, "id": request_id})


def describe_model(name: str, picture: Square | Aspect | Boxes) -> dict[str, Any]:
    """The metadata of a model: -1 is a length that depends on the question, or on the picture."""

    def tensor(name: str, datatype: str, *shape: int) -> dict[str, Any]:
        return {"name": name, "datatype": datatype, "shape": list(shape)}

    grid = picture.grid if isinstance(picture, Square) else -1
    inputs = [tensor("image", "BYTES", 1), tensor("question", "BYTES", 1)]
    outputs = [tensor(ANSWER, "BYTES", 1), tensor(IMAGE, "FP32", 1, grid, grid), tensor(TEXT, "FP32", 1, -1)]
    return {"name": name, "versions": [], "platform": "xai", "inputs": inputs, "outputs": outputs}


class Wanted(NamedTuple):
    """What a body asks, the outputs that it wants, its id, and the picture's file where it came as a binary tensor."""

    asked: ExplainRequest
    outputs: list[str]
    id: str | None
    file: bytes | None


def read(content: Any, possible: tuple[str, ...], binary: bytes) -> Wanted:
    """What a body says, whose binary tensors follow its JSON. Raises `Refusal`."""
    if not isinstance(content, dict):
        raise bad_input("the body is not an object: send one with 'inputs'")
    if others := sorted(content.keys() - {"id", "model_name", "parameters", "inputs", "outputs"}):
        raise bad_input(f"the body: {others[0]!r} is not a field that belongs here")
    request_id = content.get("id")
    if "id" in content and not isinstance(request_id, str):
        raise bad_input("the body: 'id' is not text")
    fields: dict[str, Any] = {}
    file: bytes | None = None
    for tensor in _objects(content, "inputs"):
        name = tensor["name"]
        if name not in ("image", "question") or name in fields:
            raise bad_input(f"the body has an input {name[:80]!r}: send image and question, each once")
        if tensor.get("datatype") != "BYTES" or tensor.get("shape") != [1]:
            raise bad_input(f"input {name}: its datatype must be BYTES and its shape [1]")
        if "data" not in tensor and (size := _binary_size(tensor, len(binary))):
            element, binary = _element(binary[:size], name), binary[size:]
            fields[name], file = ("file", element) if name == "image" else (_question(element), file)
            continue
        data = tensor.get("data")
        if not (isinstance(data, list) and len(data) == 1 and isinstance(data[0], str)):
            raise bad_input(f"input {name}: its data must be one text, as JSON: an image in base64")
        fields[name] = data[0]
    parameters = content.get("parameters", {})
    if not isinstance(parameters, dict):
        raise bad_input("the body: 'parameters' is not an object")
    fields |= {key: value for key, value in parameters.items() if key in PARAMETERS}  # others are for other servers
    wanted = [output["name"] for output in _objects(content, "outputs")] if "outputs" in content else list(possible)
    if unknown := [name for name in wanted if name not in possible]:
        raise bad_input(f"there is no output {unknown[0][:80]!r}: ask for {', '.join(possible)}")
    if binary:
        raise malformed(f"{len(binary)} bytes follow that belong to no tensor")
    return Wanted(check(ExplainRequest, fields), list(dict.fromkeys(wanted)) or list(possible), request_id, file)


def _length(head: str | None, length: int) -> int:
    """Bytes of JSON before the binary tensors."""
    if head is None:
        return length
    if not (head.isascii() and head.isdecimal() and len(head) < 12 and int(head) <= length):
        raise malformed(f"the header {HEADER} is not a number of bytes within the body")
    return int(head)


def _binary_size(tensor: dict[str, Any], left: int) -> int:
    parameters = tensor.get("parameters")
    size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    if size is None:
        return 0
    if type(size) is not int or not 4 <= size <= left:
        raise malformed(f"input {tensor['name']}: its binary_data_size is not a number of bytes that follow")
    return size


def _element(content: bytes, name: str) -> bytes:
    """The one element of a binary tensor of BYTES: four bytes of length, little-endian, before it."""
    if int.from_bytes(content[:4], "little") != len(content) - 4:
        raise malformed(f"input {name}: its bytes are not one element with its length before it")
    return content[4:]


def _question(element: bytes) -> str:
    try:
        return element.decode()
    except UnicodeDecodeError as error:
        raise malformed("input question: it is not text in UTF-8") from error


def _objects(content: dict[str, Any], name: str) -> list[dict[str, Any]]:
    found = content.get(name)
    if not isinstance(found, list) or len(found) > MOST_INPUTS:
        raise bad_input(f"the body: {name!r} is not a list of tensors")
    if not all(isinstance(tensor, dict) and isinstance(tensor.get("name"), str) for tensor in found):
        raise bad_input(f"the body: {name!r} holds a tensor without a name")
    return found


def _text(name: str, text: str) -> dict[str, Any]:
    return {"name": name, "datatype": "BYTES", "shape": [1], "data": [text]}


def _tensor(name: str, found: list[Explanation]) -> dict[str, Any]:
    first = found[0]
    if name == ANSWER:
        return _text(name, first.answer.text)
    if name == WHOLE:
        return _text(name, json_bytes(to_json(found)).decode())
    values = first.image_relevance if name == IMAGE else first.text_relevance
    data = np.asarray(values, np.float32)[None]
    return {"name": name, "datatype": "FP32", "shape": list(data.shape), "data": [float(value) for value in data.ravel()]}
