"""What the report shows of single questions beside what they scored: the picture, the words, the map of every method, the true region.

Made where the maps are, chunk by chunk, and kept in the run's folder beside its results, so that nothing is explained twice
(docs/formats.md, Files of the report). They are scripts, which a page can load from a disk as well as from a server.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xai.base.errors import XaiError
from xai.base.files import json_bytes
from xai.base.reading import MEGABYTE, Fields, parse_json, read_text
from xai.bench.data.regions import WHOLE
from xai.bench.perturb.answering import Measured
from xai.bench.perturb.request import FLOOR
from xai.bench.perturb.seal import CHECK, seal, unseal
from xai.runtime.comparison import ranks
from xai.runtime.inputs.prepare import PreparedImage

FOLDER = "report"
"""Beside `report.html`; holds what it loads."""
MAPS, PICTURES = "maps", "pictures"
"""Folders there: a file for each chunk, and for each image."""

_SIDE = 360
"""Pixels of a picture's longer side."""
_LEVELS = 255
_CALL, _END = 'received("maps",', ");\n"
_QUESTIONS = 50
"""In a file of maps, at most: a page loads a whole file to show one question, and a chunk may have a hundred thousand."""
_LARGEST = 100 * MEGABYTE
"""Bytes of a file of maps."""


def thumbnail(image: PreparedImage) -> bytes:
    """Draw what the model saw of a picture as a small JPEG."""
    seen = image.picture.crop(image.crop.box)
    seen.thumbnail((_SIDE, _SIDE), Image.Resampling.BICUBIC, reducing_gap=2)
    buffer = io.BytesIO()
    seen.save(buffer, "jpeg", quality=85)
    return buffer.getvalue()


def shown_files(measured: Sequence[Measured], most: int) -> dict[str, bytes]:
    """Make the files of one chunk's questions that come before number `most` in the run, by their names in `FOLDER`; perhaps none."""
    own = [one for one in measured if one.prepared.index < most]
    if not own:
        return {}
    files: dict[str, bytes] = {}
    pictures: dict[str, str] = {}
    questions = []
    for one in own:
        image, drawn = one.prepared.sample.image, one.prepared.thumbnail
        if drawn is not None and image not in pictures:
            pictures[image] = f"{one.prepared.index:06d}.jpg"
            files[f"{PICTURES}/{pictures[image]}"] = drawn
        questions.append(_question(one, pictures.get(image)))
    for start in range(0, len(questions), _QUESTIONS):
        part = questions[start : start + _QUESTIONS]
        first = part[0]["index"]
        files[f"{MAPS}/{first:06d}.js"] = script("maps", first, seal({"questions": part}))
    return files


def script(kind: str, number: int, content: object) -> bytes:
    """Write a file that hands its content to the page that loads it."""
    return f'received("{kind}",{number},'.encode() + json_bytes(content).rstrip(b"\n") + b");\n"


def read_maps(path: Path) -> list[dict[str, Any]]:
    """Read the questions in a file of `MAPS`. Raises `XaiError` where it is not as it was written."""
    advice = "remove it, and the report shows nothing of its questions"
    head, _, content = read_text(path, _LARGEST).partition(f"{path.stem.lstrip('0') or '0'},")
    if head != _CALL or not content.endswith(_END):
        raise XaiError(f"{path} is not a file of maps, or not its whole: {advice}")
    whole = Fields(parse_json(content.removesuffix(_END), str(path)), str(path), advice)
    whole.only("questions", CHECK)
    for number, item in enumerate(whole.items("questions", dict)):
        one = Fields(item, f"{path} question {number}", advice)
        one.integer("index")
        for name in ("question_id", "text"):
            one.get(name, str)
        one.inner("label")
        for name in ("size", "disagreement"):
            one.get(name, float, type(None))
        one.get("picture", str, type(None))
    questions: list[dict[str, Any]] = unseal(whole)["questions"]
    return questions


def _question(measured: Measured, picture: str | None) -> dict[str, Any]:
    """What one question's page says; its maps leave out the special tokens at either end of the text, which belong to no word."""
    prepared, explained = measured.prepared, measured.explained
    shape, methods = prepared.cells.shape[:-1], explained.scope.methods
    images = [values.astype(np.float64) for values in explained.maps.image]
    words = [prepared.question.word_relevance(np.pad(values.astype(np.float64), 1)) for values in explained.maps.text]
    region, whole = explained.region, prepared.sample.truth(WHOLE)
    compared = [values for name, values in zip(methods, images, strict=True) if name != FLOOR]
    return {
        "index": prepared.index,
        "question_id": prepared.sample.question_id,
        "text": prepared.sample.question,
        "label": dict(prepared.sample.label),
        "words": [word.text for word in prepared.question.words],
        "picture": picture,
        **({"grid": list(shape)} if len(shape) == 2 else {"boxes": prepared.cells.round(4).tolist()}),
        "region": None if region is None else _packed(region.ravel()),
        "size": None if region is None or whole is None else round(float(whole[0]), 6),
        "disagreement": disagreement(compared),
        "maps": {
            name: {"image": _packed(values), "words": [_short(value) for value in spoken]}
            for name, values, spoken in zip(methods, images, words, strict=True)
        },
    }


def disagreement(maps: Sequence[NDArray[np.floating]]) -> float | None:
    """Compute 1 less the mean rank correlation (Spearman) of every two of several maps (P,): 0 where all have one order, about 1 where they
    are unrelated. Maps that are constant have no order and do not count; None where there are not two others."""
    ordered = [values for values in maps if values.size and np.ptp(values) > 0]
    if len(ordered) < 2:
        return None
    correlations = np.corrcoef([ranks(values) for values in ordered])
    pairs = correlations[np.triu_indices(len(ordered), 1)]
    return round(float(1 - pairs.mean()), 4) + 0.0


def _packed(values: NDArray[np.float64]) -> dict[str, Any]:
    """Write values (P,) with their ends in 256 steps, in base64: as finely as colours tell them."""
    low, high = (float(values.min()), float(values.max())) if values.size and np.isfinite(values).all() else (0.0, 0.0)
    steps = np.round((values - low) / (high - low) * _LEVELS) if high > low else np.zeros_like(values)
    return {"low": _short(low), "high": _short(high), "steps": base64.b64encode(steps.astype(np.uint8).tobytes()).decode()}


def _short(value: float) -> float | None:
    return float(f"{value:.5g}") if np.isfinite(value) else None


def copies(source: Path, target: Path) -> Iterator[tuple[Path, Path]]:
    """List what a shard's folder `source` holds of single questions, and where it belongs in another run's folder `target`.

    Raises `XaiError` where maps are not as they were written.
    """
    for kind, suffix in ((MAPS, ".js"), (PICTURES, ".jpg")):
        for path in sorted((source / FOLDER / kind).glob(f"[0-9]*{suffix}")):
            if kind == MAPS:
                read_maps(path)
            yield path, target / FOLDER / kind / path.name
