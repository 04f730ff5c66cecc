"""One explanation of a bundle: weights where they lie, checked before any number is told, and the numbers of any other session."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import xai
from xai.cli import main
from xai.meter.demo import BUNDLE

SCENE = Path(__file__).parents[2] / "examples" / "scene1.png"
QUESTION = "What color is the circle?"
GRAPHS = ("encode_image", "embed_text", "evidence")


@pytest.fixture
def large(tmp_path, monkeypatch) -> Path:
    """The demo's bundle, which counts as a large one."""
    monkeypatch.setattr("xai.runtime.bundle.manifest.LARGE", 1)
    folder = tmp_path / "bundle"
    folder.mkdir()
    for file in BUNDLE.iterdir():
        if file.is_file():
            shutil.copy(file, folder)
    return folder


def test_a_large_bundle_gives_the_same_where_its_weights_lie(large) -> None:
    lean = xai.load(large, threads=1, once=GRAPHS)
    assert lean.session.lean
    assert not xai.load(large, threads=1).session.lean
    found, wanted = (each.explain(SCENE, QUESTION) for each in (lean, xai.load(large, threads=1)))
    assert found.answer.id == wanted.answer.id
    for ours, theirs in ((found.image_relevance, wanted.image_relevance), (found.text_relevance, wanted.text_relevance)):
        assert np.abs(ours - theirs).max() <= 1e-4 * np.abs(theirs).max()


@pytest.mark.parametrize("options", [[], ["-m", "dsmi-grad@all"], ["--words"]])
def test_the_command_takes_it_for_one_image(large, options) -> None:
    done = CliRunner().invoke(main, ["explain", str(SCENE), QUESTION, "--model", str(large), "--json", "-", *options])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["answer"]["text"] == "red"


def test_altered_weights_are_refused_and_nothing_is_told(large) -> None:
    weights = bytearray((large / "weights.bin").read_bytes())
    weights[1000] ^= 1
    (large / "weights.bin").write_bytes(weights)
    done = CliRunner().invoke(main, ["explain", str(SCENE), QUESTION, "--model", str(large), "--json", "-"])
    assert done.exit_code == 1 and done.stdout == ""
    assert "weights.bin is not the file that its manifest describes" in done.stderr
