"""The report in a browser, from a disk: every control, on screens large and small, with hostile names, and without what it loads."""

from __future__ import annotations

import json
import re
import shutil
import time

import pytest

pytest.importorskip("playwright", reason="needs Playwright: pip install playwright")
pytest.importorskip("axe_playwright_python", reason="needs axe-core: pip install axe-playwright-python")
from playwright.sync_api import Page, expect

from xai.bench.measures.truth import SIZES
from xai.bench.perturb.shown import read_maps
from xai.tests.bench.perturb.page.conftest import NASTY
from xai.tests.serve.page.browser import requests, tab_to, violations, watched

METHODS = ["dsmi", "relevance-maps", "rollout", "random"]


def opened(page: Page) -> Page:
    """The page once a question is shown."""
    page.wait_for_selector("#question:not([hidden]) #maps canvas")
    return page


def indices(page: Page) -> list[int]:
    return page.evaluate("found.map((one) => one.index)")


def painted(page: Page, method: str = "dsmi") -> bytes:
    """What a map looks like: a page from a disk may not read the pixels of its own pictures."""
    return page.locator(f"#maps [data-method='{method}'] canvas").screenshot(animations="disabled")


def until(page: Page, condition: str) -> None:
    """Wait until a condition holds; the page's policy lets no other script look."""
    deadline = time.monotonic() + 20
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, condition
        page.wait_for_timeout(20)


def rows(page: Page) -> list[str]:
    return page.locator("#measures tbody th").all_inner_texts()


def test_the_table_is_sorted_by_every_column_and_shows_what_is_chosen(page, run) -> None:
    table = {row["method"]: row for row in json.loads((run / "table.json").read_text())["methods"]}
    assert rows(page) == METHODS
    for panel, sign in (("image+", 1), ("text-", -1)):
        head = page.locator("#measures thead tr").last.get_by_role("button", name=panel).first
        head.click()
        assert rows(page) == sorted(METHODS, key=lambda m: sign * table[m]["auc"][panel]["mean"])
        expect(page.locator("#sorted")).to_contain_text("the best first")
        head.click()
        assert rows(page) == sorted(METHODS, key=lambda m: -sign * table[m]["auc"][panel]["mean"])
        expect(page.locator("#sorted")).to_contain_text("the worst first")
        assert page.locator("#measures [aria-sort]").count() == 1
    page.get_by_role("button", name="method").click()
    assert rows(page) == METHODS
    cell = page.locator("#measures tr[data-method=dsmi] td").first
    auc = table["dsmi"]["auc"]["image+"]
    expect(cell).to_have_text(f"{auc['mean']:.2f} [{auc['low']:.1f}, {auc['high']:.1f}]")
    hidden = page.locator("#measures td[data-group]:visible").count()
    for box in page.locator("#groups input").all():
        box.check()
    assert page.locator("#measures td[data-group]:visible").count() > 3 * hidden
    expect(page.locator("#measures tr[data-method=dsmi]")).to_contain_text(f"{table['dsmi']['pointing']['mean']:.2f}")


def test_one_chart_shows_all_measures_with_the_floor_in_it(page) -> None:
    compared = page.evaluate("COLUMNS.filter((c) => c.better).length")
    assert compared == 4 + 2 + 4 + 4 + 2
    for method in METHODS:
        assert page.locator(f"#standing [data-method='{method}']").count() == compared
    assert page.locator("#standing path.floor-dot").count() == compared
    first = "[...document.querySelectorAll('#standing circle')].slice(0, 3)"
    places = page.evaluate(f"Object.fromEntries({first}.map((c) => [c.dataset.method, c.cx.baseVal.value]))")
    means = page.evaluate("Object.fromEntries(Object.entries(COLUMNS[0].values).map(([m, v]) => [m, v.mean]))")
    assert sorted(places, key=places.get) == sorted(places, key=means.get, reverse=True)  # image+: lower is better, and stands right
    assert page.locator("#curves svg").count() == 4
    for path in page.locator("#curves path[data-method='random']").all():
        assert path.get_attribute("class") == "floor-line"


