from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from xai.bench.data.regions import WHOLE, grid_cells, region_of, share_covered, square_cells
from xai.runtime.description import Aspect, Square
from xai.runtime.inputs.resize import _fit_square, _keep_aspect


def counted(mask: np.ndarray, cells: np.ndarray, finer: int) -> np.ndarray:
    """The same by counting points of a lattice `finer` times as fine as the mask's pixels."""
    h, w = mask.shape
    large = np.kron(mask, np.ones((finer, finer)))
    y, x = (np.arange(h * finer) + 0.5) / (h * finer), (np.arange(w * finer) + 0.5) / (w * finer)
    found = np.empty(cells.shape[:-1])
    for place in np.ndindex(found.shape):
        x0, y0, x1, y1 = cells[place]
        inside = large[np.ix_((y > y0) & (y < y1), (x > x0) & (x < x1))]
        found[place] = inside.mean() if inside.size else 0
    return found


@pytest.fixture
def mask() -> np.ndarray:
    return np.random.default_rng(3).random((12, 18)) < 0.3


def test_every_pixel_counts_once(mask) -> None:
    for rows, columns in ((12, 18), (4, 3), (5, 7), (1, 1)):
        cells = square_cells(rows, columns)
        assert cells.shape == (rows, columns, 4)
        assert share_covered(mask, cells).mean() == pytest.approx(mask.mean(), abs=1e-8)
    assert np.array_equal(share_covered(mask, square_cells(12, 18)), mask)
    assert share_covered(mask, WHOLE)[0] == pytest.approx(mask.mean())


def test_parts_of_pixels_count_as_a_fine_lattice_counts_them(mask) -> None:
    grid = grid_cells(5, 4, (3, 1, 15, 11), (18, 12))
    assert np.allclose(share_covered(mask, grid), counted(mask, grid, 60), atol=2e-3)
    corners = np.sort(np.random.default_rng(4).random((30, 2, 2)), 1)
    boxes = corners.reshape(30, 4)  # x0, y0, x1, y1
    boxes = boxes[(boxes[:, 2:] - boxes[:, :2]).min(1) > 0.1]
    assert len(boxes) > 10
    assert np.allclose(share_covered(mask, boxes), counted(mask, boxes, 60), atol=0.02)


def test_what_is_not_touched_has_nothing_at_all() -> None:
    """A third of a pixel of rounding must not make a patch part of the region: the pointing game asks for more than 0."""
    for rows in range(1, 40):
        mask = np.zeros((384, 384), bool)
        mask[:, 192:] = True
        share = share_covered(mask, square_cells(rows, 2 * rows))
        assert (share[:, :rows] == 0).all()
        assert (share[:, rows:] == 1).all()


def test_a_cell_without_area_or_beside_the_picture_has_nothing() -> None:
    full = np.ones((4, 4), bool)
    cells = np.array([[0.5, 0.5, 0.5, 0.9], [1.2, 0, 1.5, 1], [0.5, 0.5, 1.5, 1.5], [-1, -1, 0, 0]])
    assert share_covered(full, cells).tolist() == [0, 0, 1, 0]
    assert region_of(np.zeros((4, 4), bool), square_cells(2, 2)) is None


def region_pictures() -> list[tuple[np.ndarray, Image.Image]]:
    found = []
    for size, box in (((480, 320), (300, 40, 380, 200)), ((200, 331), (20, 130, 120, 180)), ((96, 96), (10, 20, 60, 70))):
        mask = np.zeros(size[::-1], bool)
        mask[box[1] : box[3], box[0] : box[2]] = True
        found.append((mask, Image.fromarray((255 * mask).astype(np.uint8)).convert("RGB")))
    return found


@pytest.mark.parametrize("mask, picture", region_pictures())
@pytest.mark.parametrize(
    "recipe",
    [
        Square(96, 8, "crop", (0.0,) * 3, (1.0,) * 3),
        Square(96, 8, "squash", (0.0,) * 3, (1.0,) * 3),
        Aspect(shorter=96, longer=160, patch=16, mean=(0.0,) * 3, std=(1.0,) * 3),
    ],
    ids=["crop", "squash", "aspect"],
)
def test_a_region_lies_where_the_model_sees_it(recipe, mask, picture) -> None:
    """A picture that is white where the mask is set, as the model sees it, is as white in each patch as the patch is covered."""
    fit = _fit_square if isinstance(recipe, Square) else _keep_aspect
    seen, crop = fit(picture, recipe, "it")
    pixels = np.asarray(seen, np.float64)[..., 0] / 255
    rows, columns = pixels.shape[0] // recipe.patch, pixels.shape[1] // recipe.patch
    white = pixels.reshape(rows, recipe.patch, columns, recipe.patch).mean((1, 3))
    covered = share_covered(mask, grid_cells(rows, columns, crop.box, picture.size))
    assert np.abs(covered - white).max() < 0.1  # bicubic edges, and a crop rounded to whole pixels
    assert np.abs(covered - white).mean() < 0.01
