import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from xai.runtime.show.page import html
from xai.tests.runtime.show.explanations import METHODS, NASTY, Page, centre, explanation


def test_a_page_escapes_what_it_is_given():
    page = html([explanation(text=NASTY, answer="<script>alert(1)</script>", target='"><img src=x>', name="a\"b'<i>.png", method="<m>")])
    parsed = Page(page)
    assert not parsed.open
    assert [tag for tag, _ in parsed.elements].count("script") == 1
    assert not {"b", "i", "m"} & {tag for tag, _ in parsed.elements}
    assert NASTY.replace("\x1b", "") in parsed.texts
    assert "<script>alert(1)</script>" in parsed.texts


def test_a_page_needs_no_other_file():
    page = html([explanation(method=method) for method in METHODS])
    assert "http:" not in page and "https:" not in page
    for tag, attributes in Page(page).elements:
        assert tag not in ("link", "iframe")
        assert "href" not in attributes
        assert (attributes.get("src") or "data:image/").startswith("data:image/")


def test_a_page_shows_the_first_method_until_a_script_runs():
    parsed = Page(html([explanation(method=method) for method in METHODS]))
    marked = [attributes for _, attributes in parsed.elements if "data-method" in attributes]
    assert len(marked) == 3 * len(METHODS)  # overlay, colour bar, section
    assert all(("hidden" in attributes) == (attributes["data-method"] != "0") for attributes in marked)
    assert all(attributes["alt"] for tag, attributes in parsed.elements if tag == "img")


@pytest.mark.parametrize("size", [(320, 240), (240, 320), (1000, 120)])
def test_the_overlay_of_a_page_lies_on_the_crop(size):
    page = html([explanation(size=size, hot=(1, 6))])
    picture, overlay = (Image.open(io.BytesIO(base64.b64decode(code))) for code in re.findall(r"data:image/\w+;base64,([\w+/=]+)", page))
    placed = re.search(r'id="crop" style="left:(.+)%;top:(.+)%;width:(.+)%;height:(.+)%"', page)
    left, top, width, height = (float(share) / 100 for share in placed.groups())
    assert width * picture.width == pytest.approx(height * picture.height, abs=1)
    peak = centre(np.asarray(overlay)[..., 3] > 150) / overlay.size
    seen = np.asarray(picture.convert("RGB")).astype(int)
    mark = centre(seen[..., 1] - seen[..., 0] > 150) / picture.size
    assert [left + peak[0] * width, top + peak[1] * height] == pytest.approx(mark, abs=0.02)


def test_a_page_lists_raw_scores():
    one = explanation()
    texts = Page(html([one])).texts
    assert all(f"{score:.6g}" in texts for score in one.text_relevance)
    assert "converged" in texts and "1.5 ms" in texts


def test_the_script_is_a_file_of_its_own_and_lies_in_the_page():
    page = html([explanation()])
    assert page.count("<script>") == page.count("</script>") == 1
    assert "$" not in page.partition("<script>")[2].partition("</script>")[0]
    assert 'getElementById("crop")' in page


def test_words_run_from_the_right_where_the_question_does():
    assert 'class="words" dir="rtl"' in html([explanation(text="ما لون (red) الدائرة")])
    assert 'class="words" dir="ltr"' in html([explanation(text="What is الدائرة")])


def test_a_page_compares_several_methods():
    assert "How far the maps agree" not in html([explanation()])
    texts = Page(html([explanation(method=method, hot=(i, 3)) for i, method in enumerate(METHODS[:2])])).texts
    assert "How far the maps agree" in texts and "How far the words agree" in texts


@pytest.mark.parametrize("size", [(1600, 1200), (3000, 300), (300, 3000)])
def test_a_notebook_shows_a_small_page_without_scripts(size):
    noise = np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    one = explanation(size=size, text=NASTY, notes=("a note",))
    one.picture.paste(Image.fromarray(noise).resize(size))
    shown = one._repr_html_()
    parsed = Page(shown)
    assert not parsed.open
    assert {tag for tag, _ in parsed.elements} <= {"div", "p", "strong", "span", "img", "ul", "li", "small", "br"}
    assert all(value.startswith("data:image/") for tag, attributes in parsed.elements if (value := attributes.get("src")))
    assert not {"id", "class"} & {name for tag, attributes in parsed.elements if tag != "p" and tag != "span" for name in attributes}
    assert len(shown) < 250_000
    assert NASTY.replace("\x1b", "") in parsed.texts and "a house" in parsed.texts and "a note." in parsed.texts


def test_the_overlay_of_a_notebook_lies_on_the_crop():
    shown = explanation(size=(320, 240), hot=(1, 6))._repr_html_()
    picture, overlay = (Image.open(io.BytesIO(base64.b64decode(code))) for code in re.findall(r"data:image/\w+;base64,([\w+/=]+)", shown))
    left, top, width, height = (
        float(share) / 100 for share in re.search(r"left:([\d.]+)%;top:([\d.]+)%;width:([\d.]+)%;height:([\d.]+)%;outline", shown).groups()
    )
    peak = centre(np.asarray(overlay)[..., 3] > 150) / overlay.size
    seen = np.asarray(picture.convert("RGB")).astype(int)
    mark = centre(seen[..., 1] - seen[..., 0] > 150) / picture.size
    assert [left + peak[0] * width, top + peak[1] * height] == pytest.approx(mark, abs=0.02)
