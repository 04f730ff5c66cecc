"""What OpenAPI says of requests and responses, beyond what FastAPI reads off the routes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from pydantic import BaseModel

from xai.serve.forms import FORMS
from xai.serve.protocol import JSON, MULTIPART, AnswerRequest, ExplainRequest

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAABAAAAAQCAIAAACQkWg2AAAAGklEQVR42mM8ISfHQApgYiARjGoY1TB0NAAATx8BJMixHB8AAAAASUVORK5CYII="
"""A picture for examples: 16 x 16 pixels of red."""

SENTENCES = {
    400: "The body is not what its type says.",
    401: "No key, or a wrong one.",
    404: "No such model, or no such route.",
    406: "No form that is accepted.",
    408: "The body did not come in time.",
    413: "The body is too large.",
    415: "A body or a picture of a type that is not taken.",
    422: "The body can be read, but what it asks cannot be done.",
    500: "The model failed.",
    503: "The queue is full, or the server loads or drains: wait `Retry-After` seconds.",
    504: "No answer within the deadline.",
}

COMPONENTS = "#/components/schemas/"

PROBLEM: dict[str, Any] = {
    "type": "object",
    "properties": {"error": {"type": "string", "description": "One sentence."}, "code": {"type": "string", "description": "Its kind."}},
    "required": ["error", "code"],
    "additionalProperties": False,
}


NUMBERS: dict[str, Any] = {"type": "array", "items": {"type": "integer", "minimum": 0}}
TEXTS: dict[str, Any] = {"type": "array", "items": {"type": "string"}}
PREDICTION: dict[str, Any] = {
    "type": "object",
    "properties": {
        "schema_version": {"const": 1},
        "image": {"type": "string"},
        "image_size": NUMBERS,
        "crop": {"type": "array", "items": {"type": "integer"}, "minItems": 4, "maxItems": 4},
        "question": {"type": "string"},
        "answer": {"$ref": f"{COMPONENTS}PredictedAnswer"},
        "top": {"type": "array", "items": {"$ref": f"{COMPONENTS}PredictedAnswer"}},
        "tokens": TEXTS,
        "words": {
            "type": "array",
            "items": {"type": "object", "properties": {"text": {"type": "string"}, "tokens": NUMBERS}, "required": ["text", "tokens"]},
        },
        "grid": {**NUMBERS, "minItems": 2, "maxItems": 2},
        "without_patches": NUMBERS,
        "without_words": NUMBERS,
        "session": {"type": "string"},
        "precision": {"type": "string"},
        "timings_ms": {"type": "object", "additionalProperties": {"type": "number"}},
    },
}
PREDICTION["required"] = list(PREDICTION["properties"])
PREDICTED_ANSWER: dict[str, Any] = {
    "type": "object",
    "properties": {
        "id": {"type": "integer"},
        "text": {"type": "string"},
        "logit": {"type": "number"},
        "probability": {"type": ["number", "null"], "minimum": 0, "maximum": 1},
    },
    "required": ["id", "text", "logit", "probability"],
}


def _pointed(schema: Any, prefix: str) -> Any:
    """A schema whose references lead into OpenAPI's components."""
    if isinstance(schema, dict):
        return {
            key: COMPONENTS + prefix + value.rpartition("/")[2]
            if key == "$ref" and value.startswith("#/$defs/")
            else _pointed(value, prefix)
            for key, value in schema.items()
        }
    return [_pointed(item, prefix) for item in schema] if isinstance(schema, list) else schema


def components() -> dict[str, Any]:
    """Every schema by name: the shipped one of an explanation, taken apart, and ours."""
    schema = json.loads((files("xai.runtime") / "schema" / "explanation.schema.json").read_text(encoding="utf-8"))
    parts = {f"Explanation_{name}": _pointed(part, "Explanation_") for name, part in schema.pop("$defs", {}).items()}
    whole = {key: value for key, value in _pointed(schema, "Explanation_").items() if key not in ("$schema", "$id")}
    ours = {"Problem": PROBLEM, "Prediction": PREDICTION, "PredictedAnswer": PREDICTED_ANSWER}
    asked = {kind.__name__: kind.model_json_schema() for kind in (ExplainRequest, AnswerRequest)}
    return {**parts, **ours, **asked, "Explanation": whole}


def problems(*codes: int) -> dict[int | str, dict[str, Any]]:
    """The responses of these codes, and those of every route (401)."""
    content = {JSON: {"schema": {"$ref": f"{COMPONENTS}Problem"}}}
    found: dict[int | str, dict[str, Any]] = {}
    for code in sorted({401, *codes}):
        found[code] = {"description": SENTENCES[code], "content": content}
        if code == 503:
            found[code]["headers"] = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}
    return found


ASKING = (400, 404, 408, 413, 415, 422, 500, 503, 504)
"""What any question can meet."""


def _form(kind: type[BaseModel]) -> dict[str, Any]:
    """The multipart form of a request: the same fields, the picture as a file, lists separated by commas."""
    fields: dict[str, Any] = {}
    for name, field in kind.model_json_schema()["properties"].items():
        text = {"description": field["description"]}
        fields[name] = {"type": "string", **text}
        if name == "top_k":
            fields[name] = {"type": "integer", "minimum": 1, "maximum": 1000, **text}
        elif name == "word_regions":
            fields[name] = {"type": "boolean", **text}
        elif name == "image":
            fields[name] = {"type": "string", "format": "binary", "description": "The file: PNG, JPEG or WebP."}
        elif name == "question":
            fields[name] |= {"minLength": 1, "maxLength": field["maxLength"], "format": "question"}
        elif name.startswith("without_"):
            fields[name] |= {"pattern": r"^([0-9]{1,6}(,[0-9]{1,6})*)?$"}
    return {"type": "object", "properties": fields, "required": ["image", "question"], "additionalProperties": False}


