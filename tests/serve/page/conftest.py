"""What the tests of the page begin with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from xai.runtime.show.save import save

if TYPE_CHECKING:
    from playwright.sync_api import Page


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
