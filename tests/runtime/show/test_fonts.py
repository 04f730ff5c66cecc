import subprocess
import sys

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen

from xai.base.wording import right_to_left
from xai.runtime.show.drawing import fonts
from xai.runtime.show.sheet import draw
from xai.tests.runtime.show.explanations import explanation, pixels, texts

NOWHERE = "\U00013000"
"""A hieroglyph, which no font of these tests has."""


@pytest.fixture
def installed(monkeypatch):
    """Make these files the only installed fonts."""

    def use(*files) -> None:
        monkeypatch.setattr(fonts, "findSystemFonts", lambda: list(map(str, files)))
        fonts._others.cache_clear()

    yield use
    fonts._others.cache_clear()


def make_font(path, name: str, characters: str) -> None:
    """A font in which each of these characters is a box."""
    pen = TTGlyphPen(None)
    pen.moveTo((100, 0))
    for point in (100, 800), (900, 800), (900, 0):
        pen.lineTo(point)
    pen.closePath()
    names = [f"u{ord(c):04X}" for c in characters]
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", *names])
    builder.setupCharacterMap({ord(c): glyph for c, glyph in zip(characters, names, strict=True)})
    builder.setupGlyf({glyph: pen.glyph() for glyph in (".notdef", *names)})
    builder.setupHorizontalMetrics({glyph: (1000, 100) for glyph in (".notdef", *names)})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": name, "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=800, usWinAscent=800, usWinDescent=200)
    builder.setupPost()
    builder.save(path)


def test_an_installed_font_draws_what_matplotlibs_own_lacks(tmp_path, installed, capsys):
    make_font(tmp_path / "one.ttf", "Test One", "日")
    make_font(tmp_path / "both.ttf", "Test Both", "日本")
    installed(tmp_path / "one.ttf", tmp_path / "both.ttf")
    assert fonts.lacking("What is 日本?") == frozenset()
    assert fonts.drawable("What is 日本?") == "What is 日本?"
    assert fonts.font_for("日本", 9, bold=True).get_family() == ["DejaVu Sans", "Test Both"]
    sheet = draw([explanation(text="What is 日本?")])
    pixels(sheet)
    assert not any("⟨" in text for text in texts(sheet))
    assert capsys.readouterr() == ("", "")


def test_what_no_font_has_is_said_and_not_drawn_as_boxes(tmp_path, installed, capsys):
    broken = tmp_path / "broken.ttf"
    broken.write_bytes(b"no font")
    make_font(tmp_path / "one.ttf", "Test Other", "日")
    installed(broken, tmp_path / "one.ttf")
    sheet = draw([explanation(text=f"What is {2 * NOWHERE}日 {NOWHERE}?")])
    pixels(sheet)
    told = texts(sheet)
    assert "What is ⟨2⟩日 ⟨1⟩?" in told and "⟨2⟩日" in told
    (note,) = (text for text in told if "no font of this machine has" in text)
    assert note.startswith("Note: ⟨n⟩ stands for n characters") and "(U+13000)" in note
    assert not any(NOWHERE in text or "□" in text for text in told)
    assert capsys.readouterr() == ("", "")


def test_a_sheet_that_lacks_nothing_says_nothing_of_fonts():
    assert not any("⟨" in text for text in texts(draw([explanation(text="ما لون الدائرة Ελλάδα Москва")])))


def test_latin_text_takes_matplotlibs_own_font():
    assert str(fonts.font_for("What?", 9, bold=False).get_file()).endswith("mpl-data/fonts/ttf/DejaVuSans.ttf")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("What?", False), ("ما لون", True), ("מה", True), ("5 مرات", True), ("(?) 3", False), ("", False), ("red ما", False), ("图中", False)],
)
def test_the_first_letter_says_which_way_a_line_runs(text, wanted):
    assert right_to_left(text) is wanted


def test_right_to_left_words_are_shaped_and_ordered_within_a_line():
    """What matplotlib 3.11 does, and pyproject.toml asks for: three letters that join are narrower than the three apart."""
    code = """
from matplotlib.figure import Figure
from matplotlib.backends.backend_agg import FigureCanvasAgg
from xai.runtime.show.drawing.fonts import font_for
renderer = FigureCanvasAgg(Figure()).get_renderer()
width = lambda text: renderer.get_text_width_height_descent(text, font_for(text, 40, False), ismath=False)[0]
raise SystemExit(not width("بيت") < 0.9 * sum(map(width, "بيت")))
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
