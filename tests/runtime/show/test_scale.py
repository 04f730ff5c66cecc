import io
import itertools
import re

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rich.console import Console

from xai.base.wording import percent
from xai.runtime.show.document import html
from xai.runtime.show.drawing.paper import Fill
from xai.runtime.show.notebook import fragment
from xai.runtime.show.scale import NEARLY, distinct, is_flat, legend, scaled
from xai.runtime.show.sheet import draw
from xai.runtime.show.terminal import show
from xai.runtime.show.theme import FLAT, RAMP, colours, heat, hexadecimal, ink, paint
from xai.tests.runtime.show.explanations import Page, centre, explanation, texts

SCORES = arrays(np.float32, st.integers(2, 30), elements=st.floats(2**-20, 1e6, width=32))


def test_scaled_runs_from_nought_to_the_highest():
    assert scaled(np.array([[2e-9, 4e-9], [3e-9, 0]])) == pytest.approx(np.array([[0.5, 1], [0.75, 0]]))
    assert scaled(np.array([-1e30, 1e30], np.float32)).tolist() == [0, 1]


@pytest.mark.parametrize("values", [[0, 0], [0.25, 0.25], [1, 1 + 1e-7], [np.nan, 1], [np.inf, 1], [7]])
def test_scaled_of_a_constant_or_not_finite_map_is_zero(values):
    assert not scaled(np.array(values, dtype=np.float64)).any()


def test_labels_differ_where_values_do():
    assert distinct([0.1, 0.2]) == ["0.1", "0.2"]
    assert len(set(distinct([0.12345671, 0.12345672, 0.12345673]))) == 3


def test_probabilities_never_claim_certainty():
    assert [percent(p) for p in (1, 0.9996, 0.873, 0.0006, 1e-9)] == [">99.9%", ">99.9%", "87.3%", "0.1%", "<0.1%"]


def test_text_is_readable_on_every_colour():
    ramp = np.asarray(heat(np.linspace(0, 1, 256)[None].repeat(256, axis=0), (256, 256)))[0, :, :3]
    for rgb in ramp:
        linear = ((rgb / 255 + 0.055) / 1.055) ** 2.4 @ (0.2126, 0.7152, 0.0722)
        contrast = (linear + 0.05) / 0.05 if ink(rgb) == "#000000" else 1.05 / (linear + 0.05)
        assert contrast > 4.4