def test_methods_are_followed_through_both_charts(page) -> None:
    button = page.locator("#chosen button[data-method=rollout]")
    assert page.locator("#curves path.followed[data-method=rollout]").count() == 0
    button.click()
    expect(page.locator("#chosen button[data-method=rollout]")).to_have_attribute("aria-pressed", "true")
    assert page.locator("#curves path.followed[data-method=rollout]").count() == 4
    assert page.locator("#standing circle[r='7'][data-method=rollout]").count() > 10
    assert "rollout" in (page.locator("#standing svg").get_attribute("aria-label") or "")
    button.click()
    assert page.locator("#curves path.followed[data-method=rollout]").count() == 0
    expect(button).to_be_focused()


def test_questions_are_filtered_and_ordered(page, run) -> None:
    known = [one for path in sorted((run / "report" / "maps").iterdir()) for one in read_maps(path)]
    expect(page.locator("#count")).to_have_text("60 of 60 questions")
    assert indices(page) == list(range(60))
    page.select_option("#order", "disagree")
    ranked = sorted(known, key=lambda one: (-one["disagreement"], one["index"]))
    assert indices(page) == [one["index"] for one in ranked]
    page.select_option("#agreement", "disagree")
    assert indices(page) == [one["index"] for one in ranked[: len(indices(page))]]
    assert 14 <= len(indices(page)) <= 17
    page.select_option("#agreement", "agree")
    assert {one["index"] for one in ranked[-len(indices(page)) :]} == set(indices(page))
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#count")).to_have_text("60 of 60 questions")
    by_size = {name: [] for name in [*SIZES, "none"]}
    for one in known:
        name = "none" if one["size"] is None else next(name for name, most in SIZES.items() if one["size"] <= most)
        by_size[name].append(one["index"])
    for name, wanted in by_size.items():
        page.select_option("#region", name)
        assert indices(page) == wanted
    page.select_option("#region", "")
    for order, sign in (("large", -1), ("small", 1)):
        page.select_option("#order", order)
        with_size = [one for one in known if one["size"] is not None]
        assert indices(page)[: len(with_size)] == [
            one["index"] for one in sorted(with_size, key=lambda one: (sign * one["size"], one["index"]))
        ]
    page.select_option("#order", "best")
    best = indices(page)
    page.select_option("#order", "worst")
    assert page.evaluate("found[0].gain") <= page.evaluate("found.at(-1).gain")
    assert set(best) == set(indices(page))
    page.select_option("#order", "run")
    page.fill("#search", "circle")
    assert indices(page) == [one["index"] for one in known if "circle" in one["text"] or "circle" in one["label"]]
    page.fill("#search", "")
    for flag in ("open", "none", "skipped"):
        page.select_option("#flag", flag)
    expect(page.locator("#count")).to_have_text("0 of 60 questions")
    page.select_option("#flag", "")
    page.select_option("#answer", "right")
    right = len(indices(page))
    page.select_option("#answer", "wrong")
    assert right + len(indices(page)) == 60


def test_the_list_is_turned_page_by_page(page) -> None:
    expect(page.locator("#where")).to_have_text("page 1 of 3")
    expect(page.locator("#before")).to_be_disabled()
    page.click("#after")
    page.click("#after")
    expect(page.locator("#list li")).to_have_count(12)
    expect(page.locator("#after")).to_be_disabled()
    page.click("#before")
    expect(page.locator("#where")).to_have_text("page 2 of 3")


