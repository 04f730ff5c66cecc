"""The documentation as one page: made from the OpenAPI description, without scripts and without the network."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from html import escape
from typing import Any

STYLE = """
:root { color-scheme: light dark; }
body { margin: 0 auto; max-width: 62rem; padding: 2rem 1.5rem 4rem; font: 16px/1.5 system-ui, sans-serif; }
h2 { margin: 2.5rem 0 .3rem; font-size: 1.1rem; }
code, pre { font: .875rem/1.5 ui-monospace, monospace; }
pre { overflow-x: auto; padding: .8rem 1rem; border: 1px solid #8885; border-radius: 6px; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #8884; }
.verb { font-weight: 600; }
"""

PAGE_STYLE_POLICY = (
    f"default-src 'none'; style-src 'sha256-{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
"""Of this page: its own style by its hash, and nothing else."""

EXAMPLES = """curl -F image=@photo.png -F question="What color is the circle?" {server}/v1/explain
curl -F image=@photo.png -F question="What color is the circle?" -H "Accept: image/png" {server}/v1/explain -o why.png
curl -F image=@photo.png -F question="What color is the circle?" -F without_patches=0,1,2 {server}/v1/answer"""


def page(schema: dict[str, Any], server: str) -> str:
    """The page for an OpenAPI description, of the server at this URL."""
    parts = schema.get("components", {}).get("schemas", {})
    body = "\n".join(
        _operation(verb, path, operation, parts) for path, verbs in schema["paths"].items() for verb, operation in verbs.items()
    )
    title = f"{schema['info']['title']} {schema['info']['version']}"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head><body>'
        f"<h1>{escape(title)}</h1><p>{escape(schema['info'].get('summary', ''))} "
        f'Machines read <a href="openapi.json">openapi.json</a>.</p>'
        f"<pre>{escape(EXAMPLES.format(server=server))}</pre>\n{body}</body></html>\n"
    )


def _operation(verb: str, path: str, operation: dict[str, Any], parts: dict[str, Any]) -> str:
    said = operation.get("description", operation.get("summary", ""))
    fields = ""
    for kind, media in operation.get("requestBody", {}).get("content", {}).items():
        shape = media["schema"]
        shape = parts[shape["$ref"].rpartition("/")[2]] if "$ref" in shape else shape
        rows = [
            (name, "needed" if name in shape.get("required", ()) else "", field.get("description", ""))
            for name, field in shape.get("properties", {}).items()
        ]
        fields += f"<p>Body as <code>{escape(kind)}</code>:</p>{_table(('field', '', 'meaning'), rows)}"
    codes = [
        (code, ", ".join(response.get("content", {})), response.get("description", "")) for code, response in operation["responses"].items()
    ]
    return (
        f'<h2><span class="verb">{verb.upper()}</span> <code>{escape(path)}</code></h2><p>{escape(said)}</p>{fields}'
        f"<p>Responses:</p>{_table(('code', 'type', 'meaning'), codes)}"
    )


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
