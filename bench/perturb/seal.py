"""JSON objects that show whether they were altered after they were written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from xai.base.reading import Fields

CHECK = "check"
"""The field that holds the first 16 hexadecimal digits of a SHA-256: chance lets one change in 10^19 pass."""


def seal(content: Mapping[str, Any], key: str = "") -> dict[str, Any]:
    """Add a checksum over the whole object and over `key`, which ties it to what it belongs to."""
    return {**content, CHECK: _checksum(content, key)}


def unseal(fields: Fields, key: str = "") -> dict[str, Any]:
    """Give the object without its checksum. Raises `XaiError` where that is missing, or is not the one of the object and `key`."""
    content = {name: value for name, value in fields.content.items() if name != CHECK}
    if fields.get(CHECK, str) != _checksum(content, key):
        raise fields.refuse(CHECK, "does not fit the rest, which was altered after it was written")
    return content


def _checksum(content: Mapping[str, Any], key: str) -> str:
    return hashlib.sha256((key + json.dumps(content, sort_keys=True)).encode()).hexdigest()[:16]
