"""A Chromium for the tests of the page, and what they begin with. Where there is none, they are skipped."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from xai.runtime.show.save import save

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture(scope="module")  # no longer: while it runs, so does an event loop, and no other test can start one
def browser() -> Iterator[Browser]:
    from xai.tests.serve.page.browser import chromium, find_chromium

    path = find_chromium()
    if path is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    with chromium(path) as running:
        yield running


@pytest.fixture
def page(browser, server) -> Iterator[Page]:
    """The page, before anything is asked."""
    from xai.tests.serve.page.browser import watched

    with watched(browser) as opened:
        opened.goto(server.url)
        yield opened


@pytest.fixture
def asked(page) -> Page:
    """The page with its first example explained."""
    from xai.tests.serve.page.browser import QUESTION, result

    page.get_by_role("button", name=f"Example: {QUESTION}").click()
    return result(page)


@pytest.fixture(scope="package")
def every(direct):
    """The first example by every method, as a program gets it."""
    from xai.tests.serve.page.browser import QUESTION, SCENES

    return direct.explain_methods(SCENES / "scene1.png", QUESTION)


@pytest.fixture(scope="package")
def file(every, tmp_path_factory) -> str:
    """The address of the page as a file."""
    path = tmp_path_factory.mktemp("page") / "why.html"
    save(every, path)
    return path.as_uri()
