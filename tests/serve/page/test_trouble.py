"""What goes wrong: links, pictures and questions that do not fit, a server that is busy, gone or locked."""

from __future__ import annotations

import base64

import pytest

pytest.importorskip("playwright", reason="needs Playwright: pip install playwright")
pytest.importorskip("axe_playwright_python", reason="needs axe-core: pip install axe-playwright-python")
from playwright.sync_api import Route, expect

from xai.tests.serve.page.browser import QUESTION, at_patch, give, jpeg, requests, result, watched


def test_a_link_restores_the_state_in_another_browser(asked, browser, every) -> None:
    other = every[0].top[1].text
    asked.get_by_role("button", name=f"Explain {other}").click()
    expect(asked.locator("#answers strong")).to_have_count(2)
    asked.get_by_role("radio", name="rollout", exact=True).check()
    asked.mouse.click(*at_patch(asked, 5, 6))
    asked.select_option("#palette", "cividis")
    asked.locator("#opacity").fill("0.4")
    asked.get_by_role("radio", name="leaves it out").check()
    asked.mouse.click(*at_patch(asked, 2, 2))
    asked.select_option("#against", "method:dsmi")
    asked.wait_for_timeout(300)
    state = "({ ...view, out: [...view.out], outWords: [...view.outWords], cursor: null, target: data.target.text })"
    link = asked.url
    for _ in range(2):  # in a fresh browser, and once more when it is loaded again
        with watched(browser) as fresh:
            fresh.goto(link)
            result(fresh)
            assert fresh.evaluate(state) == asked.evaluate(state)
            fresh.reload()
            assert result(fresh).evaluate(state) == asked.evaluate(state)


def test_the_button_copies_the_link_or_where_it_may_not_shows_it(asked) -> None:
    asked.get_by_role("radio", name="rollout", exact=True).check()
    asked.wait_for_timeout(300)
    asked.evaluate("() => { navigator.clipboard.writeText = async () => { throw new Error('not allowed'); }; }")
    asked.get_by_role("button", name="Copy link").click()
    expect(asked.locator("#link-said")).to_have_text(asked.url)
    asked.evaluate("() => { navigator.clipboard.writeText = async (text) => { window.copied = text; }; }")
    asked.get_by_role("button", name="Copy link").click()
    expect(asked.locator("#link-said")).to_have_text("The link is copied.")
    assert asked.evaluate("copied") == asked.url and "rollout" in asked.url


def test_an_address_that_is_still_to_follow_asks_nobody(asked) -> None:
    """The browser tells of a new address later than it is set: by then the page may show something else again."""
    asked.wait_for_timeout(300)
    with requests(asked) as sent:
        asked.evaluate("view.opacity = 0.5; saveLink(); window.dispatchEvent(new Event('hashchange'))")
        asked.wait_for_timeout(300)
        assert asked.evaluate("view.opacity") == 0.5 and "opacity=0.5" in asked.url
    assert not sent
    asked.evaluate("location.hash = location.hash.replace('opacity=0.5', 'opacity=0.25')")  # by hand: another link
    expect(asked.locator("#opacity")).to_have_value("0.25")


@pytest.mark.parametrize(
    "fragment", ["method=no&against=method:no&pin=99999&word=7777&out=1.x.-3&opacity=9&palette=no", "%%%", "question=Why%3F"]
)
def test_a_link_that_fits_nothing_breaks_nothing(browser, server, fragment) -> None:
    with watched(browser) as page:
        page.goto(f"{server.url}/#example=scene1.png&question=Is+there+a+circle%3F&{fragment}")
        expect(result(page).locator("#answers strong")).not_to_be_empty()


