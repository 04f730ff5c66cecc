"""Boxes with features, as a detector saw them in a picture: read from a file, and held against what a model takes.

Two formats (docs/formats.md, Box features): an `.npz`, and the published `*_obj36.tsv` of one row a picture (Anderson et al. 2018; Tan
and Bansal 2019). Neither says what model its features come from: only their width can be checked.
"""

from __future__ import annotations

import base64
import binascii
import functools
import io
import os
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xai.base.errors import BadInput, XaiError, first_line
from xai.base.reading import MEGABYTE, read_bytes
from xai.runtime.inputs.decode import MAX_PIXELS

SUFFIXES = (".npz", ".tsv")
"""Of files of box features."""

COLUMNS = ("img_id", "img_h", "img_w", "objects_id", "objects_conf", "attrs_id", "attrs_conf", "num_boxes", "boxes", "features")
"""Of a TSV, which has no header; `boxes` and `features` are float32 in base64, boxes in pixels."""

MOST = 64 * MEGABYTE
"""Bytes of an npz, packed or unpacked, and of a row of a TSV: those of the published features have 400 kB."""

MOST_BOXES = 1000
"""Attention takes the square of it."""

LONGEST_ID = 200
"""Bytes of an image's id."""

BEYOND = 1e-5
"""So far a corner may lie outside the picture: dividing pixels by its size rounds."""


class BoxFeatures(NamedTuple):
    """Features (N, D) of N boxes, and their corners (N, 4): x0, y0, x1, y1 as shares of the picture's width and height. float32."""

    features: NDArray[np.float32]
    boxes: NDArray[np.float32]


class BoxRow(NamedTuple):
    """Box features, and the width and height of their picture in pixels, where the file says it."""

    found: BoxFeatures
    size: tuple[int, int] | None


GivenBoxes = str | os.PathLike[str] | BoxFeatures | tuple[NDArray[Any], NDArray[Any]]
"""Box features as a caller gives them: a file or folder (`read_row`), or the arrays."""


def read_boxes(path: str | os.PathLike[str], image_id: str | None = None) -> BoxFeatures:
    """The box features of a picture, as `read_row` finds them. Raises `BadInput`."""
    return read_row(path, image_id).found


def read_row(path: str | os.PathLike[str], image_id: str | None = None) -> BoxRow:
    """The box features of a picture from a file, or from a folder of files `IMAGE_ID.npz`.

    `image_id` is the name of its file without the suffix; a TSV of one row, and an npz, need none. Raises `BadInput`, which names the
    file, where there are none, or none that can be used: the shapes, finite numbers, and corners in order and within the picture.
    """
    file = Path(path)
    try:
        if file.is_dir():
            if image_id is None:
                raise BadInput(f"{file} is a folder of box features: name the image that they are of")
            file /= f"{image_id}.npz"
        if not file.is_file():
            raise BadInput(f"box features {file} do not exist, or are no file: name an .npz, a .tsv, or a folder of IMAGE.npz")
    except (OSError, ValueError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"box features {file} cannot be read: {getattr(error, 'strerror', None) or first_line(error)}") from error
    if file.suffix.lower() not in SUFFIXES:
        raise BadInput(f"{file} is no file of box features: its name must end with {' or '.join(SUFFIXES)}")
    return _read_tsv(file, image_id) if file.suffix.lower() == ".tsv" else BoxRow(_read_npz(file), None)


def split_row(name: str) -> tuple[str, str | None]:
    """A file of box features and the image of one of its rows, from a name such as `val2014_obj36.tsv:COCO_val2014_000000000042`."""
    file, mark, image_id = name.rpartition(".tsv:")
    return (f"{file}.tsv", image_id) if mark and image_id else (name, None)


def is_box_file(source: object) -> bool:
    """Whether what is given as an image are box features."""
    named = isinstance(source, str | os.PathLike) and split_row(os.fsdecode(source))[0].lower().endswith(SUFFIXES)
    return named or isinstance(source, BoxFeatures)


