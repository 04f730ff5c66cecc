"""Exits with 1 where two files of `xai explain --json` do not hold the same explanation, but for rounding."""

import json
import sys
from pathlib import Path

TOLERANCE = 1e-4
"""Of a map's maximum."""


def main(first: str, second: str) -> None:
    """Compare the answers, the tokens and every relevance."""
    a, b = (json.loads(Path(name).read_text(encoding="utf-8")) for name in (first, second))
    for key in ("question", "raw_tokens", "grid"):
        assert a[key] == b[key], key
    assert a["answer"]["text"] == b["answer"]["text"]
    assert [e["method"] for e in a["explanations"]] == [e["method"] for e in b["explanations"]]
    worst = 0.0
    for one, other in zip(a["explanations"], b["explanations"], strict=True):
        for key in ("image_relevance", "text_relevance"):
            scale = max(map(abs, one[key])) or 1.0
            worst = max(worst, *(abs(x - y) / scale for x, y in zip(one[key], other[key], strict=True)))
    print(f"{len(a['explanations'])} methods, largest difference {worst:.1e} of a map's maximum")
    if not worst <= TOLERANCE:
        sys.exit(f"{first} and {second} differ")


main(*sys.argv[1:])