def test_a_question_shows_maps_words_and_answers(page, run) -> None:
    with requests(page) as sent:
        page.locator("#list button").nth(9).click()
        opened(page)
    kinds = {re.search(r"report/(\w+)", request.url)[1] for request in sent}
    assert kinds == {"maps", "answers", "pictures"}
    one = next(q for q in read_maps(run / "report" / "maps" / "000007.js") if q["index"] == 9)
    lines = [json.loads(line) for line in (run / "results.jsonl").read_text().splitlines()]
    lines = [line for line in lines if line["index"] == 9]
    expect(page.locator("#asked")).to_have_text(one["text"])
    expect(page.locator("#asked")).to_be_focused()
    expect(page.locator("#said")).to_contain_text(lines[0]["answers"][0])
    assert page.locator("#maps button strong").all_inner_texts() == METHODS
    assert page.locator("#words .chip").count() == len(one["words"])
    for method in METHODS:
        page.locator(f"#maps button[data-method='{method}']").click()
        expect(page.locator("#words-title")).to_have_text(f"Words, by {method}")
        expect(page.locator("#answers tr.this th")).to_have_text(method)
        shown = [float(text) for text in page.locator("#words small").all_inner_texts()]
        assert shown == pytest.approx(one["maps"][method]["words"], rel=0.01, abs=1e-4)
    for panel in ("image+", "image-", "text+", "text-"):
        page.select_option("#panel", panel)
        sign = "positive" if panel.endswith("+") else "negative"
        for row, method in zip(page.locator("#answers tbody tr").all(), METHODS, strict=True):
            line = next(e for e in lines if (e["method"], e["modality"], e["sign"]) == (method, panel[:-1], sign))
            cells = row.locator("td").evaluate_all("(cells) => cells.map((c) => [c.firstChild.data, c.className])")
            assert cells == [[a, "" if s else "wrong"] for a, s in zip(line["answers"], line["accuracies"], strict=True)]


def test_maps_are_painted_as_they_are_asked_for(page) -> None:
    page.locator("#list button").nth(1).click()
    opened(page)
    seen = [painted(page)]
    page.select_option("#palette", "viridis")
    seen.append(painted(page))
    page.check("#squares")
    seen.append(painted(page))
    page.check("#outline")
    seen.append(painted(page))
    page.locator("#opacity").fill("0")
    seen.append(painted(page))
    for i, one in enumerate(seen):
        assert all(one != other for other in seen[:i])
    page.uncheck("#outline")
    alone = painted(page)
    page.select_option("#palette", "cividis")
    assert painted(page) == alone  # with no opacity every map is the picture, whatever its colours


def test_questions_follow_each_other_and_close(page) -> None:
    page.select_option("#order", "worst")
    page.locator("#list button").nth(23).click()
    opened(page)
    order = indices(page)
    expect(page.locator("#place")).to_contain_text("24 of 60")
    page.click("#next")
    until(page, f"shown.one.index === {order[24]}")
    expect(page.locator("#where")).to_have_text("page 2 of 3")
    page.click("#previous")
    until(page, f"shown.one.index === {order[23]}")
    page.click("#close")
    expect(page.locator("#question")).to_be_hidden()
    expect(page.locator(f"#list button[data-index='{order[23]}']")).to_be_focused()
    assert "question" not in page.url


def test_a_link_leads_back_to_what_was_seen(page) -> None:
    page.select_option("#order", "disagree")
    page.select_option("#region", "large")
    page.locator("#list button").nth(2).click()
    opened(page).locator("#maps button[data-method=rollout]").click()
    page.select_option("#panel", "text-")
    said, link = page.evaluate("[found.map((o) => o.index), view.index, view.method, view.panel]"), page.url
    page.goto("about:blank")
    page.goto(link)
    opened(page)
    assert page.evaluate("[found.map((o) => o.index), view.index, view.method, view.panel]") == said
    page.goto(link.split("#")[0] + "#question=3")
    until(page, "shown && shown.one.index === 3")
    expect(page.locator("#count")).to_have_text("60 of 60 questions")


def test_it_is_all_done_by_keyboard(page) -> None:
    tab_to(page, "#measures thead th:not(:first-child) button")
    page.keyboard.press("Enter")
    assert page.locator("#measures [aria-sort]").count() == 1
    tab_to(page, "#chosen button[data-method=rollout]")
    page.keyboard.press("Space")
    expect(page.locator("#chosen button[data-method=rollout]")).to_have_attribute("aria-pressed", "true")
    tab_to(page, "#list button")
    page.keyboard.press("Enter")
    opened(page)
    tab_to(page, "#maps button[data-method=rollout]")
    page.keyboard.press("Enter")
    expect(page.locator("#words-title")).to_have_text("Words, by rollout")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(browser, run, hostile, scheme) -> None:
    for folder in (run, hostile):
        with watched(browser, color_scheme=scheme) as page:
            page.goto((folder / "report.html").as_uri() + "#flag=&order=best")
            page.locator("#list button").first.click()
            opened(page)
            for box in page.locator("#groups input").all():
                box.check()
            page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
            assert violations(page) == []


