"""The page at `/`: the document of `runtime/show/document.py`, told what this server takes."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from typing import Any

from xai.base.uri import data_uri
from xai.base.versions import XAI_VERSION
from xai.runtime.show.document import policy, served
from xai.serve.protocol import DATA_TYPES, AnswerRequest, ExplainRequest
from xai.serve.settings import MAX_QUESTION, Settings

EXAMPLES = {
    "scene1.png": "What color is the circle?",
    "scene2.png": "Is the black circle left of the red rectangle?",
    "scene3.png": "How many triangles are there?",
}
"""Pictures that ship with the package, each with a question to begin with."""

PAGE_POLICY = f"{policy()}; frame-ancestors 'none'"


def page(models: Sequence[str], settings: Settings, root: str) -> str:
    """The page for a server of these models, mounted at `root`."""
    examples = [
        {"name": name, "question": question, "uri": data_uri("image/png", (files("xai.examples") / name).read_bytes())}
        for name, question in EXAMPLES.items()
    ]
    setup: dict[str, Any] = {
        "root": root,
        "models": list(models),
        "fields": {"explain": list(ExplainRequest.model_fields), "answer": list(AnswerRequest.model_fields)},
        "max_question": MAX_QUESTION,
        "max_pixels": settings.max_pixels,
        "max_body": settings.max_body,
        "types": list(DATA_TYPES),
        "examples": examples,
    }
    docs = f'<a href="{escape(root)}/docs">The API of this server</a>'
    return served(setup, f'<footer class="quiet">xai {escape(XAI_VERSION)} · {docs}</footer>')
