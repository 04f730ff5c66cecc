"""Both forms of the page: for keys, screen readers, phones, and without a server or scripts."""

from __future__ import annotations

import re

import numpy as np
import pytest

import xai
from xai.runtime.methods import find_methods
from xai.runtime.show.save import save

pytest.importorskip("playwright", reason="needs Playwright: pip install playwright")
pytest.importorskip("axe_playwright_python", reason="needs axe-core: pip install axe-playwright-python")
from playwright.sync_api import expect

from xai.tests.serve.page.browser import DATA, QUESTION, SCENES, at_patch, panel, requests, result, tab_to, violations, watched


def test_everything_is_done_by_keyboard(page, every) -> None:
    tab_to(page, "#examples button")
    page.keyboard.press("Enter")
    result(page)
    tab_to(page, "#stages canvas")
    page.keyboard.press("ArrowDown")
    expect(page.locator("#cell")).to_contain_text("rank 1 of 144")
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    expect(page.locator("#pinned-title")).to_contain_text("column 1")
    tab_to(page, "#words button")
    page.keyboard.press("Enter")
    expect(page.locator("#pinned-title")).to_contain_text("“What”")
    tab_to(page, "[name=method]")
    page.keyboard.press("ArrowDown")
    assert panel(page)["title"] != "dsmi-grad"
    tab_to(page, "[name=tool]")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Shift+Tab")
    tab_to(page, "[name=tool]")
    page.evaluate("stages[0].canvas.focus()")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Shift+ArrowRight")
    assert page.evaluate("view.out.size") == 1
    tab_to(page, "#again")
    page.keyboard.press("Enter")
    expect(page.locator("#tried li")).to_have_count(1)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(browser, server, file, scheme) -> None:
    with watched(browser, color_scheme=scheme) as page:
        page.goto(server.url)
        assert violations(page) == []
        page.get_by_role("button", name=f"Example: {QUESTION}").click()
        result(page).mouse.click(*at_patch(page, 3, 3))
        page.select_option("#against", "method:rollout")
        page.get_by_role("radio", name="leaves it out").check()
        page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
        assert violations(page) == []
    with watched(browser, color_scheme=scheme) as page:
        page.goto(file)
        result(page)
        assert violations(page) == []


def test_a_phone_shows_it_without_scrolling_sideways(browser, server) -> None:
    with watched(browser, viewport={"width": 320, "height": 640}, has_touch=True, is_mobile=True) as page:
        page.goto(server.url)
        page.get_by_role("button", name=f"Example: {QUESTION}").tap()
        result(page).select_option("#against", "method:rollout")
        assert page.evaluate("document.documentElement.scrollWidth") == 320


def test_the_file_alone_shows_everything_that_needs_no_server(browser, file, every) -> None:
    with watched(browser) as page:
        with requests(page) as sent:
            page.goto(file)
            result(page)
            page.get_by_role("radio", name="rollout", exact=True).check()
            assert panel(page)["values"] == pytest.approx(next(e for e in every if e.method == "rollout").image_relevance.ravel(), rel=1e-6)
            page.select_option("#against", "method:dsmi")
            page.mouse.click(*at_patch(page, 1, 2))
            page.wait_for_timeout(300)
            for hidden in ("#ask", "#tools", "#npz", "#still"):
                expect(page.locator(hidden)).to_be_hidden()
        assert not [request.url for request in sent if not request.url.startswith(("file:", "data:"))]
        state, link = page.evaluate("[view.method, view.against, view.pin]"), page.url
        page.goto("about:blank")
        page.goto(link)
        assert result(page).evaluate("[view.method, view.against, view.pin]") == state == ["rollout", "method:dsmi", 14]


def test_the_file_shows_picture_map_words_and_answers_without_scripts(browser, file, every) -> None:
    with watched(browser, java_script_enabled=False) as page:
        page.goto(file)
        expect(page.locator("#still img")).to_have_count(4)  # two methods, each a picture and its map
        for image in page.locator("#still img").all():
            assert (image.bounding_box() or {}).get("width", 0) > 100
        expect(page.locator("#still li")).to_have_count(2 * len(every[0].question.words))
        expect(page.locator("#still")).to_contain_text(every[0].top[1].text)
        expect(page.locator("#result")).to_be_hidden()