@pytest.mark.parametrize("hot", [(0, 0), (2, 5), (7, 7)])
def test_the_overlay_peaks_in_the_middle_of_its_patch(hot):
    relevance = explanation(hot=hot).image_relevance
    overlay = np.asarray(heat(relevance, (160, 160))).astype(int)
    assert (centre(overlay[..., 3] > 150) // 20).astype(int).tolist() == [hot[1], hot[0]]


def test_a_constant_map_is_said_to_be_constant():
    for shown in texts(draw([explanation(hot=None)])), Page(html([explanation(hot=None)])).texts:
        assert any("constant" in text for text in shown)


def word_colours(one) -> dict[str, list[str]]:
    """The colours of the words on every surface, in the question's order."""
    file = io.StringIO()
    show([one], Console(file=file, force_terminal=True, color_system="truecolor", width=400, legacy_windows=False))
    on = re.findall(r"48;2;(\d+);(\d+);(\d+)m [^▀]", file.getvalue())
    return {
        "sheet": [mark.colour for mark in draw([one]).marks if isinstance(mark, Fill)],
        "page": re.findall(r'<li style="background:(#\w+)', html([one])),
        "notebook": re.findall(r'<li style="background:(#\w+)', fragment(one)),
        "terminal": ["#" + "".join(f"{int(value):02x}" for value in rgb) for rgb in on],
    }


@pytest.mark.parametrize("scores", [[1, 0.5, 0, 0.25], [0.0212, 0.0219, 0.0215, 0.0213], [-1, 0, 1, 3], [0, 0, 0, 0]])
def test_every_surface_paints_words_alike(scores):
    one = explanation(text="a b c d", scores=scores)
    wanted = [hexadecimal(rgb) for rgb in paint(one.word_relevance)]
    assert word_colours(one) == dict.fromkeys(("sheet", "page", "notebook", "terminal"), wanted)


@settings(deadline=None)
@given(SCORES)
def test_colour_says_how_much(values):
    if is_flat(values):
        assert not scaled(values).any()
        return
    shares = values.astype(np.float64) / values.max()
    assert scaled(values) == pytest.approx(shares)
    assert (scaled(values.astype(np.float64) * 7) == pytest.approx(shares)) and scaled(values).max() == 1


@settings(deadline=None)
@given(SCORES)
def test_a_spread_below_a_few_per_cent_is_nearly_constant(values):
    flat = values.max() - values.min() < NEARLY * values.max().astype(np.float64)
    assert is_flat(values) == flat
    assert (paint(values) == FLAT).all() == flat


def test_negative_scores_are_darkest():
    assert scaled(np.array([-1, 0, 1.0])).tolist() == [0, 0.5, 1]


def test_one_dominant_word_does_not_paint_the_others_black():
    one = explanation(text=" ".join(f"w{i}" for i in range(30)), scores=[0.9 if i == 4 else 1e-3 for i in range(30)])
    for found in word_colours(one).values():
        assert len(found) == 30
        for colour in found:
            assert max(bytes.fromhex(colour[1:])) >= 0x50
    told = texts(draw([one]))
    assert told.count("0.001") == 29 and told.count("0.9") == 1


def test_equal_words_are_not_told_apart_by_colour():
    one = explanation(text="red red", scores=[0.0212, 0.0219], relevance=np.linspace(0.2494, 0.2495, 64).reshape(8, 8))
    assert set(itertools.chain(*word_colours(one).values())) == {hexadecimal(FLAT)}
    overlay = np.asarray(heat(one.image_relevance, (64, 64)))
    assert (overlay == overlay[0, 0]).all() and (overlay[0, 0, :3] == FLAT).all()
    for told in texts(draw([one])), Page(html([one])).texts:
        assert any("image: nearly constant, every patch scores 0.2494 to 0.2495" in text for text in told)
        assert any("words: nearly constant, every word scores 0.0212 to 0.0219" in text for text in told)
        assert {"0.0212", "0.0219"} <= {text.strip() for text in told}


def test_what_is_not_finite_is_not_called_constant():
    one = explanation(relevance=np.full((8, 8), np.nan))
    told = texts(draw([one]))
    assert any("image: some scores are not finite" in text for text in told)
    assert not any("image: constant" in text for text in told)


def test_every_surface_says_the_rule():
    one = explanation()
    file = io.StringIO()
    show([one], Console(file=file, width=1000))
    rule = legend("dark", "bright", "grey")
    assert f"{NEARLY:.0%}" in rule
    assert rule in Page(html([one])).texts and rule in Page(fragment(one)).texts
    assert rule in " ".join(texts(draw([one])))
    assert legend("blank", "█", "▒") in file.getvalue()


def test_layers_are_worded_once():
    one = explanation()
    several = [one, explanation(method="rollout")]
    file = io.StringIO()
    show([one], Console(file=file))
    surfaces = [file.getvalue(), html([one]), fragment(one)]
    surfaces += ["\n".join(texts(draw(some))) for some in ([one], several)]
    for surface in surfaces:
        assert "layers: first" in surface and "first layer" not in surface


def test_the_ramp_is_infernos_without_its_black_end():
    inferno = matplotlib.colormaps["inferno"](np.linspace(0.14, 1, 256), bytes=True)[:, :3].astype(int)
    assert abs(colours(np.linspace(0, 1, 256)) - inferno).max() <= 4
    assert (colours(np.array([0.0, 1.0])) == RAMP[[0, -1]]).all()


def test_labels_keep_the_steps_between_values():
    assert distinct([0.2494, 0.2495]) == ["0.2494", "0.2495"]
