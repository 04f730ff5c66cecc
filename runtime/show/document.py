"""The page: explanations as one HTML file that needs nothing else, and the same page with a server behind it.

Both are one document, one style sheet and one script (`assets/`), which draw what the documented JSON says (docs/formats.md,
Explanation). Without scripts, a file still shows the part of a page that a notebook shows.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from string import Template
from typing import Any

from xai.runtime.explanation import Explanation, to_json
from xai.runtime.show.page import text
from xai.runtime.show.still import still
from xai.runtime.show.theme import painting, window

_SCRIPTS = "paint.js", "stage.js", "ask.js", "parts.js", "page.js", "start.js"
"""One script, in this order."""


def html(explanations: Sequence[Explanation]) -> str:
    """Write the file for explanations of the same answer, by one or several methods; the first is shown until a reader chooses."""
    first = explanations[0]
    setup = {"root": "", "models": [], "fields": {"explain": [], "answer": []}, "box": window(first.picture.size, first.crop.box)}
    return _document(
        title=text(f"{first.question.text} {first.answer.text}"),
        heading="Why this answer?",
        still=f'<div id="still">{still(explanations)}</div>',
        footer="",
        setup=setup,
        data=to_json(explanations),
    )


def served(setup: Mapping[str, Any], footer: str) -> str:
    """Write the page that asks a server. `setup` is what its script knows of the server, `footer` HTML at its end."""
    without = "<noscript><p>This page needs scripts. Without them, the server answers programs and the command line.</p></noscript>"
    return _document(title="xai", heading="Ask about a picture, and see why", still=without, footer=footer, setup=setup, data=None)


@cache
def policy() -> str:
    """Give the Content-Security-Policy that both forms keep to: the page's own style and script by their hashes, pictures within it.

    Only styles on elements, which cannot run anything, are not hashed: a file has those of its part without scripts.
    """
    script, style = (f"'sha256-{base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()}'" for part in (_script(), _style()))
    return (
        f"default-src 'none'; img-src data: blob:; style-src-elem {style}; style-src-attr 'unsafe-inline'; script-src {script}; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'"
    )


def _document(title: str, heading: str, still: str, footer: str, setup: Mapping[str, Any], data: Mapping[str, Any] | None) -> str:
    return Template(asset("page.html")).substitute(
        policy=policy(),
        title=title,
        heading=heading,
        still=still,
        footer=footer,
        style=_style(),
        script=_script(),
        setup=script_json({**setup, "paint": painting()}),
        data=script_json(data),
    )


def script_json(value: Any) -> str:
    """JSON in ASCII that cannot end the element it stands in; a name of a file may hold what is no text."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


@cache
def _script() -> str:
    return "\n" + "".join(asset(name) for name in _SCRIPTS)


@cache
def _style() -> str:
    return asset("page.css")


def asset(name: str) -> str:
    """Read a file of `assets/`: a page of another room may look and paint as this one does."""
    return (files("xai.runtime.show") / "assets" / name).read_text(encoding="utf-8")
