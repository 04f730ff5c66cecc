"""The page outlives its server: a real process killed and started again under it, a server that is full, two tabs, other addresses."""

from __future__ import annotations

import signal
import threading
from urllib.parse import urlsplit

import pytest

import xai

pytest.importorskip("playwright", reason="needs Playwright: pip install playwright")
pytest.importorskip("axe_playwright_python", reason="needs axe-core: pip install axe-playwright-python")
from playwright.sync_api import expect

from xai.tests.serve.page.browser import QUESTION, give, jpeg, panel, result, watched


def without_a_word(page) -> None:
    page.locator("#words button").nth(4).click()
    page.get_by_role("button", name="Ask again without this word").click()


def test_a_server_that_is_killed_and_started_again_answers_in_the_end(browser, start) -> None:
    process, url = start()
    port = str(urlsplit(url).port)
    with watched(browser) as page:
        page.goto(url)
        page.get_by_role("button", name=f"Example: {QUESTION}").click()
        result(page)
        process.send_signal(signal.SIGSTOP)  # the question arrives, and nobody answers it
        without_a_word(page)
        expect(page.locator("#status")).to_contain_text("The model answers without them")
        process.kill()
        expect(page.locator("#status")).to_contain_text("The server does not answer: trying again")
        expect(page.locator("#answers strong")).to_be_visible()  # what was shown stays
        page.get_by_role("radio", name="rollout", exact=True).check()  # and can be looked at meanwhile
        assert panel(page)["title"].startswith("Regions of")
        start("--port", port)
        expect(page.locator("#tried li")).to_have_count(1, timeout=30_000)
        expect(page.locator("#status")).to_be_hidden()
        page.fill("#question", "Is there a circle?")
        page.keyboard.press("Enter")
        expect(page.locator("#asked")).to_have_text("Is there a circle?", timeout=30_000)


class Slow:
    """A session that explains when it may."""

    def __init__(self, session) -> None:
        self._session, self.go, self.asked = session, threading.Event(), threading.Event()

    def __getattr__(self, name: str):
        return getattr(self._session, name)

    def run(self, *arguments, **named):
        self.asked.set()
        assert self.go.wait(60)
        return self._session.run(*arguments, **named)


def test_a_server_without_a_place_is_asked_again_until_it_has_one(browser, serving) -> None:
    explainer = xai.load("demo")
    explainer.session = slow = Slow(explainer.session)
    slow.go.set()
    with serving({"demo": explainer}, queue=0, max_batch=1) as server, watched(browser) as first, watched(browser) as second:
        slow.go.clear()
        for page in (first, second):
            slow.asked.wait(0.2)
            page.goto(server.url)
            page.get_by_role("button", name=f"Example: {QUESTION}").click()
            if page is first:
                assert slow.asked.wait(30)
        expect(second.locator("#status")).to_contain_text("The server is busy: trying again in")
        slow.go.set()
        for page in (first, second):
            page.wait_for_selector("#result:not([hidden]):not([aria-busy])", timeout=30_000)
            expect(page.locator("#status")).to_be_hidden()


def test_two_tabs_keep_to_themselves(browser, server) -> None:
    with watched(browser) as one:
        other = one.context.new_page()
        said: list[str] = []
        other.on("pageerror", lambda error: said.append(str(error)))
        for page, question in ((one, QUESTION), (other, "Is there a circle?")):
            page.goto(server.url)
            page.get_by_role("button", name=f"Example: {QUESTION}").click()
            result(page)
            page.fill("#question", question)
        for page in (one, other):  # both at once
            page.click("#submit")
        for page, question in ((one, QUESTION), (other, "Is there a circle?")):
            expect(page.locator("#asked")).to_have_text(question)
            result(page)
        one.get_by_role("radio", name="rollout", exact=True).check()
        one.wait_for_timeout(300)
        assert other.evaluate("view.method") == "dsmi-grad"
        assert "rollout" in one.url and "rollout" not in other.url
        other.reload()
        expect(result(other).locator("#asked")).to_have_text("Is there a circle?")
        assert said == []


def test_a_reload_with_ones_own_picture_keeps_the_question_and_asks_for_the_picture(page) -> None:
    page.fill("#question", QUESTION)
    give(page, "mine.jpg", jpeg(300, 200))
    result(page)
    page.wait_for_timeout(300)
    page.reload()
    expect(page.locator("#question")).to_have_value(QUESTION)
    expect(page.locator("#trouble")).to_contain_text("choose that picture to see the same")
    give(page, "mine.jpg", jpeg(300, 200))
    expect(result(page).locator("#asked")).to_have_text(QUESTION)


def test_a_link_works_under_the_servers_other_name(asked, browser, server) -> None:
    asked.get_by_role("radio", name="rollout", exact=True).check()
    asked.wait_for_timeout(300)
    address, fragment = asked.url.split("#")
    assert "127.0.0.1" in address
    with watched(browser) as elsewhere:
        elsewhere.goto(f"{address.replace('127.0.0.1', 'localhost')}#{fragment}")
        assert panel(result(elsewhere))["title"] == "rollout"
