"""`xai explain --words`, `--without-words` and `--without-region`: what they write, and what is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

import xai
from xai.cli import main
from xai.commands.explain.leaving import patches_mask

EXAMPLES = Path(__file__).parents[2] / "examples"
SCENE, QUESTION = str(EXAMPLES / "scene1.png"), "What color is the circle?"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["explain", SCENE, QUESTION, *arguments])


def read(*arguments: str) -> dict[str, Any]:
    found = run(*arguments, "--json", "-")
    assert found.exit_code == 0, found.output
    return json.loads(found.stdout)


def refused(*arguments: str) -> str:
    found = run(*arguments)
    assert found.exit_code == 2 if "Usage:" in found.output else found.exit_code == 1
    return found.output.splitlines()[-1]


@pytest.fixture(scope="module")
def explainer() -> Any:
    return xai.load()


def test_words_are_written_as_python_gives_them(explainer, tmp_path) -> None:
    (one,) = read("--words", "-m", "relevance-maps")["explanations"]
    found = explainer.explain(SCENE, QUESTION, "relevance-maps", word_regions=True)
    assert one["word_regions_kind"] == "relevance"
    assert one["word_regions"] == found.word_regions.tolist()
    assert run("--words", "-m", "relevance-maps", "-m", "dsmi", "-o", str(tmp_path / "why.npz")).exit_code == 0
    with np.load(tmp_path / "why.npz") as arrays:
        assert (arrays["word_regions"][0] == found.word_regions).all()
        assert (arrays["region_words"] == np.moveaxis(arrays["word_regions"], 1, -1)).all()
        kinds = [one["word_regions_kind"] for one in json.loads(str(arrays["json"]))["explanations"]]
        assert kinds == ["relevance", "affinity"]


def test_words_go_with_pairs_and_another_run_is_not_resumed(tmp_path) -> None:
    pairs, lines = tmp_path / "pairs.jsonl", tmp_path / "out.jsonl"
    pairs.write_text(json.dumps({"image": SCENE, "question": QUESTION}) + "\n")
    asked = ["explain", "--pairs", str(pairs), "--json", str(lines)]
    assert CliRunner().invoke(main, [*asked, "--words"]).exit_code == 0
    assert np.shape(json.loads(lines.read_text())["explanations"][0]["word_regions"]) == (5, 12, 12)
    assert CliRunner().invoke(main, [*asked, "--words", "--resume"]).exit_code == 0
    assert "another pair, model or option" in CliRunner().invoke(main, [*asked, "--resume"]).output


def test_the_terminal_names_the_highest_place_of_each_word(explainer) -> None:
    found = explainer.explain(SCENE, QUESTION, "relevance-maps", word_regions=True)
    row, column = np.unravel_index(found.word_regions[4].argmax(), (12, 12))
    shown = run("--words", "-m", "relevance-maps").output
    assert "What goes with each word, by relevance-maps" in shown
    (line,) = [line for line in shown.splitlines() if "circle?" in line and "row" in line]
    assert f"row {row + 1}, column {column + 1}" in line
    assert "No relevance" in " ".join(run("--words", "-m", "dsmi").output.split())


def test_left_out_words_and_regions_are_those_of_answer(explainer) -> None:
    found = read("--without-words", "1,4", "--without-region", "0,0,60,41", "--without-region", "479,479,1,1")
    assert found["without_words"] == [1, 4]
    assert found["without_patches"] == [0, 1, 12, 13, 143]  # patches of 40 pixels: all that a region touches
    words, patches = np.isin(np.arange(5), [1, 4]), np.isin(np.arange(144), found["without_patches"])
    wanted = explainer.answer(SCENE, QUESTION, without_words=words, without_patches=patches)
    assert found["answer"]["id"] == wanted.answer.id
    assert abs(found["answer"]["probability"] - wanted.answer.probability) < 1e-4
    before = explainer.answer(SCENE, QUESTION).answer
    assert found["answer_before"]["id"] == before.id
    assert abs(found["answer_before"]["probability"] - before.probability) < 1e-4


def test_both_answers_are_said(tmp_path) -> None:
    shown = run("--without-words", "4").output
    assert "Answer: " in shown and "With nothing left out: red" in shown
    assert "left out by hand, and scored 0: the word 'circle?'" in shown
    line = run("--without-words", "4", "-o", str(tmp_path / "why.png"), "-o", str(tmp_path / "why.html")).output
    assert ", with nothing left out red (" in line
    assert "With nothing left out" in (tmp_path / "why.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--without-words", "5"], "--without-words names 5: the question has the words 0 'What', 1 'color'"),
        (["--without-words", "1,,2"], "is no list of numbers"),
        (["--without-words", "-1"], "is no list of numbers"),
        (["--without-words", "0,1,2,3,4"], "every word is left out"),
        (["--without-region", "0,0,480,480"], "every patch is left out"),
        (["--without-region", "470,0,11,10"], "the region 470,0,11,10 does not lie in the picture of 480 x 480 pixels"),
        (["--without-region", "1,2,3"], "is no region: give x,y,w,h"),
        (["--without-region", "1,2,3,0"], "is empty"),
        (["--without-region", "1.5,2,3,4"], "is no region: give x,y,w,h"),
    ],
)
def test_refusals(arguments, said) -> None:
    assert said in refused(*arguments)


def test_pairs_leave_nothing_out(tmp_path) -> None:
    found = CliRunner().invoke(main, ["explain", "--pairs", "pairs.jsonl", "--without-words", "1", "--json", "-"])
    assert found.exit_code == 2
    assert "are about one question" in found.output


def test_regions_count_in_pixels_of_the_upright_picture(explainer, tmp_path) -> None:
    wide = tmp_path / "wide.png"
    Image.new("RGB", (600, 300), "white").save(wide)
    image = explainer.prepare(wide)
    assert image.crop.box == (150, 0, 450, 300)  # 12 x 12 patches of 25 pixels
    assert np.flatnonzero(patches_mask(((100, 0, 51, 1),), image)).tolist() == [0]
    assert np.flatnonzero(patches_mask(((175, 25, 25, 25),), image)).tolist() == [13]
    assert np.flatnonzero(patches_mask(((174, 24, 27, 27),), image)).size == 9
    with pytest.raises(xai.XaiError, match="is cut away: the model saw 150,0,300,300 only"):
        patches_mask(((0, 0, 150, 300),), image)
