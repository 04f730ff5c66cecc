import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import FancyBboxPatch

from xai.runtime.show.sheet import draw
from xai.tests.runtime.show.explanations import MARK, METHODS, NASTY, centre, explanation, pixels


@pytest.mark.parametrize("size", [(320, 240), (240, 320), (1000, 120), (20, 20)])
@pytest.mark.parametrize("hot", [(1, 6), (4, 2)])
def test_the_peak_lies_on_the_patch_in_the_rendered_sheet(size, hot):
    """Beside the marked patch of the original, at the same place of the crop."""
    figure = draw([explanation(size=size, hot=hot)])
    sheet = pixels(figure)
    original, overlay, _ = figure.axes
    mark = centre((abs(sheet - MARK) < 8).all(axis=-1))
    glow = (sheet[..., 0] - sheet[..., 2] > 60) & (sheet[..., 0] > 170)
    height = sheet.shape[0]
    places = []
    for axes, place in (original, mark), (overlay, None):
        box = axes.get_window_extent()
        inside = np.zeros(glow.shape, dtype=bool)
        inside[round(height - box.y1) : round(height - box.y0), round(box.x0) : round(box.x1)] = True
        x, y = centre(glow & inside) if place is None else place
        # Independently of the axes' own scale: pixels from the middle of the panel, where the middle of the crop is, in crop sides.
        side = box.height if size[0] >= size[1] else box.width
        places.append([(x - (box.x0 + box.x1) / 2) / side, (y - (height - (box.y0 + box.y1) / 2)) / side])
    assert places[1] == pytest.approx(places[0], abs=0.02)
    assert places[0] == pytest.approx([(hot[1] + 0.5) / 8 - 0.5, (hot[0] + 0.5) / 8 - 0.5], abs=0.02)


def test_what_was_cut_away_is_greyed():
    picture = explanation(size=(400, 200), hot=None)
    picture.picture.paste((255, 0, 0), (0, 0, 400, 200))
    figure = draw([picture])
    sheet = pixels(figure)
    red = sheet[..., 0] - sheet[..., 1] > 200
    box = figure.axes[0].get_window_extent()
    assert red.sum() == pytest.approx(box.width / 2 * box.height, rel=0.05)


@pytest.mark.parametrize("size", [(600, 450), (40, 30)])
def test_the_sheet_is_as_large_for_any_picture_of_that_shape(size):
    assert draw([explanation(size=size)]).get_size_inches() == pytest.approx(draw([explanation()]).get_size_inches())


@pytest.mark.parametrize("methods", [METHODS[:1], METHODS[:2], METHODS])
@pytest.mark.parametrize("text", ["Why?", NASTY, "antidisestablishmentarianism " * 3 + "a longer question than most " * 12 + "x" * 400])
def test_texts_neither_overlap_nor_leave_the_sheet(methods, text, capsys):
    note = "image0: its graph falls into 3 pieces: the map shows their sizes, not a cut within one"
    notes = [(note,) if i % 2 else () for i in range(len(methods))]
    several = [
        explanation(text=text, answer="an answer " * 30, target="another", method=method, notes=said, name="/folder" * 60 + "/x.png")
        for method, said in zip(methods, notes, strict=True)
    ]
    figure = draw(several)
    FigureCanvasAgg(figure).draw()
    boxes = [text.get_window_extent() for text in figure.texts if text.get_text()]
    panels = [axes.get_window_extent() for axes in figure.axes]
    for box in boxes:
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1
    for one, other in itertools.chain(itertools.combinations(boxes, 2), itertools.product(boxes, panels)):
        across, down = min(one.x1, other.x1) - max(one.x0, other.x0), min(one.y1, other.y1) - max(one.y0, other.y0)
        assert across < 1 or down < 1
    assert capsys.readouterr().err == ""


def test_a_comparison_says_that_maps_are_scaled_by_themselves():
    figure = draw([explanation(method=method) for method in METHODS])
    texts = [text.get_text() for text in figure.texts]
    assert any("scaled by itself" in text for text in texts)
    assert all(method in texts for method in METHODS)
    assert texts.count("What") == len(METHODS)


def panels(figure) -> list:
    """The extents of the pictures and maps, colour bars aside, in pixels."""
    FigureCanvasAgg(figure).draw()
    boxes = [axes.get_window_extent() for axes in figure.axes]
    return [box for axes, box in zip(figure.axes, boxes, strict=True) if len(axes.patches) > 1]


@pytest.mark.parametrize("size", [(1200, 800), (800, 800), (600, 800), (400, 1200), (120, 1200), (1800, 600), (3000, 300)])
def test_pictures_of_any_shape_use_the_space(size):
    figure = draw([explanation(size=size)])
    original, overlay = panels(figure)
    for box in original, overlay:  # as wide as the sheet or as high as pictures get
        assert max(box.width / figure.bbox.width, box.height / (4.6 * figure.dpi)) > 0.38
    drawn = np.flatnonzero((pixels(figure) < 250).any(axis=(0, 2)))
    assert np.diff(drawn).max() < 0.1 * figure.bbox.width  # no broad empty stripe
    assert drawn[-1] > 0.85 * figure.bbox.width


@pytest.mark.parametrize("size", [(600, 800), (400, 1200), (1200, 800), (3000, 300)])
def test_a_map_is_as_wide_as_its_colour_bar(size):
    figure = draw([explanation(size=size, method=method) for method in METHODS])
    maps = [box for box in panels(figure)[1:]]
    bars = [axes.get_window_extent() for axes in figure.axes if len(axes.patches) <= 1]
    assert len(maps) == len(bars) == len(METHODS)
    for shown, bar in zip(maps, bars, strict=True):
        assert (shown.x0, shown.x1) == pytest.approx((bar.x0, bar.x1), abs=1)
        assert shown.y0 > bar.y1


def test_words_carry_their_scores():
    figure = draw([explanation(text="red blue", scores=[0.25, 0.125])])
    placed = {text.get_text(): text.get_position() for text in figure.texts}
    for word, score in ("red", "0.25"), ("blue", "0.125"):
        assert placed[word][0] == placed[score][0] and placed[word][1] < placed[score][1]


@pytest.mark.parametrize(("text", "sign"), [("one two three", 1), ("ما لون الدائرة", -1), ("ما (red) الدائرة", -1)])
def test_words_run_as_the_question_reads(text, sign):
    figure = draw([explanation(text=text)])
    boxes = [artist for artist in figure.get_children() if isinstance(artist, FancyBboxPatch)]
    places = [box.get_x() for box in boxes]
    assert places == sorted(places, reverse=sign < 0)
    words = [shown for shown in figure.texts if shown.get_text() in text.split(" ")]
    assert [shown.get_text() for shown in words][-3:] == text.split(" ")
    title = figure.texts[0]
    assert title.get_ha() == ("left" if sign > 0 else "right")


def test_a_comparison_shows_the_numbers():
    figure = draw([explanation(method=method, hot=(i, 3)) for i, method in enumerate(METHODS[:2])])
    texts = [text.get_text() for text in figure.texts]
    assert "How far the maps agree" in texts and "How far the words agree" in texts
    assert f"{-1 / 63:.2f}" in texts  # one patch of 64 each, another one: Spearman's correlation
    assert texts.count("1.00") == 2  # of the words, whose scores are the same