def test_the_server_gives_the_same_page_as_a_file(browser, server, tmp_path) -> None:
    path = tmp_path / "why.html"
    response = server.ask(accept="text/html", method="all")
    assert "sandbox allow-scripts allow-downloads" in response.headers["content-security-policy"]
    path.write_bytes(response.content)
    with watched(browser) as page:
        page.goto(path.as_uri())
        expect(result(page).locator("[name=method]")).to_have_count(len(find_methods("all")))


def test_the_page_takes_little(server) -> None:
    page = server.client.get("/")
    assert len(page.content) < 150_000
    assert page.text.count("<script") == 3 and "https://" not in page.text and "http://" not in page.text
    assert "'unsafe-inline'" not in re.search(r"script-src[^;]*", page.headers["content-security-policy"])[0]


def test_the_file_numbers_the_highest_boxes(browser, tmp_path) -> None:
    found = xai.load(DATA / "lxmert_tiny").explain_methods(
        DATA / "lxmert_tiny" / "case0.npz", "what is it?", ["dsmi", "grad-cam"], word_regions=True
    )
    save(found, tmp_path / "why.html")
    with watched(browser) as page:
        page.goto((tmp_path / "why.html").as_uri())
        result(page)
        best = np.argsort(-np.abs(found[0].image_relevance), kind="stable")[:3]
        written = page.evaluate(
            """() => { const said = [], canvas = document.createElement("canvas"), context = canvas.getContext("2d");
            context.fillText = (text, x, y) => said.push([text, x, y]);
            drawPanel(context, data, stages[0].panel, view, 1000, 1);
            return [said, data.boxes, placeOf(data, 1000)]; }"""
        )
        said, boxes, at = written
        assert [text for text, _, _ in said] == [3, 2, 1]  # the highest lies on top
        for (_, x, y), box in zip(said, best[::-1], strict=True):
            assert x == pytest.approx(at["left"] + boxes[box][0] * at["wide"] + 4) and y == pytest.approx(
                boxes[box][1] * at["high"] + 12 + at["top"]
            )
        page.get_by_role("radio", name="grad-cam", exact=True).check()
        assert page.evaluate("stages[0].panel.scale.flat") is True  # no box is higher than another: none is numbered
        assert (
            page.evaluate(
                """() => { let said = 0; const context = document.createElement("canvas").getContext("2d");
            context.fillText = () => { said += 1; };
            drawPanel(context, data, stages[0].panel, view, 1000, 1);
            return said; }"""
            )
            == 0
        )


def test_the_file_shows_what_was_left_out(browser, direct, tmp_path) -> None:
    patches = np.isin(np.arange(144), [13, 14]).reshape(12, 12)
    found = direct.explain(SCENES / "scene1.png", QUESTION, without_words=np.arange(5) == 4, without_patches=patches)
    save([found], tmp_path / "why.html")
    with watched(browser) as page:
        page.goto((tmp_path / "why.html").as_uri())
        expect(result(page).locator("#words button.gone")).to_have_text("circle?left out")
        expect(page.locator("#answers")).to_contain_text(f"With nothing left out{found.left_out.before.text}")
        colour = page.evaluate(
            """([row, column]) => { const canvas = stages[0].canvas, at = placeOf(data, canvas.width);
            const [x, y] = [at.left + (column + .5) * at.across, at.top + (row + .5) * at.down];
            return [...canvas.getContext("2d").getImageData(x, y, 1, 1).data]; }""",
            [1, 1],
        )
        assert max(colour[:3]) < 80
        assert violations(page) == []
    with watched(browser, java_script_enabled=False) as page:
        page.goto((tmp_path / "why.html").as_uri())
        expect(page.locator("#still del")).to_have_text("circle?")