def test_a_link_about_somebodys_own_picture_says_so(browser, server) -> None:
    with watched(browser) as page:
        page.goto(f"{server.url}/#question=What+is+it%3F")
        expect(page.locator("#trouble")).to_contain_text("does not carry")
        expect(page.locator("#question")).to_have_value("What is it?")


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_a_picture_is_dropped_or_pasted(page, way) -> None:
    page.fill("#question", QUESTION)
    page.evaluate(
        """async ([way, base64]) => { const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0)), moved = new DataTransfer();
        moved.items.add(new File([bytes], "mine.jpg", { type: "image/jpeg" }));
        const event = way === "drop" ? new DragEvent("drop", { dataTransfer: moved, bubbles: true, cancelable: true })
          : new ClipboardEvent("paste", { clipboardData: moved, bubbles: true, cancelable: true });
        document.body.dispatchEvent(event); }""",
        [way, base64.b64encode(jpeg(300, 200)).decode()],
    )
    result(page)
    expect(page.locator("#chosen")).to_contain_text("mine.jpg, 300 × 200 pixels")  # noqa: RUF001
    assert page.evaluate("data.image_size") == [300, 200]


def test_a_photo_of_twenty_megapixels_is_made_smaller(page) -> None:
    page.fill("#question", QUESTION)
    give(page, "photo.jpg", jpeg(5472, 3648))
    result(page)
    expect(page.locator("#chosen")).to_have_text("photo.jpg, 5472 × 3648 pixels, sent as 2048 × 1365")  # noqa: RUF001
    assert page.evaluate("data.image_size") == [2048, 1365]


def test_what_is_no_picture_is_refused_and_the_result_stays(asked) -> None:
    give(asked, "notes.txt", b"no picture", "text/plain")
    expect(asked.get_by_role("alert")).to_contain_text("notes.txt is not a picture")
    expect(asked.locator("#answers strong")).to_be_visible()


def test_questions_that_cannot_be_asked(page) -> None:
    page.click("#submit")
    expect(page.get_by_role("alert")).to_contain_text("Choose a picture first")
    page.get_by_role("button", name=f"Example: {QUESTION}").click()
    for question, said in (("", "Write a question"), ("circle " * 500, "the server takes 2000"), ("circle " * 90, "tokens")):
        result(page).fill("#question", question)
        page.click("#submit")
        expect(page.get_by_role("alert")).to_contain_text(said)
    expect(page.locator("#answers strong")).to_be_visible()


def test_a_busy_server_is_asked_again(page) -> None:
    left = [2]

    def busy(route: Route) -> None:
        left[0] -= 1
        if left[0] >= 0:
            route.fulfill(status=503, headers={"Retry-After": "1"}, json={"error": "all places are taken", "code": "full"})
        else:
            route.continue_()

    page.route("**/v1/explain", busy)
    page.get_by_role("button", name=f"Example: {QUESTION}").click()
    expect(page.get_by_role("status").first).to_contain_text("The server is busy: trying again in 1 s")
    result(page)
    expect(page.locator("#status")).to_be_hidden()
    assert left == [-1]


def test_a_server_that_is_gone_is_waited_for(asked) -> None:
    asked.route("**/v1/**", lambda route: route.abort())
    asked.get_by_role("radio", name="leaves it out").check()
    asked.locator("#words button").first.click()
    asked.get_by_role("button", name="Ask again without them").click()
    expect(asked.get_by_role("status").first).to_contain_text("The server does not answer: trying again")
    asked.get_by_role("button", name="Stop waiting").click()
    expect(asked.locator("#status")).to_be_hidden()
    asked.get_by_role("button", name="Ask again without them").click()
    expect(asked.get_by_role("status").first).to_contain_text("The server does not answer: trying again")
    asked.unroute("**/v1/**")
    expect(asked.locator("#tried li")).to_have_count(1)


def test_a_key_is_asked_for(browser, demo, serving) -> None:
    with serving({"demo": demo}, keys=(b"open",)) as locked, watched(browser) as page:
        page.goto(locked.url)
        page.get_by_role("button", name=f"Example: {QUESTION}").click()
        expect(page.get_by_role("alert")).to_contain_text("The key is missing or wrong")
        page.get_by_label("This server asks for a key").fill("open")
        page.click("#submit")
        expect(result(page).locator("#answers strong")).to_be_visible()
