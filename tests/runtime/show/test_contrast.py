"""Contrasts in every picture: colours that tell the sides apart, a key that names them, a scale that is alike on both."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rich.console import Console

from xai.runtime.explanation import Explanation
from xai.runtime.show.document import html
from xai.runtime.show.notebook import fragment
from xai.runtime.show.page import rules
from xai.runtime.show.scale import bar_labels, contrast_legend, ends, is_flat, scaled
from xai.runtime.show.sheet import draw
from xai.runtime.show.terminal import show
from xai.runtime.show.theme import CONTRAST, answer_lines, colours, heat, hexadecimal, paint, sides
from xai.tests.runtime.show.explanations import Page, explanation, pixels, texts

SCORES = arrays(np.float32, st.integers(1, 30), elements=st.floats(-1e6, 1e6, width=32))
SIDES = np.linspace(-1, 1, 8 * 8).reshape(8, 8)

# Machado, Oliveira and Fernandes 2009, severity 1: linear RGB as people without one kind of cone see it.
BLIND = {
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritanopia": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
    "none": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
}


def contrast(**options) -> Explanation:
    return explanation(**{"relevance": SIDES, "scores": [-1, 0, 0.5, 1, 0, 0.25], "versus": "a barn"} | options)


def printed(e: Explanation, **options) -> str:
    file = io.StringIO()
    show([e], Console(file=file, width=100, legacy_windows=False, **options))
    return file.getvalue()


def lab(rgb: np.ndarray, kind: str) -> np.ndarray:
    """CIELAB (D65) of RGB bytes (..., 3) as such people see them."""
    linear = np.where(rgb / 255 <= 0.04045, rgb / 255 / 12.92, ((rgb / 255 + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.array(BLIND[kind]).T, 0, 1)
    xyz = seen @ np.array(((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))).T / (0.9505, 1, 1.089)
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], axis=-1)


@given(SCORES)
def test_the_scale_is_alike_on_both_sides_and_nought_is_nought(values) -> None:
    found = scaled(values, signed=True)
    assert (found == -scaled(-values, signed=True)).all()
    assert (np.sign(found) == np.sign(values)).all() or abs(values).max() > 1e300
    assert abs(found).max() == (1 if values.any() else 0)
    low, high = ends(values, signed=True)
    assert low == -high


@pytest.mark.parametrize("kind", BLIND)
def test_everyone_tells_the_sides_apart(kind) -> None:
    size = np.linspace(0.25, 1, 40)
    above, below = lab(colours(size, signed=True), kind), lab(colours(-size, signed=True), kind)
    assert np.linalg.norm(above - below, axis=-1).min() > 20  # 2.3 is what is just noticed
    for side in (above, below):
        assert (np.diff(side[:, 0]) < 0).all()  # the larger, the darker
    assert abs(above[:, 0] - below[:, 0]).max() < 12


def test_nought_is_neutral() -> None:
    red, green, blue = colours(np.zeros(1), signed=True)[0].astype(int)
    assert red == green == blue == CONTRAST[len(CONTRAST) // 2][0]
    overlay = np.asarray(heat(np.array([[0.0, 0, 0, 1], [0, 0, 0, -1], [0] * 4, [0] * 4]), (64, 64), signed=True)).astype(int)
    assert overlay[..., 3].argmax() in np.flatnonzero(overlay[..., 3] == overlay[..., 3].max())
    assert overlay[60, 4, 3] == overlay[..., 3].min()


def test_scores_on_one_side_have_its_colour_however_alike_they_are() -> None:
    for values in (np.full(4, 2.0), np.array([1, 1.01])):
        assert is_flat(values) and not is_flat(values, signed=True)
        assert (paint(values, signed=True)[-1] == CONTRAST[-1]).all()
        assert (paint(-values, signed=True)[-1] == CONTRAST[0]).all()
    assert (paint(np.zeros(3), signed=True) == CONTRAST[len(CONTRAST) // 2]).all()
    assert bar_labels(contrast(relevance=np.zeros((8, 8)))) == [(0.5, "0")]


def test_the_bar_has_nought_in_its_middle() -> None:
    assert bar_labels(contrast(relevance=SIDES.clip(-0.5))) == [(0, "-1"), (0.5, "0"), (1, "1")]


def test_the_key_names_both_answers_everywhere() -> None:
    e = contrast(answer="<a> house")
    (blue, first), (orange, second) = sides([e])
    assert (first, second) == ("<a> house", "a barn")
    assert [label for label, _ in answer_lines(e)] == ["Answer", "Versus"]
    for page in (html([e]), fragment(e)):
        told = "".join(Page(page).texts)
        assert "speaks for <a> house" in told and "speaks for a barn" in told
        assert contrast_legend("the strongest colour", "the palest") in told
        assert page.index(f"background:{hexadecimal(blue)}") < page.index("speaks for") < page.index(f"background:{hexadecimal(orange)}")
    drawn = texts(draw([e]))
    assert "speaks for <a> house" in drawn and "speaks for a barn" in drawn
    seen = pixels(draw([e])).reshape(-1, 3)
    assert all((seen == colour).all(-1).any() for colour in (blue, orange))


def test_a_map_without_signs_keeps_the_plain_colours() -> None:
    e = contrast(signed=False, relevance=abs(SIDES), scores=[1, 0, 0.5, 1, 0, 0.25])
    assert sides([e]) == []
    for told in ("".join(Page(html([e])).texts), printed(e)):
        assert "speaks for" not in told and "one side" in told
    mixed = " ".join(rules([e, contrast()]))
    assert "A contrast: scores above 0" in mixed and "dark is a score of 0" in mixed


def test_a_terminal_without_colours_shows_signs() -> None:
    told = printed(contrast())
    assert "█+ speaks for a house" in told and "█- speaks for a barn" in told
    assert re.search(r"What█- -1 +stands +0 .*of█\+ 1", told)
    rows = [line[3:-1] for line in told.splitlines() if line.startswith("  │")]
    assert rows[0].startswith("█-") and rows[-1].endswith("█+") and "  " in rows[3] + rows[4]
    coloured = printed(contrast(), force_terminal=True, color_system="truecolor")
    for rgb, _ in sides([contrast()]):
        assert f"48;2;{';'.join(map(str, rgb))}m" in coloured


def test_long_answers_leave_nothing_beyond_the_sheet() -> None:
    long = "an answer that is told at some length " * 6
    for several in (
        [contrast(answer=long, versus=long)],
        [contrast(answer=long, versus=long, method=name) for name in ("dsmi-grad", "grad-cam")],
    ):
        sheet = draw(several)
        white = (pixels(sheet) == 255).all(-1)
        assert white[:, -30:].all() and white[:, :30].all()


def test_what_depends_on_no_answer_says_so() -> None:
    from dataclasses import replace

    e = replace(explanation(method="rollout", layers=None), explains=None)
    assert "rollout (any answer)" in printed(e)
    assert any("any answer" in text for text in texts(draw([e])))
    assert "any answer" in "".join(Page(html([e])).texts)
    assert "all answers" in printed(replace(e, explains="sum"))
