"""Words as people read them, wherever they are shown."""

from __future__ import annotations

import unicodedata


def percent(probability: float) -> str:
    """Such as `87.3%`; never claims 0% or 100%."""
    if probability < 0.0005:
        return "<0.1%"
    return f"{probability:.1%}" if probability < 0.9995 else ">99.9%"


def one_line(text: str) -> str:
    """`text` without what would break a line, steer a terminal or fail to be encoded."""
    kind = {c: unicodedata.category(c) for c in set(text)}
    return " ".join("".join(" " if kind[c] == "Cc" else "\ufffd" if kind[c] == "Cs" else c for c in text).split())


def right_to_left(text: str) -> bool:
    """Say whether a line runs from right to left: its first letter with a direction decides (Unicode Standard Annex 9, P2)."""
    for character in text:
        direction = unicodedata.bidirectional(character)
        if direction in ("L", "R", "AL"):
            return direction != "L"
    return False


def size_text(count: int) -> str:
    """A number of bytes, such as `1.3 GB`: in powers of 1000, as disks and the hub count."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"


def duration(seconds: float) -> str:
    """A time, such as `2 h 05 min`, `3 min 20 s` or `7 s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
