"""Changes of JSON, text, bytes and zip archives that several fuzzers share."""

from __future__ import annotations

import copy
import json
import random
import struct
import zlib
from collections.abc import Iterator
from typing import Any

ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 7, 10**6, 2**31, 2**63, 10**30, -(10**30), 0.5, -0.0, 1e-320, 1e308, float("nan"), float("inf"),
    "", " ", "x", "0", "4", "1e9", "NaN", "../x", "/etc/passwd", "a" * 300, "Grüße", "颜色", "\u2028", "\ud800", "\x00", "a\nb", "\x1b[31m",
    [], [[]], [None], [0], [1, 2, 3], ["x"], {}, {"": 0}, {"x": {}}, [[[[[[[[0]]]]]]]],
)  # fmt: skip
"""Values that no field expects all of."""

Path = tuple[Any, ...]


def paths(content: Any, place: Path = ()) -> Iterator[Path]:
    """The place of every value in a structure, but for the whole."""
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        yield (*place, key)
        yield from paths(value, (*place, key))


def get(content: Any, place: Path) -> Any:
    """The value at a place."""
    for key in place:
        content = content[key]
    return content


def mutate_json(rng: random.Random, content: Any) -> tuple[Any, str]:
    """A copy with one value deleted, replaced, moved, wrapped or altered, and what was done to it."""
    changed = copy.deepcopy(content)
    places = list(paths(changed))
    if not places or rng.random() < 0.02:
        return rng.choice(ODD), "the whole replaced"
    place = rng.choice(places)
    parent, key = get(changed, place[:-1]), place[-1]
    old = parent[key]
    name = ".".join(map(str, place))
    change = rng.choice(("delete", "odd", "odd", "near", "wrap", "rename", "swap", "text", "double"))
    if change == "delete":
        del parent[key]
    elif change == "near":
        parent[key] = near(rng, old)
    elif change == "wrap":
        parent[key] = rng.choice(([old], {"x": old}, [old, old]))
    elif change == "rename" and isinstance(parent, dict):
        parent[rng.choice((f"{key}x", "", "颜"))] = parent.pop(key)
    elif change == "swap":
        other = rng.choice(list(range(len(parent))) if isinstance(parent, list) else list(parent))
        parent[key], parent[other] = parent[other], parent[key]
        return changed, f"{name} swapped with {other!r}"
    elif change == "text":
        parent[key] = json.dumps(old)
    elif change == "double" and isinstance(parent, list):
        parent.insert(rng.randrange(len(parent) + 1), copy.deepcopy(old))
    else:
        parent[key] = value = copy.deepcopy(rng.choice(ODD))
        return changed, f"{name} is {value!r:.40} instead of {old!r:.40}"
    return changed, f"{name}: {change}, was {old!r:.40}"


def near(rng: random.Random, value: Any) -> Any:
    """A value of the same type, beside the old one."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return rng.choice((value + 1, value - 1, -value, 2 * value, value * 10**9, 0))
    if isinstance(value, float):
        return rng.choice((value + 1, -value, value * 1.001, value * 1e300 * 1e300, 0.0))
    if isinstance(value, str):
        return rng.choice((value[1:], value + "x", value.upper(), value[::-1], value * 2, f" {value}"))
    if isinstance(value, list):
        return rng.choice((value[1:], value[:-1], value[::-1], value * 2, []))
    if isinstance(value, dict):
        return dict(list(value.items())[1:])
    return 0


def dumped(content: Any, indent: int | None = None) -> bytes:
    """A structure as JSON, lone surrogates as escapes."""
    return json.dumps(content, indent=indent).encode()


def mutate_text(rng: random.Random, raw: bytes) -> tuple[bytes, str]:
    """A text file that an editor, a transfer or a hostile hand changed; most of what comes of it is no JSON."""
    middle = rng.randrange(len(raw) + 1)
    changes = {
        "a BOM": b"\xef\xbb\xbf" + raw,
        "UTF-16": raw.decode("utf-8", "replace").encode("utf-16"),
        "Latin-1 bytes": raw[:middle] + b"\xe9" + raw[middle:],
        "cut short": raw[:middle],
        "empty": b"",
        "only spaces": b" \n\n ",
        "a NUL": raw[:middle] + b"\0" + raw[middle:],
        "[ x 100,000": b"[" * 100_000,
        "{x: ... x 100,000": b'{"x":' * 100_000,
        "5,000 digits": b"9" * 5_000,
        "digits for a value": raw.replace(b": 0", b": " + b"9" * 5_000, 1).replace(b": 1", b": " + b"9" * 5_000, 1),
        "CR LF": raw.replace(b"\n", b"\r\n"),
        "one byte flipped": flip(rng, raw),
        "doubled": raw + raw,
        "trailing garbage": raw + b"}",
        "a duplicate key": raw.replace(b"{", b'{"x": 0, "x": 1, ', 1),
        "NaN": raw.replace(b": 0", b": NaN", 1).replace(b": 1", b": Infinity", 1),
        "a line separator": raw.replace(b" ", "\u2028".encode(), 1),
        "blank lines": b"\n\n" + raw + b"\n\n",
    }
    what = rng.choice(list(changes))
    return changes[what], what


def flip(rng: random.Random, raw: bytes, start: int = 0, end: int | None = None, times: int = 1) -> bytes:
    """Some bytes changed between two offsets."""
    changed = bytearray(raw)
    end = len(raw) if end is None else end
    for _ in range(times):
        if end > start:
            changed[rng.randrange(start, end)] ^= rng.randrange(1, 256)
    return bytes(changed)


def damaged(rng: random.Random, raw: bytes) -> tuple[bytes, str]:
    """Bytes flipped, removed, inserted, zeroed or repeated."""
    at = rng.randrange(len(raw) or 1)
    length = rng.choice((1, 4, 64, 4096))
    changes = {
        "a byte flipped": flip(rng, raw),
        "a byte of the head flipped": flip(rng, raw, 0, min(64, len(raw))),
        "a byte of the tail flipped": flip(rng, raw, max(0, len(raw) - 64)),
        "20 bytes flipped": flip(rng, raw, times=20),
        "zeroed": raw[:at] + b"\0" * len(raw[at : at + length]) + raw[at + length :],
        "removed": raw[:at] + raw[at + length :],
        "inserted": raw[:at] + rng.randbytes(length) + raw[at:],
        "repeated": raw[:at] + raw[at : at + length] * 2 + raw[at + length :],
        "a number made huge": raw[:at] + rng.choice((b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\x80")) + raw[at + 4 :],
    }
    what = rng.choice(list(changes))
    return changes[what], f"{what} at {at}"


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk with the CRC that it must have."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_chunks(raw: bytes) -> list[tuple[bytes, bytes]]:
    """Kinds and contents of a PNG's chunks."""
    found, at = [], 8
    while at < len(raw):
        (length,) = struct.unpack(">I", raw[at : at + 4])
        found.append((raw[at + 4 : at + 8], raw[at + 8 : at + 8 + length]))
        at += 12 + length
    return found
