import base64
import hashlib
import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from xai.runtime.explanation import LeftOut, to_json
from xai.runtime.show.document import html
from xai.runtime.show.scale import score_label
from xai.tests.runtime.show.explanations import METHODS, NASTY, Page, centre, explanation


def test_a_page_escapes_what_it_is_given():
    script = "</script><script>alert(1)</script>"
    page = html([explanation(text=NASTY, answer=script, target='"><img src=x>', name="a\"b'<i>.png", method="<m>")])
    parsed = Page(page)
    assert not parsed.open
    assert [tag for tag, _ in parsed.elements].count("script") == 3  # what it is about, and what draws it
    assert not {"b", "i", "m"} & {tag for tag, _ in parsed.elements}
    assert NASTY.replace("\x1b", "") in parsed.texts
    assert script in parsed.texts


def test_a_page_needs_no_other_file():
    page = html([explanation(method=method) for method in METHODS])
    assert "http:" not in page and "https:" not in page
    for tag, attributes in Page(page).elements:
        assert tag != "iframe"
        assert (attributes.get("href") or "data:").startswith("data:")
        assert (attributes.get("src") or "data:image/").startswith("data:image/")


def test_a_page_draws_the_documented_json():
    several = [explanation(method=method, answer="<!-- </script>", hot=(i % 8, 3)) for i, method in enumerate(METHODS)]
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', html(several), re.S)[1]
    assert json.loads(data) == to_json(several)


def test_a_page_keeps_to_a_policy_that_names_its_own_script_and_style():
    page = html([explanation()])
    for element, pattern in ("script-src", r"<script>(.*?)</script>"), ("style-src-elem", r"<style>(.*?)</style>"):
        (content,) = re.findall(pattern, page, re.S)
        found = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{element} 'sha256-{found}';" in page
    assert "script-src 'unsafe-inline'" not in page


def test_a_page_shows_the_first_two_methods_without_scripts():
    several = [explanation(method=method, notes=(f"noted by {method}",)) for method in METHODS]
    texts = [said.strip() for said in Page(html(several)).texts]
    assert METHODS[0] in texts and METHODS[1] in texts and METHODS[2] not in texts
    assert f"noted by {METHODS[0]}." in texts and f"noted by {METHODS[1]}." in texts and "Most probable answers" in texts
    assert texts.count(several[0].question.text) == 1  # the question stands above both
    assert f"Without scripts, this page shows {several[0].full_name} and {several[1].full_name} only." in texts
    assert all(attributes["alt"] for tag, attributes in Page(html(several)).elements if tag == "img")
    assert not any("only." in said for said in Page(html(several[:2])).texts)


def test_a_page_shows_what_goes_with_each_word_without_scripts():
    one = explanation()
    words = one.question.words
    maps = np.random.default_rng(0).random((len(words), 8, 8))
    page = Page(html([replace(one, word_regions=maps, word_regions_kind="relevance")]))
    alts = [attributes["alt"] for tag, attributes in page.elements if tag == "img"]
    assert [alt for alt in alts if alt.startswith("What goes with")] == [
        f"What goes with {word.text}: highest {score_label(float(values.max()))}" for word, values in zip(words, maps, strict=True)
    ]
    assert not any(alt.startswith("What goes with") for alt in (a["alt"] for tag, a in Page(html([one])).elements if tag == "img"))


def test_words_that_were_left_out_are_struck_out():
    one = explanation()
    gone = replace(one, left_out=LeftOut((1, 3), (), one.answer))
    page = html([gone])
    struck = re.findall(r"<del>(.*?)</del> <small>left out</small>", page)
    assert struck == [one.question.words[i].text for i in (1, 3)]
    assert "<del>" not in html([one])


def test_patches_that_were_left_out_are_hatched_without_scripts():
    one = explanation(size=(240, 240))
    away = replace(one, left_out=LeftOut((), (0, 1, 8), one.answer))

    def hatched(page: str) -> list[str]:
        return re.findall(r'style="position:absolute;(left:[^"]*?);background:repeating', page)

    assert hatched(html([one])) == []
    assert hatched(html([away])) == [
        "left:0.0000%;top:0.0000%;width:25.0000%;height:12.5000%",
        "left:0.0000%;top:12.5000%;width:12.5000%;height:12.5000%",
    ]


def test_a_page_takes_little_beside_its_picture():
    page = html([explanation(method=method) for method in METHODS])
    picture = re.search(r'<img src="(data:image/jpeg[^"]+)"', page)[1]
    data = re.search(r'id="data">(.*?)</script>', page, re.S)[1]
    assert len(page) - len(picture) - len(data) < 100_000


@pytest.mark.parametrize("size", [(320, 240), (240, 320), (1000, 120)])
def test_the_overlay_of_a_page_lies_on_the_crop(size):
    page = html([explanation(size=size, hot=(1, 6))])
    picture, overlay = (Image.open(io.BytesIO(base64.b64decode(code))) for code in re.findall(r"data:image/\w+;base64,([\w+/=]+)", page))
    placed = re.search(r"left:([\d.]+)%;top:([\d.]+)%;width:([\d.]+)%;height:([\d.]+)%;outline", page)
    left, top, width, height = (float(share) / 100 for share in placed.groups())
    assert width * picture.width == pytest.approx(height * picture.height, abs=1)
    peak = centre(np.asarray(overlay)[..., 3] > 150) / overlay.size
    seen = np.asarray(picture.convert("RGB")).astype(int)
    mark = centre(seen[..., 1] - seen[..., 0] > 150) / picture.size
    assert [left + peak[0] * width, top + peak[1] * height] == pytest.approx(mark, abs=0.02)


def test_words_run_from_the_right_where_the_question_does():
    assert '<ul dir="rtl"' in html([explanation(text="ما لون (red) الدائرة")])
    assert '<ul dir="ltr"' in html([explanation(text="What is الدائرة")])


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
