"""Looking, comparing, pinning, leaving out and taking away, on the demo and on a ViLT whose grid is not square."""

from __future__ import annotations

import io
import json
import re
from importlib.resources import files
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from PIL import Image

import xai
from xai.runtime.methods import find_methods
from xai.runtime.show.scale import distinct, is_flat, scaled
from xai.runtime.show.theme import heat, ink, paint

pytest.importorskip("playwright", reason="needs Playwright: pip install playwright")
pytest.importorskip("axe_playwright_python", reason="needs axe-core: pip install axe-playwright-python")
from playwright.sync_api import Route, expect

from xai.tests.serve.page.browser import DATA, QUESTION, SCENES, at_patch, give, jpeg, panel, requests, result, watched


def test_an_example_is_answered_with_a_map_and_words(asked, every) -> None:
    expect(asked.locator("#answers strong")).to_have_text(every[0].answer.text)
    expect(asked.locator("#words .word")).to_have_text([word.text for word in every[0].question.words])
    assert panel(asked)["values"] == pytest.approx(every[1].image_relevance.ravel(), rel=1e-4)
    assert asked.evaluate("new Set(stages[0].canvas.getContext('2d').getImageData(0, 0, 400, 400).data).size") > 50
    assert asked.title() == f"{QUESTION} {every[0].answer.text}"


def test_methods_switch_without_a_request(asked, every) -> None:
    with requests(asked) as sent:
        for explanation in every:
            asked.get_by_role("radio", name=explanation.full_name, exact=True).check()
            shown = panel(asked)
            assert shown["title"] == explanation.full_name
            assert shown["values"] == pytest.approx(explanation.image_relevance.ravel(), rel=1e-4, abs=1e-7)
    assert not sent


def test_the_script_paints_as_the_pictures_do(page) -> None:
    random = np.random.default_rng(0)
    for values in (
        random.random(12),
        random.random(12) - 0.5,
        np.full(12, 0.3),
        1 + random.random(12) / 100,
        np.zeros(12),
        1e-9 * random.random(12),
    ):
        found = page.evaluate(
            """(values) => { const scale = scaleOf(values), shares = values.map((v) => scaled(v, scale));
            const colours = shares.map((v) => colour(v, scale, "inferno"));
            return { flat: scale.flat, shares, colours, inks: colours.map(ink), labels: distinct(values.slice(0, 3)) }; }""",
            values.tolist(),
        )
        colours = paint(values)
        assert found["flat"] == is_flat(values)
        assert found["shares"] == pytest.approx(scaled(values).tolist())
        assert np.abs(np.array(found["colours"]) - colours).max() <= 1
        assert [{"#000": "#000000", "#fff": "#ffffff"}[i] for i in found["inks"]] == [ink(rgb) for rgb in colours]
        assert [float(label) for label in found["labels"]] == [float(label) for label in distinct(values[:3].tolist())]


def test_the_overlay_is_smoothed_as_in_the_pictures(page) -> None:
    values = np.random.default_rng(1).random((8, 8))
    drawn = page.evaluate(
        """(values) => { const canvas = heat(values, [8, 8], scaleOf(values), "inferno", false);
        return [...canvas.getContext("2d").getImageData(0, 0, 320, 320).data]; }""",
        values.ravel().tolist(),
    )
    wanted = np.asarray(heat(values, (320, 320))).astype(int)
    assert np.abs(np.array(drawn).reshape(320, 320, 4) - wanted).mean() < 1.5


def test_two_methods_are_compared_on_one_scale(asked, every) -> None:
    asked.get_by_role("radio", name="dsmi", exact=True).check()
    asked.select_option("#against", "method:rollout")
    first, second, difference = (panel(asked, i) for i in range(3))
    maps = {e.full_name: e.image_relevance.ravel() / e.image_relevance.sum() for e in every if e.image_relevance.any()}
    assert first["values"] == pytest.approx(maps["dsmi"], rel=1e-4, abs=1e-9)
    assert difference["values"] == pytest.approx(first["values"] - second["values"], abs=1e-12)
    assert first["scale"]["high"] == second["scale"]["high"] == difference["scale"]["high"] == -difference["scale"]["low"]
    assert difference["scale"]["signed"]
    expect(asked.locator(".words.second .chip")).to_have_count(len(every[0].question.words))


def test_two_answers_are_compared_on_one_scale(asked, direct, every) -> None:
    other = every[0].top[1].text
    asked.select_option("#against", f"answer:{other}")
    expect(asked.locator("#stages figure")).to_have_count(3)
    first, second, difference = (panel(asked, i) for i in range(3))
    wanted = direct.explain(SCENES / "scene1.png", QUESTION, target=other)
    assert (first["title"], second["title"]) == (every[0].answer.text, other)
    assert second["values"] == pytest.approx(wanted.image_relevance.ravel(), rel=1e-4, abs=1e-7)
    assert first["scale"]["high"] == second["scale"]["high"] == difference["scale"]["high"]


def test_another_answer_is_explained_instead(asked, direct, every) -> None:
    other = every[0].top[1].text
    asked.get_by_role("button", name=f"Explain {other}").click()
    expect(asked.locator("#answers strong")).to_have_text([every[0].answer.text, other])
    assert panel(asked)["values"] == pytest.approx(
        direct.explain(SCENES / "scene1.png", QUESTION, target=other).image_relevance.ravel(), rel=1e-4
    )


