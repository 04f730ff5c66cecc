import itertools
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from xai.runtime.explanation import LeftOut
from xai.runtime.show.drawing.lettering import DPI, measure
from xai.runtime.show.drawing.paper import Fill, Sheet, Text
from xai.runtime.show.drawing.vector import figure
from xai.runtime.show.sheet import draw
from xai.tests.runtime.show.explanations import MARK, METHODS, NASTY, centre, explanation, panels, pixels, texts


@pytest.mark.parametrize("size", [(320, 240), (240, 320), (1000, 120), (20, 20)])
@pytest.mark.parametrize("hot", [(1, 6), (4, 2)])
def test_the_peak_lies_on_the_patch_in_the_rendered_sheet(size, hot):
    """Beside the marked patch of the original, at the same place of the crop."""
    drawn = draw([explanation(size=size, hot=hot)])
    sheet = pixels(drawn)
    original, overlay, _ = panels(drawn)
    mark = centre((abs(sheet - MARK) < 8).all(axis=-1))
    glow = (sheet[..., 0] - sheet[..., 2] > 60) & (sheet[..., 0] > 170)
    places = []
    for (left, top, right, bottom), place in (original, mark), (overlay, None):
        inside = np.zeros(glow.shape, dtype=bool)
        inside[top:bottom, left:right] = True
        x, y = centre(glow & inside) if place is None else place
        # Independently of the panels' own scale: pixels from the middle of the panel, where the middle of the crop is, in crop sides.
        side = bottom - top if size[0] >= size[1] else right - left
        places.append([(x - (left + right) / 2) / side, (y - (top + bottom) / 2) / side])
    assert places[1] == pytest.approx(places[0], abs=0.02)
    assert places[0] == pytest.approx([(hot[1] + 0.5) / 8 - 0.5, (hot[0] + 0.5) / 8 - 0.5], abs=0.02)


def test_what_was_cut_away_is_greyed():
    picture = explanation(size=(400, 200), hot=None)
    picture.picture.paste((255, 0, 0), (0, 0, 400, 200))
    drawn = draw([picture])
    sheet = pixels(drawn)
    red = sheet[..., 0] - sheet[..., 1] > 200
    left, top, right, bottom = panels(drawn)[0]
    assert red.sum() == pytest.approx((right - left) / 2 * (bottom - top), rel=0.05)


@pytest.mark.parametrize("size", [(600, 450), (40, 30)])
def test_the_sheet_is_as_large_for_any_picture_of_that_shape(size):
    assert draw([explanation(size=size)])[:2] == pytest.approx(draw([explanation()])[:2])


@pytest.mark.parametrize("methods", [METHODS[:1], METHODS[:2], METHODS])
@pytest.mark.parametrize("text", ["Why?", NASTY, "antidisestablishmentarianism " * 3 + "a longer question than most " * 12 + "x" * 400])
def test_texts_neither_overlap_nor_leave_the_sheet(methods, text, capsys):
    note = "image0: its graph falls into 3 pieces: the map shows their sizes, not a cut within one"
    notes = [(note,) if i % 2 else () for i in range(len(methods))]
    several = [
        explanation(text=text, answer="an answer " * 30, target="another", method=method, notes=said, name="/folder" * 60 + "/x.png")
        for method, said in zip(methods, notes, strict=True)
    ]
    sheet = draw(several)
    for boxes, within in (_drawn_by_pillow(sheet), _drawn_by_matplotlib(sheet)):
        for left, top, right, bottom in boxes:
            assert 0 <= left < right <= DPI * sheet.width
            assert 0 <= top < bottom <= DPI * sheet.height
        for one, other in itertools.chain(itertools.combinations(boxes, 2), itertools.product(boxes, panels(sheet))):
            across, down = min(one[2], other[2]) - max(one[0], other[0]), min(one[3], other[3]) - max(one[1], other[1])
            assert across < within or down < within
    assert capsys.readouterr().err == ""


def _drawn_by_pillow(sheet: Sheet) -> tuple[list[tuple[float, ...]], float]:
    """Where texts are, as wide as the layout measured them, from a capital's top to a descender's end; and what they may overlap."""
    boxes = []
    for text in (mark for mark in sheet.marks if isinstance(mark, Text) and mark.text):
        width, size = measure(text.text, text.style), text.style.size / 72
        left = text.x - width * {"left": 0, "center": 0.5, "right": 1}[text.align]
        boxes.append(tuple(DPI * side for side in (left, text.y - 0.76 * size, left + width, text.y + 0.24 * size)))
    return boxes, 1