def test_a_phone_shows_it_without_scrolling_sideways(browser, run) -> None:
    with watched(browser, viewport={"width": 320, "height": 640}, has_touch=True, is_mobile=True) as page:
        page.goto((run / "report.html").as_uri())
        page.wait_for_selector("#list li")
        page.locator("#list button").first.tap()
        opened(page)
        assert page.evaluate("document.documentElement.scrollWidth") == 320


def test_names_from_data_are_text(browser, hostile) -> None:
    with watched(browser) as page, requests(page) as sent:
        page.goto((hostile / "report.html").as_uri())
        page.wait_for_selector("#list li")
        first = page.evaluate("QUESTIONS.find((one) => one.text.includes('hacked')).index")
        page.evaluate(f"openQuestion({first})")
        expect(opened(page).locator("#asked")).to_have_text(NASTY)
        expect(page.locator("#place")).to_contain_text('"><i>0')
        expect(page.locator("#said")).to_contain_text('<img src=x onerror="hacked=1">')
        expect(page.locator("#said .wrong")).to_have_count(1)
        page.select_option("#flag", "skipped")
        expect(page.locator("#list")).to_contain_text("could not be used")
        page.locator("#list button").click()
        expect(page.locator("#notes")).to_contain_text("It could not be used")
        expect(page.locator("#maps")).to_be_hidden()
        page.select_option("#flag", "")
        page.select_option("#answer", "wrong")
        assert first in indices(page)
        assert page.evaluate("window.hacked") is None
    assert not [request.url for request in sent if not request.url.startswith(("file:", "data:"))]


def test_what_is_missing_is_named_and_the_rest_works(browser, run, tmp_path) -> None:
    shutil.copytree(run, tmp_path / "moved")
    (tmp_path / "moved" / "report" / "maps" / "000007.js").unlink()
    (tmp_path / "moved" / "report" / "pictures" / "000000.jpg").unlink()
    (tmp_path / "moved" / "report" / "answers" / "000000.js").write_text("nothing('of worth')")
    expected = ("Failed to load resource", "nothing is not defined", "Uncaught ReferenceError")
    with watched(browser, expected=expected) as page:
        page.goto((tmp_path / "moved" / "report.html").as_uri() + "#question=8")
        expect(page.locator("#trouble")).to_have_text("report/maps/000007.js cannot be loaded: keep the folder report beside this page.")
        page.evaluate("openQuestion(55)")
        opened(page)
        expect(page.locator("#trouble")).to_be_hidden()
        page.evaluate("openQuestion(0)")
        expect(page.locator("#trouble")).to_have_text("report/answers/000000.js is not as it was written: make the report again.")
    shutil.rmtree(tmp_path / "moved" / "report")
    with watched(browser) as page:
        page.goto((tmp_path / "moved" / "report.html").as_uri())
        expect(page.locator("#trouble")).to_contain_text("report/index.js cannot be loaded")
        expect(page.locator("#measures")).to_be_visible()
        expect(page.locator("#browse")).to_be_hidden()


def test_without_scripts_it_shows_the_table(browser, run) -> None:
    with watched(browser, java_script_enabled=False) as page:
        page.goto((run / "report.html").as_uri())
        expect(page.locator("#measures tbody tr")).to_have_count(len(METHODS))
        expect(page.locator("#measures td:visible")).to_have_count(1 + len(METHODS) * 16)
        expect(page.locator("#browse")).to_be_hidden()
        expect(page.locator("noscript")).to_be_visible()


def test_nothing_is_loaded_but_the_index_until_somebody_looks(browser, run) -> None:
    with watched(browser, viewport={"width": 1280, "height": 500}) as page, requests(page) as sent:
        page.goto((run / "report.html").as_uri())
        page.wait_for_selector("#list li")
        page.wait_for_timeout(200)
        loaded = [request.url.rsplit("/report/", 1)[-1] for request in sent if "/report/" in request.url]
    assert [name for name in loaded if not name.startswith("pictures/")] == ["index.js"]
    assert len(loaded) <= 25  # the pictures of one page of the list at most
