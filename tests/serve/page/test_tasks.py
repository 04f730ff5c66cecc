"""What a new user does, by clicks: as few as are promised here (docs/serve.md, Page), at a desk and on a phone."""

from __future__ import annotations

import pytest

pytest.importorskip("playwright", reason="needs Playwright: pip install playwright")
pytest.importorskip("axe_playwright_python", reason="needs axe-core: pip install axe-playwright-python")
from playwright.sync_api import Locator, Page, expect

from xai.tests.serve.page.browser import QUESTION, give, jpeg, panel, result, watched

PHONE = {"viewport": {"width": 320, "height": 640}, "has_touch": True, "is_mobile": True}


class Visitor:
    """Somebody who clicks, and whose clicks are counted; choosing from a list takes two."""

    def __init__(self, page: Page) -> None:
        self.page, self.clicks = page, 0

    def click(self, locator: Locator) -> None:
        self.clicks += 1
        locator.click()

    def choose(self, locator: Locator, value: str) -> None:
        self.clicks += 2
        locator.select_option(value)

    def example(self) -> None:
        self.click(self.page.get_by_role("button", name=f"Example: {QUESTION}"))
        result(self.page)


@pytest.fixture(params=[{}, PHONE], ids=["desk", "phone"])
def visitor(request, browser, server):
    with watched(browser, **request.param) as page:
        page.goto(server.url)
        yield Visitor(page)


def test_the_region_that_made_the_answer_is_found_by_one_click(visitor: Visitor, every) -> None:
    visitor.example()
    best = int(next(e for e in every if e.method == "dsmi-grad").image_relevance.argmax())
    expect(visitor.page.locator("#cell")).to_have_text(f"Highest in row {best // 12 + 1}, column {best % 12 + 1}.")
    assert visitor.clicks == 1


def test_whether_the_answer_depends_on_a_word_is_found_by_three_clicks(visitor: Visitor, direct) -> None:
    visitor.example()
    visitor.click(visitor.page.locator("#words button").nth(4))
    visitor.click(visitor.page.get_by_role("button", name="Ask again without this word"))
    said = visitor.page.locator("#tried li")
    expect(said).to_have_count(1)
    expect(said).to_be_in_viewport()
    expect(said).to_contain_text("Without “circle?”")
    expect(said).to_contain_text("The answer changes to gray")
    assert visitor.clicks == 3
    assert visitor.page.evaluate("[view.tool, view.outWords.size]") == ["pin", 0]  # nothing is left behind to be put back


def test_whether_it_depends_on_a_patch_is_found_the_same_way(visitor: Visitor) -> None:
    visitor.example()
    visitor.page.locator("#stages canvas").press("Enter")
    visitor.click(visitor.page.get_by_role("button", name="Ask again without this patch"))
    expect(visitor.page.locator("#tried li")).to_contain_text("Without 1 patch")


def test_two_methods_are_compared_on_ones_own_photo_by_three_clicks(visitor: Visitor) -> None:
    visitor.clicks += 1
    give(visitor.page, "mine.jpg", jpeg(1600, 1200))
    visitor.page.locator("#question").press_sequentially(QUESTION)
    visitor.page.keyboard.press("Enter")
    result(visitor.page)
    visitor.choose(visitor.page.locator("#against"), "method:rollout")
    expect(visitor.page.locator("#stages figure")).to_have_count(3)
    assert [panel(visitor.page, i)["title"] for i in range(3)] == ["dsmi-grad", "rollout", "dsmi-grad less rollout"]
    expect(visitor.page.locator("#stages figure").first).to_be_in_viewport(ratio=0.5)
    assert visitor.clicks == 3


def test_a_desk_has_no_camera_and_a_phone_has(visitor: Visitor) -> None:
    touch = visitor.page.evaluate("matchMedia('(pointer: coarse)').matches")
    camera = visitor.page.get_by_text("Take a photo")
    assert camera.is_visible() is touch