def find_boxes(given: object, image_id: str | None, width: int) -> BoxRow:
    """The box features that a caller gives of an image, for a model that takes features of that width. Raises `BadInput`."""
    if isinstance(given, str | os.PathLike):
        path, own = split_row(os.fsdecode(given))
        row, name = read_row(path, own or image_id), path
    elif isinstance(given, tuple) and len(given) == 2:
        row, name = BoxRow(check_boxes(*given, "the box features"), None), "the box features"
    else:
        raise BadInput(f"the box features are of type {type(given).__name__}: give a file, or features (N, D) and boxes (N, 4)")
    return row._replace(found=fit_width(row.found, width, name))


def check_boxes(features: object, boxes: object, name: str) -> BoxFeatures:
    """Arrays of numbers as box features. Raises `BadInput`, which begins with `name`, where they are none."""
    for array, what, shape in ((features, "features", "N x D"), (boxes, "boxes", "N x 4")):
        if not isinstance(array, np.ndarray) or isinstance(array, np.ma.MaskedArray) or array.dtype.kind not in "fiu":
            raise BadInput(f"{name}: {what} is no array of numbers: give {shape} of them")
        if array.ndim != 2 or (what == "boxes" and array.shape[1] != 4):
            raise BadInput(f"{name}: {what} is {' x '.join(map(str, array.shape)) or 'one number'}, not {shape}")
    assert isinstance(features, np.ndarray) and isinstance(boxes, np.ndarray)
    if len(features) != len(boxes):
        raise BadInput(f"{name}: features of {len(features)} boxes and corners of {len(boxes)}: give as many of both")
    if len(boxes) > MOST_BOXES:
        raise BadInput(f"{name}: {len(boxes)} boxes, more than {MOST_BOXES}: keep the most certain ones")
    with np.errstate(over="ignore"):
        found = BoxFeatures(np.ascontiguousarray(features, np.float32), np.ascontiguousarray(boxes, np.float32))
    for array, what in zip(found, ("features", "boxes"), strict=True):
        if not np.isfinite(array).all():
            raise BadInput(f"{name}: {what} of box {int(np.flatnonzero(~np.isfinite(array).all(1))[0])} hold NaN or infinity")
    corners = found.boxes
    outside = ((corners < -BEYOND) | (corners > 1 + BEYOND)).any(1)
    if outside.any():
        i = int(outside.argmax())
        shown = ", ".join(f"{v:g}" for v in corners[i])
        raise BadInput(f"{name}: box {i} ({shown}) lies outside the picture: corners are shares of its width and height, 0 to 1")
    swapped = (corners[:, :2] > corners[:, 2:]).any(1)
    if swapped.any():
        i = int(swapped.argmax())
        raise BadInput(f"{name}: box {i} ({', '.join(f'{v:g}' for v in corners[i])}) is not in the order x0, y0, x1, y1")
    return found


def fit_width(found: BoxFeatures, width: int, name: str) -> BoxFeatures:
    """The same, for a model that takes features of that width. Raises `BadInput` where they have another."""
    if len(found.features) and found.features.shape[1] != width:
        raise BadInput(
            f"{name}: features have {found.features.shape[1]} numbers a box, the model takes {width}: give those of the detector "
            "that it was trained with"
        )
    return found if len(found.features) else BoxFeatures(np.zeros((0, width), np.float32), found.boxes)


def _read_npz(path: Path) -> BoxFeatures:
    """An npz's arrays `features` and `boxes`."""
    try:
        content = read_bytes(path, MOST)
    except XaiError as error:
        raise BadInput(str(error)) from error
    arrays = []
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            for name in BoxFeatures._fields:
                if name not in file:
                    raise BadInput(f"{path} has no array {name!r}: box features are features (N, D) and boxes (N, 4)")
                if sum(part.file_size for part in file.zip.infolist() if part.filename == f"{name}.npy") > MOST:
                    raise BadInput(f"{path}: {name} has more than {MOST / MEGABYTE:g} MB, which is more than such a file can have")
                arrays.append(file[name])
    except BadInput:
        raise
    except Exception as error:  # of zipfile, zlib or NumPy, whatever a damaged file makes them raise
        raise BadInput(f"{path} is no npz that can be read: {first_line(error)}") from error
    return check_boxes(arrays[0], arrays[1], str(path))


