"""Explanations -> a file: picture, page, JSON or arrays."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xai.base.errors import XaiError
from xai.base.files import check_folder, json_bytes, write

if TYPE_CHECKING:
    from xai.runtime.explanation import Explanation


def save(explanations: Sequence[Explanation], path: Path) -> None:
    """Write explanations of the same answer, by one or several methods; the suffix says as what (`SUFFIXES`).

    An existing file is replaced, but only by a whole one. Raises `XaiError` on another suffix or a failed write.
    """
    check(path)
    write({path: render(explanations, path)})


def render(explanations: Sequence[Explanation], path: Path) -> bytes:
    """The content of the file that `save` would write."""
    return _WRITERS[path.suffix.lower()](explanations)


def check(path: Path) -> None:
    """Say before any work is done that `path` cannot be saved to: its suffix is none of `SUFFIXES`, or it has no folder.

    Raises `XaiError`.
    """
    check_suffix(path)
    check_folder(path)


def check_suffix(path: Path) -> None:
    """Raises `XaiError` where the suffix is none of `SUFFIXES`."""
    if path.suffix.lower() not in SUFFIXES:
        raise XaiError(f"cannot save {path}: its name must end with {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")


# What draws and what computes is imported when it is needed: a name is refused before SciPy and matplotlib are loaded.


def _png(explanations: Sequence[Explanation]) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    from xai.runtime.show.sheet import draw

    buffer = io.BytesIO()
    FigureCanvasAgg(draw(explanations)).print_png(buffer, pil_kwargs={"compress_level": 4})  # half of level 6's time for a photo
    return buffer.getvalue()


def _html(explanations: Sequence[Explanation]) -> bytes:
    from xai.runtime.show.page import html

    return html(explanations).encode()


def _json(explanations: Sequence[Explanation]) -> bytes:
    from xai.runtime.explanation import to_json

    return json_bytes(to_json(explanations), indent=1)


def _npz(explanations: Sequence[Explanation]) -> bytes:
    """`image_relevance` (methods, h, w), `text_relevance` (methods, T), `methods`, `token_ids`, `tokens`; the rest in `json`."""
    from xai.runtime.explanation import to_json

    rest = to_json(explanations)
    token_ids, tokens = rest.pop("token_ids"), rest.pop("tokens")
    for explanation in rest["explanations"]:
        del explanation["image_relevance"], explanation["text_relevance"]
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        image_relevance=np.stack([e.image_relevance for e in explanations]),
        text_relevance=np.stack([e.text_relevance for e in explanations]),
        methods=np.array([e.method for e in explanations]),
        token_ids=np.array(token_ids, dtype=np.int64),
        tokens=np.array(tokens),
        json=np.array(json.dumps(rest)),
    )
    return buffer.getvalue()


_WRITERS: dict[str, Callable[[Sequence[Explanation]], bytes]] = {".png": _png, ".html": _html, ".json": _json, ".npz": _npz}

SUFFIXES = tuple(_WRITERS)
