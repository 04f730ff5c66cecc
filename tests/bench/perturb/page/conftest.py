"""Reports of runs of the demo model, in a browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from xai.bench.data.scenes import SCENE_SIDE, samples
from xai.cli import main

if TYPE_CHECKING:
    from playwright.sync_api import Page

NASTY = '<img src=x onerror="hacked=1">?'


@pytest.fixture(scope="package")
def run(tmp_path_factory) -> Path:
    """The folder of a run on 60 scenes."""
    out = tmp_path_factory.mktemp("run") / "out"
    options = ["--samples", "60", "--methods", "dsmi,relevance-maps,rollout", "--batch", "7", "--threads", "1", "-o", str(out)]
    result = CliRunner().invoke(main, ["bench", "perturb", *options])
    assert result.exit_code == 0, result.output
    return out


@pytest.fixture(scope="package")
def hostile(tmp_path_factory) -> Path:
    """The folder of a run whose questions, ids, names of images and answers are HTML, with a wrong answer and an image that is broken."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "data").mkdir()
    entries = []
    for i, (scene, question) in enumerate(samples(5, 4)):
        name = f"<b>{i}.png"
        scene.draw(SCENE_SIDE).save(folder / "data" / name)
        label = question.answer if i else '<img src=x onerror="hacked=1">'
        entries.append({"image": name, "question": question.text if i else NASTY, "label": label, "question_id": f'"><i>{i}'})
    (folder / "data" / "<b>1.png").write_bytes(b"broken")
    (folder / "data" / "questions.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    options = ["--data", str(folder / "data"), "--methods", "rollout", "--skip-broken", "--threads", "1", "-o", str(folder / "out")]
    result = CliRunner().invoke(main, ["bench", "perturb", *options])
    assert result.exit_code == 0, result.output
    return folder / "out"


@pytest.fixture
def page(browser, run) -> Iterator[Page]:
    """The report, with its list of questions."""
    from xai.tests.serve.page.browser import watched

    with watched(browser) as opened:
        opened.goto((run / "report.html").as_uri())
        opened.wait_for_selector("#list li")
        yield opened
