"""Chromium on a page of ours, watched: what a page says on its console is an error, unless a test expects it."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import axe_playwright_python
import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Page, Request, sync_playwright

from xai.serve.routes.page import EXAMPLES

SCENES = Path(__file__).parents[3] / "examples"
DATA = Path(__file__).parents[2] / "data"
QUESTION = EXAMPLES["scene1.png"]
AXE = Path(axe_playwright_python.__file__).parent / "axe.min.js"


def find_chromium() -> str | None:
    """Where a Chromium is, None where there is none."""
    return next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)


@contextmanager
def chromium(path: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--headless=new"])
        yield browser
        browser.close()


@contextmanager
def watched(browser: Browser, expected: tuple[str, ...] = ("Failed to load resource",), **options: Any) -> Iterator[Page]:
    """A fresh profile with one page. A refused answer of the server is on the console too: it is expected."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    yield page
    context.close()
    assert [text for text in said if not text.startswith(expected)] == []


def violations(page: Page) -> list[str]:
    """What axe-core finds wrong with what is shown."""
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run()")["violations"]
    return [f"{one['id']}: {node['html'][:120]} {node['failureSummary'][:160]}" for one in found for node in one["nodes"]]


def tab_to(page: Page, selector: str) -> None:
    """Press Tab until the focus is there, as often as the largest page needs."""
    for _ in range(150):
        page.keyboard.press("Tab")
        if page.evaluate("(s) => document.activeElement.matches(s)", selector):
            return
    raise AssertionError(f"{selector} is not reached by Tab")


def result(page: Page) -> Page:
    """The page, once an answer is shown and nothing is waited for."""
    page.wait_for_selector("#result:not([hidden]):not([aria-busy])")
    return page


def at_patch(page: Page, row: int, column: int, stage: int = 0) -> tuple[float, float]:
    """Where the middle of a patch lies on the screen."""
    canvas = page.locator("#stages canvas").nth(stage)
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    place = page.evaluate("(width) => placeOf(data, width)", box["width"])
    return box["x"] + place["left"] + (column + 0.5) * place["across"], box["y"] + place["top"] + (row + 0.5) * place["down"]


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

    def note(request: Request) -> None:
        sent.append(request)

    page.on("request", note)
    yield sent
    page.remove_listener("request", note)
