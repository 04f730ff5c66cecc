"""A sheet is one list of marks: Pillow and matplotlib draw the same of it, and Pillow needs no matplotlib for it."""

import os
import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.ft2font import FT2Font
from PIL import Image

from xai.runtime.explanation import LeftOut
from xai.runtime.show.drawing import fonts
from xai.runtime.show.drawing.lettering import DPI, PLAIN, Style, is_plain, measure, write
from xai.runtime.show.drawing.paper import Area, Paper
from xai.runtime.show.drawing.raster import picture
from xai.runtime.show.drawing.vector import figure
from xai.runtime.show.sheet import draw
from xai.tests.runtime.show.explanations import METHODS, NASTY, explanation, pixels

SENTENCE = "Sphinx of black quartz, judge my vow: äöü ßéñ Ελλάδα Москва 0123456789 (>99.9%) ⟨2⟩ …"


def by_matplotlib(sheet) -> np.ndarray:
    canvas = FigureCanvasAgg(figure(sheet))
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].astype(int)


def blocks(image: np.ndarray, side: int = 30) -> np.ndarray:
    """Mean colours of blocks: letters that lie half a pixel elsewhere are alike."""
    rows, columns = (length // side for length in image.shape[:2])
    return image[: rows * side, : columns * side].reshape(rows, side, columns, side, 3).mean(axis=(1, 3))


def left_out(one):
    return replace(one, left_out=LeftOut((1,), (0, 1, 2, 8, 63), one.answer))


@pytest.mark.parametrize(
    "explanations",
    [
        [explanation()],
        [explanation(size=(1000, 120), text=NASTY)],
        [explanation(size=(20, 20), text="ما لون الدائرة", hot=(0, 0))],
        [left_out(explanation(size=(900, 700), versus="barn", relevance=np.linspace(-1, 1, 64).reshape(8, 8)))],
        [explanation(method=method, hot=(i, 3)) for i, method in enumerate(METHODS[:3])],
    ],
    ids=["one", "long", "small, from the right", "contrast, left out", "several"],
)
def test_both_ways_of_drawing_show_the_same(explanations) -> None:
    sheet = draw(explanations)
    one, other = blocks(pixels(sheet)), blocks(by_matplotlib(sheet))
    rows = min(len(one), len(other))
    apart = abs(one[:rows] - other[:rows]).max(axis=-1)
    assert apart.mean() < 1.5
    assert (apart > 40).mean() < 0.002  # of 255; a word, a box or a picture in another place would be


def test_plain_letters_are_in_both_weights_of_the_font_and_neither_joined_nor_combining() -> None:
    for bold in (False, True):
        has = FT2Font(str(fonts._own_file(bold))).get_charmap()
        assert not [c for c in PLAIN if ord(c) not in has]
    assert is_plain(SENTENCE)
    assert not any(map(is_plain, ("ما", "日本", "e\u0301", "\u200f", "soft\u00adhyphen", "😀")))


@pytest.mark.parametrize("size", [7.5, 8.5, 12, 16])
@pytest.mark.parametrize("bold", [False, True])
def test_plain_text_is_as_wide_for_pillow_as_for_matplotlib(size, bold) -> None:
    from matplotlib.backends.backend_agg import RendererAgg

    wanted = RendererAgg(1, 1, DPI).get_text_width_height_descent(SENTENCE, fonts.font_for(SENTENCE, size, bold), ismath=False)[0]
    assert measure(SENTENCE, Style(size, bold=bold)) * DPI == pytest.approx(wanted, rel=0.02)


@pytest.mark.parametrize("text", ["left", "بيت"])
def test_text_is_aligned_at_its_baseline(text) -> None:
    style = Style(20)
    width = measure(text, style) * DPI
    for align, share in (("left", 0), ("center", 0.5), ("right", 1)):
        image = Image.new("RGB", (400, 200), "white")
        write(image, 200, 100, text, style, align)
        rows, columns = np.nonzero(np.asarray(image)[..., 0] < 128)
        assert 200 - share * width - 4 <= columns.min() and columns.max() <= 200 + (1 - share) * width + 4
        assert rows.min() < 90 and 95 < rows.max() < 125


def test_a_picture_is_drawn_without_matplotlib(tmp_path) -> None:
    several = [explanation(method=method) for method in METHODS[:2]]
    (tmp_path / "pickled").write_bytes(pickle.dumps(several))
    code = """
import pickle, sys
from pathlib import Path
from xai.runtime.show.save import save
save(pickle.loads(Path(sys.argv[1]).read_bytes()), Path(sys.argv[2]))
sys.exit("matplotlib" in sys.modules)
"""
    arguments = [sys.executable, "-c", code, str(tmp_path / "pickled"), str(tmp_path / "why.png")]
    assert subprocess.run(arguments, env=os.environ, check=False).returncode == 0


def test_the_bar_runs_through_every_colour_and_a_frame_lies_on_its_area() -> None:
    paper = Paper(2)
    paper.colour_bar(0.5, 0.5, 0.1, 1.0, None)
    paper.outline(Area(1, 0.5, 0.5, 1))
    drawn = np.asarray(picture(paper.finish(2))).astype(int)
    bar = drawn[75:225, 80]
    assert bar[0].sum() > 600 and bar[-1].sum() < 150 and (np.diff(bar.sum(axis=1)) <= 0).mean() > 0.9
    rows, columns = np.nonzero((drawn[:, 140:] < 60).all(axis=-1))
    assert (rows.min(), rows.max()) == (74, 225) and (140 + columns.min(), 140 + columns.max()) == (149, 225)