def asking(kind: type[BaseModel]) -> dict[str, Any]:
    """The body of a request, as JSON and as a form."""
    example = {"image": PIXEL, "question": "Is there a circle?"}
    content = {
        JSON: {"schema": {"$ref": f"{COMPONENTS}{kind.__name__}"}, "example": example},
        MULTIPART: {"schema": _form(kind)},
    }
    return {"requestBody": {"required": True, "content": content}}


def explaining() -> dict[str, Any]:
    """The description of `/v1/explain`."""
    content: dict[str, Any] = {form: {"schema": {"type": "string", "format": "binary"}} for form in FORMS}
    content[JSON] = {"schema": {"$ref": f"{COMPONENTS}Explanation"}}
    answered = {200: {"description": "The explanations, in the form that was accepted.", "content": content}}
    return {"openapi_extra": asking(ExplainRequest), "responses": {**answered, **problems(406, *ASKING)}}


def answering() -> dict[str, Any]:
    """The description of `/v1/answer`."""
    answered = {200: {"description": "The answer.", "content": {JSON: {"schema": {"$ref": f"{COMPONENTS}Prediction"}}}}}
    return {"openapi_extra": asking(AnswerRequest), "responses": {**answered, **problems(*ASKING)}}


def name_models(schema: dict[str, Any], names: Sequence[str]) -> None:
    """Say in an OpenAPI description which models its paths may name."""
    for verbs in schema["paths"].values():
        for operation in verbs.values():
            for parameter in operation.get("parameters", ()):
                if parameter["name"] == "model":
                    parameter["schema"] = {"enum": list(names)}


def down() -> dict[int | str, dict[str, Any]]:
    """The response of a server that is not ready."""
    return {code: response for code, response in problems(503).items() if code == 503}


def _said(description: str, schema: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    return {200: {"description": description, "content": {JSON: {"schema": schema}}}}


def open_object(*names: str) -> dict[int | str, dict[str, Any]]:
    """The response of a route that gives an object with at least these fields."""
    return _said("As the protocol says.", {"type": "object", "required": list(names)})


def listing(name: str) -> dict[int | str, dict[str, Any]]:
    """The response of a route that gives a list of names."""
    return {**_said("Names.", {"type": "object", "properties": {name: TEXTS}, "required": [name]}), **problems()}


def model_state() -> dict[int | str, dict[str, Any]]:
    """The response of `/v1/models/{model}`."""
    state = {"type": "object", "properties": {"name": {"type": "string"}, "ready": {"type": "boolean"}}, "required": ["name", "ready"]}
    return {**_said("Its state.", state), **problems(404)}


def instances(kind: type[BaseModel], name: str, component: str, most: int) -> dict[str, Any]:
    """The description of a route of KServe v1 that takes instances."""
    asked = {"type": "array", "minItems": 1, "maxItems": most, "items": {"$ref": f"{COMPONENTS}{kind.__name__}"}}
    body = {"type": "object", "properties": {"instances": asked}, "required": ["instances"], "additionalProperties": False}
    listed = {"type": "array", "items": {"$ref": f"{COMPONENTS}{component}"}}
    said = {"type": "object", "properties": {name: listed}, "required": [name]}
    example = {"instances": [{"image": PIXEL, "question": "Is there a circle?"}]}
    extra = {"requestBody": {"required": True, "content": {JSON: {"schema": body, "example": example}}}}
    return {"openapi_extra": extra, "responses": {**_said("One for each instance, in order.", said), **problems(*ASKING)}}


def _input(name: str) -> dict[str, Any]:
    """One tensor of a request, as JSON: its text has the format of the field of that name in `/v1/explain`."""
    data = {"type": "array", "prefixItems": [ExplainRequest.model_json_schema()["properties"][name]], "minItems": 1, "maxItems": 1}
    properties = {"name": {"const": name}, "datatype": {"const": "BYTES"}, "shape": {"const": [1]}, "data": data}
    return {"type": "object", "properties": properties, "required": list(properties)}


def inference() -> dict[str, Any]:
    """The description of `/v2/models/{model}/infer` and of its extension."""
    image, question = (_input(name) for name in ("image", "question"))
    pairs = [{"type": "array", "prefixItems": pair, "minItems": 2, "maxItems": 2} for pair in ([image, question], [question, image])]
    wanted = {
        "type": "array",
        "items": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
        "maxItems": 16,
    }
    body = {
        "type": "object",
        "properties": {
            "id": {"type": "string"},
            "model_name": {"type": "string", "description": "As in the path; it may be left out."},
            "parameters": {"type": "object"},
            "inputs": {"anyOf": pairs},
            "outputs": wanted,
        },
        "required": ["inputs"],
        "additionalProperties": False,
    }
    output = {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "datatype": {"enum": ["BYTES", "FP32"]},
            "shape": {"type": "array", "items": {"type": "integer"}},
            "data": {"type": "array"},
        },
        "required": ["name", "datatype", "shape", "data"],
    }
    said = {
        "type": "object",
        "properties": {"model_name": {"type": "string"}, "id": {"type": "string"}, "outputs": {"type": "array", "items": output}},
        "required": ["model_name", "outputs"],
    }
    texts = [("image", PIXEL), ("question", "Is there a circle?")]
    example = {"inputs": [{"name": name, "datatype": "BYTES", "shape": [1], "data": [text]} for name, text in texts]}
    extra = {"requestBody": {"required": True, "content": {JSON: {"schema": body, "example": example}}}}
    return {"openapi_extra": extra, "responses": {**_said("Tensors.", said), **problems(*ASKING)}}