def test_a_patch_is_pinned_with_its_score(asked, every) -> None:
    asked.mouse.click(*at_patch(asked, 9, 3))
    expect(asked.locator("#pinned-title")).to_have_text("Patch in row 10, column 4")
    score = float(re.search(r"Score ([\d.e-]+), rank (\d+)", asked.locator("#pinned-body p").inner_text())[1])
    assert score == pytest.approx(every[1].image_relevance[9, 3], rel=1e-3)
    asked.mouse.click(*at_patch(asked, 9, 3))
    expect(asked.locator("#pinned")).to_be_hidden()


def with_regions(route: Route) -> None:
    """The server's answer with regions of words, whatever it gives of them."""
    response = route.fetch()
    data = response.json()
    rows, columns = data["grid"]
    for explanation in data["explanations"]:
        explanation["word_regions"] = np.arange(len(data["words"]) * rows * columns).reshape(-1, rows, columns).tolist()
    route.fulfill(response=response, json=data)


def test_words_and_regions_go_together(page) -> None:
    page.route("**/v1/explain", with_regions)
    page.get_by_role("button", name=f"Example: {QUESTION}").click()
    result(page).locator("#words button").nth(1).click()
    shown = panel(page)
    assert shown["title"] == "Regions of “color”"
    assert shown["values"].tolist() == list(range(144, 288))
    page.mouse.click(*at_patch(page, 0, 2))
    expect(page.locator("#pinned-body tbody tr").first).to_contain_text("circle?")
    page.get_by_role("button", name="Show the whole map again").click()
    assert panel(page)["title"] == "dsmi-grad"


def test_without_regions_a_word_says_its_score(asked) -> None:
    asked.evaluate("data.explanations.forEach((e) => delete e.word_regions)")
    asked.locator("#words button").nth(1).click()
    expect(asked.locator("#pinned-body")).to_contain_text("rank")
    assert panel(asked)["title"] == "dsmi-grad"


def test_parts_are_left_out_and_the_model_is_asked_again(asked, direct, every) -> None:
    asked.get_by_role("radio", name="leaves it out").check()
    asked.select_option("#brush", "1")
    asked.mouse.move(*at_patch(asked, 9, 2))
    asked.mouse.down()
    asked.mouse.move(*at_patch(asked, 10, 3), steps=3)
    asked.mouse.up()
    asked.locator("#words button").nth(4).click()
    out = sorted(asked.evaluate("[...view.out]"))
    assert {9 * 12 + 2, 10 * 12 + 3, 11 * 12 + 4} <= set(out) and len(out) < 20
    with asked.expect_request("**/v1/answer") as sent:
        asked.get_by_role("button", name="Ask again without them").click()
    expect(asked.locator("#tried li")).to_have_count(1)
    assert (sent.value.post_data_json["without_patches"], sent.value.post_data_json["without_words"]) == (out, [4])
    patches, words = np.isin(np.arange(144), out).reshape(12, 12), np.arange(5) == 4
    wanted = direct.answer(SCENES / "scene1.png", QUESTION, without_patches=patches, without_words=words)
    expect(asked.locator("#tried li strong")).to_have_text(wanted.answer.text)
    asked.get_by_role("button", name="Put all back").click()
    assert asked.evaluate("view.out.size + view.outWords.size") == 0
    asked.get_by_role("button", name="Leave out again").click()
    assert sorted(asked.evaluate("[...view.out]")) == out
    expect(asked.locator("#words button.gone")).to_have_count(1)


def test_a_grid_that_is_not_square(browser, serving) -> None:
    vilt = xai.load(DATA / "vilt_tiny")
    with serving({"vilt": vilt}) as server, watched(browser) as page:
        page.goto(server.url)
        page.fill("#question", QUESTION)
        give(page, "wide.jpg", jpeg(300, 100))
        result(page)
        assert page.evaluate("data.grid") == [3, 9]
        box = page.locator("#stages canvas").bounding_box()
        assert box["width"] / box["height"] == pytest.approx(3, abs=0.05)
        page.mouse.click(*at_patch(page, 2, 7))
        expect(page.locator("#pinned-title")).to_have_text("Patch in row 3, column 8")
        page.get_by_role("radio", name="leaves it out").check()
        page.mouse.click(*at_patch(page, 0, 8))
        page.get_by_role("button", name="Ask again without them").click()
        expect(page.locator("#tried li")).to_have_count(1)
        assert page.evaluate("tried[0].patches") == [8]


def test_results_are_taken_away(asked, every) -> None:
    found: dict[str, bytes] = {}
    for name in ("JSON", "npz", "PNG"):
        with asked.expect_download() as download:
            asked.get_by_role("button", name=name, exact=True).click()
        assert download.value.suggested_filename.startswith("What-color-is-the-circle-")
        found[name] = Path(download.value.path()).read_bytes()
    schema = json.loads((files("xai.runtime") / "schema" / "explanation.schema.json").read_text())
    jsonschema.validate(json.loads(found["JSON"]), schema)
    with np.load(io.BytesIO(found["npz"])) as arrays:
        assert arrays["methods"].tolist() == [method.name for method in find_methods("all")]
    with Image.open(io.BytesIO(found["PNG"])) as picture:
        assert picture.width == 704 and len(np.unique(np.asarray(picture))) > 100