def _drawn_by_matplotlib(sheet: Sheet) -> tuple[list[tuple[float, ...]], float]:
    """The same of what goes into SVG and PDF, where letters are up to 2 % wider than the layout knows."""
    made = figure(sheet)
    FigureCanvasAgg(made).draw()
    boxes, height = [], DPI * sheet.height
    for text in made.texts:
        if text.get_text():
            extent = text.get_window_extent()
            boxes.append((extent.x0, height - extent.y1, extent.x1, height - extent.y0))
    return boxes, 4


def test_a_comparison_says_that_maps_are_scaled_by_themselves():
    told = texts(draw([explanation(method=method) for method in METHODS]))
    assert any("scaled by itself" in text for text in told)
    assert all(method in told for method in METHODS)
    assert told.count("What") == len(METHODS)


@pytest.mark.parametrize("size", [(1200, 800), (800, 800), (600, 800), (400, 1200), (120, 1200), (1800, 600), (3000, 300)])
def test_pictures_of_any_shape_use_the_space(size):
    drawn = draw([explanation(size=size)])
    original, overlay, _ = panels(drawn)
    for left, top, right, bottom in original, overlay:  # as wide as the sheet or as high as pictures get
        assert max((right - left) / (DPI * drawn.width), (bottom - top) / (4.6 * DPI)) > 0.38
    columns = np.flatnonzero((pixels(drawn) < 250).any(axis=(0, 2)))
    assert np.diff(columns).max() < 0.1 * DPI * drawn.width  # no broad empty stripe
    assert columns[-1] > 0.85 * DPI * drawn.width


@pytest.mark.parametrize("size", [(600, 800), (400, 1200), (1200, 800), (3000, 300)])
def test_a_map_is_as_wide_as_its_colour_bar(size):
    found = panels(draw([explanation(size=size, method=method) for method in METHODS]))[1:]  # after the picture a map, its bar, a map ...
    assert len(found) == 2 * len(METHODS)
    for shown, bar in zip(found[::2], found[1::2], strict=True):
        assert (shown[0], shown[2]) == pytest.approx((bar[0], bar[2]), abs=1)
        assert shown[3] < bar[1]


def test_words_carry_their_scores():
    marks = draw([explanation(text="red blue", scores=[0.25, 0.125])]).marks
    placed = {mark.text: (mark.x, mark.y) for mark in marks if isinstance(mark, Text)}
    for word, score in ("red", "0.25"), ("blue", "0.125"):
        assert placed[word][0] == placed[score][0] and placed[word][1] < placed[score][1]


@pytest.mark.parametrize(("text", "sign"), [("one two three", 1), ("ما لون الدائرة", -1), ("ما (red) الدائرة", -1)])
def test_words_run_as_the_question_reads(text, sign):
    marks = draw([explanation(text=text)]).marks
    places = [mark.area.x for mark in marks if isinstance(mark, Fill)]
    assert places == sorted(places, reverse=sign < 0)
    told = [mark for mark in marks if isinstance(mark, Text)]
    words = [mark.text for mark in told if mark.text in text.split(" ")]
    assert words[-3:] == text.split(" ")
    assert told[0].align == ("left" if sign > 0 else "right")


def test_a_comparison_shows_the_numbers():
    told = texts(draw([explanation(method=method, hot=(i, 3)) for i, method in enumerate(METHODS[:2])]))
    assert "How far the maps agree" in told and "How far the words agree" in told
    assert f"{-1 / 63:.2f}" in told  # one patch of 64 each, another one: Spearman's correlation
    assert told.count("1.00") == 2  # of the words, whose scores are the same


@pytest.mark.parametrize("methods", [METHODS[:1], METHODS[:2]])
def test_words_that_were_left_out_are_struck_out(methods):
    several = [explanation(method=method) for method in methods]
    away = [replace(one, left_out=LeftOut((2,), (), one.answer)) for one in several]
    word = several[0].question.words[2].text
    sheet, before = draw(away), draw(several)
    assert texts(sheet).count("left out") == len(methods) and "left out" not in texts(before)
    struck = [mark.area for mark in sheet.marks if isinstance(mark, Fill) and mark.area.height == pytest.approx(1 / 72)]
    written = [mark for mark in sheet.marks if isinstance(mark, Text) and mark.text == word]
    assert len(struck) == len(written) == len(methods)
    for line, text in zip(struck, written, strict=True):
        assert line.width == pytest.approx(measure(word, text.style))
        assert line.x == pytest.approx(text.x - line.width / 2)
        assert text.y - 0.5 * text.style.size / 72 < line.y < text.y  # through the letters, above their foot
    assert not [mark for mark in before.marks if isinstance(mark, Fill) and mark.area.height == pytest.approx(1 / 72)]
