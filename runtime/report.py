"""Explanations -> a file: picture, page, JSON or arrays."""

from __future__ import annotations

import io
import json
import os
import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from xai import XaiError
from xai.runtime.explanation import Explanation, to_json


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


def check_folder(path: Path) -> None:
    """Raises `XaiError` where the folder that `path` names does not exist, may not be written to, or `path` is one itself."""
    try:
        if not path.parent.is_dir():
            raise XaiError(f"cannot save {path}: folder {path.parent} does not exist")
        if path.is_dir():
            raise XaiError(f"cannot save {path}: it is a folder")
    except OSError as error:
        raise XaiError(f"cannot save {path}: {error.strerror}") from error
    if not os.access(path.parent, os.W_OK):
        raise XaiError(f"cannot save {path}: folder {path.parent} may not be written to")


def write(contents: Mapping[Path, bytes]) -> None:
    """Write files, all or none: each beside its place first, then renamed, so that nobody sees half a file.

    A link's target is replaced, not the link; what is no regular file (a pipe, /dev/stdout) is written to. Raises `XaiError`
    where that fails.
    """
    waiting: dict[Path, Path] = {}
    try:
        for path, content in contents.items():
            target = path.resolve()
            if target.exists() and not target.is_file():
                path.write_bytes(content)
                continue
            waiting[target] = target.with_name(f".xai-{secrets.token_hex(8)}")  # short: a name may be as long as it can be
            waiting[target].write_bytes(content)
            if target.exists():
                shutil.copymode(target, waiting[target])
        for target, temporary in waiting.items():
            temporary.replace(target)
    except OSError as error:
        raise XaiError(f"cannot save {path}: {error.strerror or error}") from error
    finally:
        for temporary in waiting.values():
            temporary.unlink(missing_ok=True)


def json_bytes(content: object, indent: int | None = None) -> bytes:
    """JSON in UTF-8, with a line's end. A file name that is not UTF-8 holds lone surrogates; as escapes they are valid JSON."""
    return (json.dumps(content, indent=indent, ensure_ascii=False) + "\n").encode(errors="backslashreplace")


# What draws is imported when it is needed: matplotlib takes longer to load than the rest.


def _png(explanations: Sequence[Explanation]) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    from xai.runtime.render import draw

    buffer = io.BytesIO()
    FigureCanvasAgg(draw(explanations)).print_png(buffer, pil_kwargs={"compress_level": 4})  # half of level 6's time for a photo
    return buffer.getvalue()


def _html(explanations: Sequence[Explanation]) -> bytes:
    from xai.runtime.page import html

    return html(explanations).encode()


def _json(explanations: Sequence[Explanation]) -> bytes:
    return json_bytes(to_json(explanations), indent=1)


def _npz(explanations: Sequence[Explanation]) -> bytes:
    """`image_relevance` (methods, h, w), `text_relevance` (methods, T), `methods`, `token_ids`, `tokens`; the rest in `json`."""
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