@functools.lru_cache(maxsize=2)
def _index(path: Path, _size: int, _changed: int) -> dict[str, list[int]]:
    """Where the rows of each image begin in a TSV, which may have a hundred thousand of them, in its order."""
    found: dict[str, list[int]] = {}
    with path.open("rb") as file:
        while True:
            place = file.tell()
            line = file.readline(MOST + 1)
            if not line:
                return found
            if len(line) > MOST:
                raise BadInput(f"{path}: a row has more than {MOST / MEGABYTE:g} MB: this is no TSV of box features")
            if line.strip():
                found.setdefault(line[:LONGEST_ID].partition(b"\t")[0].decode(errors="replace"), []).append(place)


def _read_tsv(path: Path, image_id: str | None) -> BoxRow:
    try:
        status = path.stat()
        index = _index(path, status.st_size, status.st_mtime_ns)
        if not index:
            raise BadInput(f"{path} is empty: it has no row of box features")
        if image_id is None:
            if len(index) > 1:
                raise BadInput(f"{path} has rows of {len(index)} images: name one ({_some(index)})")
            image_id = next(iter(index))
        if image_id not in index:
            raise BadInput(f"{path} has no row of image {image_id} ({len(index)} images: {_some(index)})")
        if len(index[image_id]) > 1:
            raise BadInput(f"{path} has {len(index[image_id])} rows of image {image_id}: leave one")
        with path.open("rb") as file:
            file.seek(index[image_id][0])
            line = file.readline(MOST)
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from error
    return _parse_row(line.rstrip(b"\r\n"), f"{path}, image {image_id}")


def _some(index: Iterable[str]) -> str:
    """The first ids of a TSV."""
    return ", ".join([name[:40] for name in islice(index, 3)]) + ", ..."


def _parse_row(line: bytes, where: str) -> BoxRow:
    """A row of a TSV. Raises `BadInput`, which begins with `where`."""
    cells = line.split(b"\t")
    if len(cells) != len(COLUMNS):
        raise BadInput(f"{where}: {len(cells)} columns, not {len(COLUMNS)} ({', '.join(COLUMNS)})")
    row = dict(zip(COLUMNS, cells, strict=True))
    height, width, count = (_count(row[name], name, where) for name in ("img_h", "img_w", "num_boxes"))
    if not 0 < width * height <= MAX_PIXELS:
        raise BadInput(f"{where}: the picture is {width} x {height} pixels, which no picture has")
    numbers = {}
    for name in ("boxes", "features"):
        try:
            content = base64.b64decode(row[name], validate=True)
        except (binascii.Error, ValueError) as error:
            raise BadInput(f"{where}: {name} is broken base64: {first_line(error)}") from error
        per_box = 4 * 4 if name == "boxes" else 4
        if len(content) % (max(count, 1) * per_box) or (name == "boxes" and len(content) != count * per_box) or (content and not count):
            raise BadInput(f"{where}: {name} has {len(content)} bytes, which are not float32 of {count} boxes")
        numbers[name] = np.frombuffer(content, "<f4").reshape(count, len(content) // 4 // max(count, 1) if count else 4)
    with np.errstate(over="ignore", invalid="ignore"):
        corners = numbers["boxes"] / np.array([width, height, width, height], np.float32)
    return BoxRow(check_boxes(numbers["features"], corners, where), (width, height))


def _count(cell: bytes, name: str, where: str) -> int:
    if not (cell.isdigit() and len(cell) < 10):
        raise BadInput(f"{where}: {name} is {cell[:20].decode(errors='replace')!r}, not a whole number")
    return int(cell)
