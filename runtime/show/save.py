"""Explanations -> a file: picture, page or data."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xai.base.errors import BadInput
from xai.base.files import check_folder, json_bytes, write
from xai.base.process import import_matplotlib

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from xai.runtime.explanation import Explanation


def save(explanations: Sequence[Explanation], path: Path) -> None:
    """Write explanations of the same answer, by one or several methods; the suffix says as what (`SUFFIXES`).

    An existing file is replaced, but only by a whole one. Raises `XaiError` on another suffix or a failed write.
    """
    check(path)
    write({path: render(explanations, path)})


def render(explanations: Sequence[Explanation], path: Path) -> bytes:
    """Give the content of the file that `save` would write."""
    return _WRITERS[path.suffix.lower()](explanations)


def notebook(explanation: Explanation) -> str:
    """Give the part of a page that a notebook shows."""
    from xai.runtime.show.notebook import fragment

    return fragment(explanation)


def check(path: Path) -> None:
    """Say before any work is done that `path` cannot be saved to: its suffix is none of `SUFFIXES`, or it has no folder.

    Raises `XaiError`.
    """
    check_suffix(path)
    check_folder(path)


def check_suffix(path: Path) -> None:
    """Refuse a suffix that is none of `SUFFIXES`: raises `BadInput`."""
    if path.suffix.lower() not in SUFFIXES:
        raise BadInput(f"cannot save {path}: its name must end with {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")


# What draws and what computes is imported when it is needed: a name is refused before SciPy and matplotlib are loaded.


def _figure(explanations: Sequence[Explanation]) -> Figure:
    import_matplotlib()
    from xai.runtime.show.drawing.vector import figure
    from xai.runtime.show.sheet import draw

    return figure(draw(explanations))


def _png(explanations: Sequence[Explanation]) -> bytes:
    from xai.runtime.show.drawing.raster import png
    from xai.runtime.show.sheet import draw

    return png(draw(explanations))


def _svg(explanations: Sequence[Explanation]) -> bytes:
    """Text stays text, in DejaVu Sans where the reader has it."""
    figure = _figure(explanations)
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    buffer = io.BytesIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "xai"}):  # the salt: the same file for the same explanation
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})
    return buffer.getvalue()


def _pdf(explanations: Sequence[Explanation]) -> bytes:
    """Text stays text, with the parts of the fonts that it needs."""
    figure = _figure(explanations)
    from matplotlib import rc_context
    from matplotlib.backends.backend_pdf import FigureCanvasPdf

    buffer = io.BytesIO()
    with rc_context({"pdf.fonttype": 42}):  # TrueType; the default splits text into pictures of letters
        FigureCanvasPdf(figure).print_pdf(buffer, metadata={"CreationDate": None})
    return buffer.getvalue()


def _html(explanations: Sequence[Explanation]) -> bytes:
    from xai.runtime.show.document import html

    return html(explanations).encode()


def _csv(explanations: Sequence[Explanation]) -> bytes:
    """A row for each patch or box, then one for each word, a column of raw scores for each method.

    `kind` is `patch`, `box` or `word`; a patch has `row` and `column`, a box its number `box` and its corners, a word its place `word`
    and its `text`. All count from 0.
    """
    first = explanations[0]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    if first.boxes is None:
        heads: tuple[str, ...] = ("row", "column")
        places: list[list[Any]] = [list(place) for place in np.ndindex(first.image_relevance.shape)]
    else:
        heads = ("box", "x0", "y0", "x1", "y1")
        places = [[i, *map(float, box)] for i, box in enumerate(first.boxes)]
    kind, empty = "patch" if first.boxes is None else "box", [""] * len(heads)
    writer.writerow(["kind", *heads, "word", "text", *(e.full_name for e in explanations)])
    for place, values in zip(places, zip(*(e.image_relevance.ravel() for e in explanations), strict=True), strict=True):
        writer.writerow([kind, *place, "", "", *map(float, values)])
    scores = [e.word_relevance for e in explanations]
    for i, word in enumerate(first.question.words):
        writer.writerow(["word", *empty, i, word.text, *(float(values[i]) for values in scores)])
    return file.getvalue().encode()


def _json(explanations: Sequence[Explanation]) -> bytes:
    from xai.runtime.explanation import to_json

    return json_bytes(to_json(explanations), indent=1)


def _npz(explanations: Sequence[Explanation]) -> bytes:
    """`image_relevance` (methods, h, w) or (methods, N) of `boxes` (N, 4), `text_relevance` (methods, T), `methods`, `token_ids`, `tokens`;
    the rest in `json`.

    `word_regions` (methods, words, h, w) and `region_words` (methods, h, w, words) where they were asked for, of boxes N in place of h, w.
    """
    from xai.runtime.explanation import to_json

    rest = to_json(explanations)
    token_ids, tokens = rest.pop("token_ids"), rest.pop("tokens")
    rest.pop("boxes", None)
    own: dict[str, Any] = {} if explanations[0].boxes is None else {"boxes": explanations[0].boxes}
    for explanation in rest["explanations"]:
        del explanation["image_relevance"], explanation["text_relevance"]
        explanation.pop("word_regions", None)
    names = ("word_regions", "region_words") if explanations[0].word_regions is not None else ()
    asked: dict[str, Any] = {name: np.stack([getattr(e, name) for e in explanations]) for name in names}
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        image_relevance=np.stack([e.image_relevance for e in explanations]),
        text_relevance=np.stack([e.text_relevance for e in explanations]),
        methods=np.array([e.method for e in explanations]),
        token_ids=np.array(token_ids, dtype=np.int64),
        tokens=np.array(tokens),
        **own,
        **asked,
        json=np.array(json.dumps(rest)),
    )
    return buffer.getvalue()


_WRITERS: dict[str, Callable[[Sequence[Explanation]], bytes]] = {
    ".csv": _csv,
    ".pdf": _pdf,
    ".svg": _svg,
    ".png": _png,
    ".html": _html,
    ".json": _json,
    ".npz": _npz,
}

SUFFIXES = tuple(_WRITERS)
