"""Both forms of the page: for keys, screen readers, phones, and without a server or scripts."""

from __future__ import annotations

import re

import pytest

from xai.runtime.methods import find_methods

pytest.importorskip("playwright", reason="needs Playwright: pip install playwright")
pytest.importorskip("axe_playwright_python", reason="needs axe-core: pip install axe-playwright-python")
from playwright.sync_api import expect

from xai.tests.serve.page.browser import QUESTION, at_patch, panel, requests, result, violations, watched


def test_everything_is_done_by_keyboard(page, every) -> None:
    def tab_to(selector: str) -> None:
        for _ in range(80):
            page.keyboard.press("Tab")
            if page.evaluate("(s) => document.activeElement.matches(s)", selector):
                return
        raise AssertionError(f"{selector} is not reached by Tab")

    tab_to("#examples button")
    page.keyboard.press("Enter")
    result(page)
    tab_to("#stages canvas")
    page.keyboard.press("ArrowDown")
    expect(page.locator("#cell")).to_contain_text("rank 1 of 144")
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    expect(page.locator("#pinned-title")).to_contain_text("column 1")
    tab_to("#words button")
    page.keyboard.press("Enter")
    expect(page.locator("#pinned-title")).to_contain_text("“What”")
    tab_to("[name=method]")
    page.keyboard.press("ArrowDown")
    assert panel(page)["title"] != "dsmi-grad"
    tab_to("[name=tool]")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Shift+Tab")
    tab_to("[name=tool]")
    page.evaluate("stages[0].canvas.focus()")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Shift+ArrowRight")
    assert page.evaluate("view.out.size") == 1
    tab_to("#again")
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
        expect(page.locator("#still img")).to_have_count(2)
        for image in page.locator("#still img").all():
            assert (image.bounding_box() or {}).get("width", 0) > 100
        expect(page.locator("#still li")).to_have_count(len(every[0].question.words))
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
