"""Bytes within a page, as a `data:` address."""

from __future__ import annotations

import base64


def data_uri(media: str, content: bytes) -> str:
    """Give the address that holds `content` itself; `media` is its type, such as `image/png`."""
    return f"data:{media};base64,{base64.b64encode(content).decode()}"
