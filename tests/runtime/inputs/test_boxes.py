"""Readers of box features: what they give, and the one line for each kind of file that cannot be used."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from xai.base.errors import BadInput
from xai.runtime.inputs.boxes import BoxFeatures, fit_width, read_boxes, read_row

WIDTH, HEIGHT = 640, 427


def some(boxes: int = 3, width: int = 8, seed: int = 0) -> BoxFeatures:
    rng = np.random.default_rng(seed)
    corners = rng.random((boxes, 2, 2)).astype(np.float32)
    corners.sort(axis=1)
    return BoxFeatures(rng.random((boxes, width), np.float32), corners.reshape(boxes, 4))


def encode(array: np.ndarray) -> bytes:
    return base64.b64encode(np.ascontiguousarray(array).tobytes())


def row(name: str, found: BoxFeatures, **changed: bytes) -> bytes:
    """A line of the published TSV."""
    count = len(found.boxes)
    pixels = (found.boxes * np.array([WIDTH, HEIGHT, WIDTH, HEIGHT], np.float32)).astype(np.float32)
    ids, sure = encode(np.zeros(count, np.int64)), encode(np.ones(count, np.float32))
    cells = {
        "img_id": name.encode(), "img_h": b"%d" % HEIGHT, "img_w": b"%d" % WIDTH, "objects_id": ids, "objects_conf": sure, "attrs_id": ids,
        "attrs_conf": sure, "num_boxes": b"%d" % count, "boxes": encode(pixels), "features": encode(found.features),
    }  # fmt: skip
    return b"\t".join((cells | changed).values()) + b"\n"


def test_an_npz_gives_what_was_saved_in_float32(tmp_path: Path) -> None:
    found = some()
    np.savez(tmp_path / "a.npz", features=found.features.astype(np.float64), boxes=found.boxes)
    read = read_boxes(tmp_path / "a.npz")
    assert read.features.dtype == read.boxes.dtype == np.float32
    assert np.array_equal(read.features, found.features) and np.array_equal(read.boxes, found.boxes)


def test_a_folder_gives_the_file_of_the_image(tmp_path: Path) -> None:
    for seed, name in enumerate("ab"):
        np.savez(tmp_path / f"{name}.npz", **some(seed=seed)._asdict())
    assert np.array_equal(read_boxes(tmp_path, "b").features, some(seed=1).features)
    with pytest.raises(BadInput, match=r"c\.npz do not exist"):
        read_boxes(tmp_path, "c")
    with pytest.raises(BadInput, match="name the image"):
        read_boxes(tmp_path)


def test_a_tsv_gives_the_row_of_the_image_and_its_size(tmp_path: Path) -> None:
    file = tmp_path / "val_obj36.tsv"
    file.write_bytes(b"".join(row(f"COCO_{i}", some(3 + i, seed=i)) for i in range(3)))
    for i in (2, 0, 1):
        found, size = read_row(file, f"COCO_{i}")
        assert size == (WIDTH, HEIGHT)
        assert np.array_equal(found.features, some(3 + i, seed=i).features)
        assert np.allclose(found.boxes, some(3 + i, seed=i).boxes, atol=1e-6)
    with pytest.raises(BadInput, match=r"no row of image COCO_9 \(3 images: COCO_0, COCO_1, COCO_2"):
        read_boxes(file, "COCO_9")
    with pytest.raises(BadInput, match="rows of 3 images: name one"):
        read_boxes(file)
    file.write_bytes(row("COCO_7", some(5)))  # the index of the former file is not taken for this one's
    assert len(read_boxes(file).boxes) == 5
    file.write_bytes(2 * row("COCO_7", some(5)))
    with pytest.raises(BadInput, match="2 rows of image COCO_7"):
        read_boxes(file, "COCO_7")


def test_no_box_at_all_is_a_file_like_others(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", features=np.zeros((0, 8)), boxes=np.zeros((0, 4)))
    (tmp_path / "a.tsv").write_bytes(row("a", some(0)))
    for name in ("a.npz", "a.tsv"):
        found = fit_width(read_boxes(tmp_path / name), 8, name)
        assert found.features.shape == (0, 8) and found.boxes.shape == (0, 4)


def test_a_corner_may_lie_outside_by_rounding_only(tmp_path: Path) -> None:
    found = some()
    found.boxes[1, 2] = 1 + 5e-6
    np.savez(tmp_path / "a.npz", **found._asdict())
    assert read_boxes(tmp_path / "a.npz").boxes[1, 2] == np.float32(1 + 5e-6)


Change = Callable[[np.ndarray, np.ndarray], tuple[object, object]]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda f, b: (f, b[:, :3]), "boxes is 3 x 3, not N x 4"),
        (lambda f, b: (f, b[0]), "boxes is 4, not N x 4"),
        (lambda f, b: (f[:, 0], b), "features is 3, not N x D"),
        (lambda f, b: (f[:2], b), "features of 2 boxes and corners of 3"),
        (lambda f, b: (f, b * 640), r"box 0 \(.*\) lies outside the picture"),
        (lambda f, b: (f, b - 1), "lies outside the picture"),
        (lambda f, b: (f, b[:, [2, 1, 0, 3]]), "not in the order x0, y0, x1, y1"),
        (lambda f, b: (f * np.nan, b), "features of box 0 hold NaN"),
        (lambda f, b: (f, b + np.array([[0], [np.inf], [0]])), "boxes of box 1 hold NaN or infinity"),
        (lambda f, b: (f.astype(np.float64) * 1e300, b), "features of box 0 hold NaN or infinity"),
        (lambda f, b: (f.astype(str), b), "features is no array of numbers"),
        (lambda f, b: (f + 1j, b), "features is no array of numbers"),
        (lambda f, b: (np.resize(f, (1001, 8)), np.resize(b, (1001, 4))), "1001 boxes, more than 1000"),
    ],
)
def test_arrays_that_are_no_box_features_are_refused(tmp_path: Path, change: Change, told: str) -> None:
    features, boxes = change(*some())
    np.savez(tmp_path / "a.npz", features=features, boxes=boxes)
    with pytest.raises(BadInput, match=told) as refused:
        read_boxes(tmp_path / "a.npz")
    assert str(refused.value).startswith(str(tmp_path / "a.npz"))


def test_files_that_hold_no_arrays_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.npz"
    np.savez(file, features=some().features)
    with pytest.raises(BadInput, match="no array 'boxes'"):
        read_boxes(file)
    np.savez(file, features=np.array([{}, []], dtype=object), boxes=some().boxes)
    with pytest.raises(BadInput, match="no npz that can be read"):
        read_boxes(file)
    np.savez_compressed(file, features=np.zeros((1000, 20_000)), boxes=some().boxes)  # 160 MB in 160 kB
    with pytest.raises(BadInput, match="features has more than 64 MB"):
        read_boxes(file)
    for content in (b"", b"PK\3\4", b"photo", np.random.default_rng(0).bytes(500)):
        file.write_bytes(content)
        with pytest.raises(BadInput, match="no npz that can be read"):
            read_boxes(file)
    with pytest.raises(BadInput, match=r"must end with \.npz or \.tsv"):
        file.rename(tmp_path / "a.pickle")
        read_boxes(tmp_path / "a.pickle")
    with pytest.raises(BadInput, match="do not exist"):
        read_boxes(tmp_path / "none.npz")


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"features": b"AAA"}, "features is broken base64"),
        ({"boxes": b"A*=="}, "boxes is broken base64"),
        ({"boxes": encode(np.zeros(4, np.float32))}, "boxes has 16 bytes, which are not float32 of 3 boxes"),
        ({"features": encode(np.zeros(4, np.float32))}, "features has 16 bytes"),
        ({"num_boxes": b"4"}, "are not float32 of 4 boxes"),
        ({"num_boxes": b"0"}, "are not float32 of 0 boxes"),
        ({"num_boxes": b"-3"}, "num_boxes is '-3', not a whole number"),
        ({"img_w": b"0"}, "the picture is 0 x 427 pixels"),
        ({"img_w": b"12"}, "lies outside the picture"),
        ({"img_h": b"1e3"}, "img_h is '1e3'"),
        ({"extra": b""}, "11 columns, not 10"),
    ],
)
def test_rows_that_cannot_be_used_are_refused(tmp_path: Path, changed: dict[str, bytes], told: str) -> None:
    (tmp_path / "a.tsv").write_bytes(row("before", some()) + row("COCO_1", some(), **changed))
    with pytest.raises(BadInput, match=told) as refused:
        read_boxes(tmp_path / "a.tsv", "COCO_1")
    assert str(refused.value).startswith(f"{tmp_path / 'a.tsv'}, image COCO_1")
    assert len(read_boxes(tmp_path / "a.tsv", "before").boxes) == 3  # a broken row says nothing of others


def test_features_of_another_width_are_refused() -> None:
    assert fit_width(some(width=8), 8, "a.npz").features.shape == (3, 8)
    with pytest.raises(BadInput, match=r"a\.npz: features have 8 numbers a box, the model takes 2048"):
        fit_width(some(width=8), 2048, "a.npz")
