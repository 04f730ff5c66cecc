"""The page in a browser: every interaction, on the demo, on a ViLT whose grid is not square, and in the file alone."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from PIL import Image

import xai
from xai.runtime.methods import AS_PUBLISHED
from xai.runtime.show.save import save
from xai.runtime.show.scale import distinct, is_flat, scaled
from xai.runtime.show.theme import heat, ink, paint
from xai.serve.routes.page import EXAMPLES

pytest.importorskip("playwright", reason="needs Playwright: pip install playwright")
pytest.importorskip("axe_playwright_python", reason="needs axe-core: pip install axe-playwright-python")
from playwright.sync_api import Browser, Page, Route, expect

from xai.tests.serve.browser import at_patch, chromium, find_chromium, result, violations, watched

CHROMIUM = find_chromium()
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: apt-get install chromium")

SCENES = Path(__file__).parents[2] / "examples"
QUESTION = EXAMPLES["scene1.png"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium(CHROMIUM) as running:
        yield running


@pytest.fixture
def page(browser, server) -> Iterator[Page]:
    """The page, before anything is asked."""
    with watched(browser) as opened:
        opened.goto(server.url)
        yield opened


@pytest.fixture
def asked(page) -> Page:
    """The page with its first example explained."""
    page.get_by_role("button", name=f"Example: {QUESTION}").click()
    return result(page)


@pytest.fixture(scope="module")
def every(direct):
    """The first example by every method, as a program gets it."""
    return direct.explain_methods(SCENES / "scene1.png", QUESTION)


@pytest.fixture(scope="module")
def file(every, tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("page") / "why.html"
    save(every, path)
    return path.as_uri()


def panel(page: Page, index: int = 0) -> dict:
    found = page.evaluate(f"(({{title, values, scale}}) => ({{title, values, scale}}))(stages[{index}].panel)")
    return {**found, "values": np.array(found["values"])}


def jpeg(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.open(SCENES / "scene1.png").convert("RGB").resize((width, height)).save(file, "jpeg", quality=60)
    return file.getvalue()


def give(page: Page, name: str, content: bytes, kind: str = "image/jpeg") -> None:
    page.set_input_files("#file", {"name": name, "mimeType": kind, "buffer": content})


@contextmanager
def requests(page: Page) -> Iterator[list]:
    sent: list = []
    page.on("request", sent.append)
    yield sent
    page.remove_listener("request", sent.append)


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
    wanted = np.asarray(heat(values, 320)).astype(int)
    assert np.abs(np.array(drawn).reshape(320, 320, 4) - wanted).mean() < 1.5


def test_two_methods_are_compared_on_one_scale(asked, every) -> None:
    asked.get_by_role("radio", name="dsmi", exact=True).check()
    asked.select_option("#against", "method:rollout")
    first, second, difference = (panel(asked, i) for i in range(3))
    maps = {e.full_name: e.image_relevance.ravel() / e.image_relevance.sum() for e in every}
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
        assert arrays["methods"].tolist() == list(AS_PUBLISHED)
    with Image.open(io.BytesIO(found["PNG"])) as picture:
        assert picture.width == 704 and len(set(picture.convert("L").resize((64, 64)).getdata())) > 20


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
            assert panel(page)["values"] == pytest.approx(every[7].image_relevance.ravel(), rel=1e-6)
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
        expect(result(page).locator("[name=method]")).to_have_count(len(AS_PUBLISHED))


def test_a_grid_that_is_not_square(browser, serving) -> None:
    vilt = xai.load(Path(__file__).parents[1] / "data" / "vilt_tiny")
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


def test_the_page_takes_little(server) -> None:
    page = server.client.get("/")
    assert len(page.content) < 150_000
    assert page.text.count("<script") == 3 and "https://" not in page.text and "http://" not in page.text
    assert "'unsafe-inline'" not in re.search(r"script-src[^;]*", page.headers["content-security-policy"])[0]
