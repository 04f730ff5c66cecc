"""What is refused before the heavy libraries are loaded, and what --quiet and --verbose say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from tokenizers import Tokenizer, models, processors

import xai
from xai.cli import main

EXAMPLES = Path(xai.__file__).parent / "examples"
SCENE, QUESTION = str(EXAMPLES / "scene1.png"), "What color is the circle?"

LISTED = """
import sys
from xai.cli import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    print(end.code, sorted({"torch", "onnxruntime", "tokenizers", "matplotlib", "scipy"}.intersection(sys.modules)))
"""


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([SCENE, QUESTION, "-m", "lime"], 1, "unknown method 'lime'"),
        ([SCENE, SCENE], 2, "is an image: add the question behind the images"),
        ([SCENE, "other.PNG"], 2, "'other.PNG' is an image: add the question"),
        ([SCENE], 2, "name an image, or several, and then the question"),
        ([], 2, "name an image, or several, and then the question"),
        (["none.png", QUESTION], 1, "image none.png does not exist"),
        ([SCENE, QUESTION, "-o", "out.docx"], 1, "cannot save out.docx: its name must end with"),
        ([SCENE, QUESTION, "--model", "none"], 1, "model none does not exist"),
        ([SCENE, QUESTION, "--answers", "none.json"], 1, "--answers is for a checkpoint"),
        ([SCENE, QUESTION, "--target", " "], 1, "the target is empty"),
        ([SCENE, QUESTION, "--versus", ""], 1, "versus is empty"),
        ([SCENE, QUESTION, "--versus", "blue", "-m", "rollout", "-m", "random"], 1, "versus says nothing to rollout, random"),
        ([SCENE, QUESTION, "--as-published", "--versus", "blue"], 1, "--as-published explains the model's own answer"),
        (["--pairs", "none.jsonl", "--json", "-"], 1, "none.jsonl cannot be read"),
    ],
)
def test_what_is_wrong_by_itself_is_refused_before_anything_heavy_is_loaded(tmp_path, arguments, code, message) -> None:
    done = subprocess.run([sys.executable, "-c", LISTED, "explain", *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == f"{code} []\n", done.stderr
    assert message in done.stderr.splitlines()[-1]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments", [["-m", "lime"], ["--chart", "a.svg"], ["--model", "none"], ["--json", "no/such.json"]])
def test_latency_too(tmp_path, arguments) -> None:
    asked = [sys.executable, "-c", LISTED, "bench", "latency", *arguments]
    done = subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "1 []\n", done.stderr


def test_a_question_that_names_a_file_type_is_still_a_question(tmp_path) -> None:
    found = CliRunner().invoke(main, ["explain", SCENE, "Is this a circle.png", "--json", str(tmp_path / "a.json")])
    assert found.exit_code == 0, found.output


def test_the_line_names_every_file_that_was_written(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = CliRunner().invoke(main, ["explain", SCENE, QUESTION, "-o", "a.npz", "--json", "b.json"])
    assert found.stdout == f"{SCENE}: red (>99.9%) -> a.npz -> b.json\n"
    found = CliRunner().invoke(main, ["explain", SCENE, str(EXAMPLES / "scene2.png"), QUESTION, "--json", "c.jsonl"])
    assert found.stdout.splitlines()[-1] == "2 JSON lines -> c.jsonl"


def test_quiet_leaves_the_result_and_verbose_says_more(tmp_path) -> None:
    def run(*more: str):
        return CliRunner().invoke(main, ["explain", SCENE, "circle", "-m", "dsmi", "--json", str(tmp_path / "a.json"), *more])

    plain, quiet, verbose = run(), run("--quiet"), run("-v")
    assert plain.stdout == quiet.stdout == verbose.stdout
    assert "Note: " in plain.stderr
    assert quiet.stderr == ""
    assert plain.stderr in verbose.stderr or set(plain.stderr.splitlines()) <= set(verbose.stderr.splitlines())
    assert "the demo model: session onnx, float32" in verbose.stderr
    assert " total " in verbose.stderr
    assert CliRunner().invoke(main, ["explain", "none.png", QUESTION, "-q"]).stderr == "Error: image none.png does not exist\n"
    assert "because of FileNotFoundError" in CliRunner().invoke(main, ["explain", "none.png", QUESTION, "-v"]).stderr
    assert run().stderr == plain.stderr  # nothing lasts


@pytest.mark.filterwarnings("default:.*left out:UserWarning")
def test_a_tokenizer_that_the_built_in_question_does_not_fit(tiny, tmp_path) -> None:
    tokenizer = Tokenizer(models.BPE({"<s>": 0, "</s>": 2, "z": 3}, []))  # letters that it lacks leave no token
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    options = ["--model", str(tiny.checkpoint), "--tokenizer", str(tmp_path / "tokenizer.json"), "--image-size", "96"]
    options += ["--iterations", "1", "--warmup", "0", "--no-render"]
    found = CliRunner().invoke(main, ["bench", "latency", *options])
    assert found.exit_code == 1, found.output
    assert found.stderr.splitlines()[-1].endswith("; or give a question of your own with --question")
    fits = CliRunner().invoke(main, ["bench", "latency", *options, "--question", "zz z"])
    assert fits.exit_code == 0, fits.output


DEEP = "a/" * 3000 + "why.png"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["explain", SCENE, QUESTION, "-o", DEEP], 1, "File name too long"),
        (["explain", SCENE, QUESTION, "-o", DEEP, "-o", "out/"], 1, "File name too long"),
        (["explain", SCENE, QUESTION, "--json", DEEP], 1, "File name too long"),
        (["explain", SCENE, QUESTION, "-o", "new/er/", "-o", DEEP.removesuffix("why.png")], 1, "File name too long"),
        (["inspect", "nowhere", "--model", "a\nb"], 2, "name one model, not nowhere and a b"),
        (["bench", "perturb", "--samples", "1", "-o", "run", "--batch", str(2**63)], 2, "'--batch'"),
        (["bench", "perturb", "--samples", "1", "-o", "run", "--seed", str(2**63)], 2, "'--seed'"),
        (["serve", "--threads", "100000"], 2, "'--threads'"),
        (["export", "demo", "-o", "made", "--lrp"], 1, "meter has no layer-wise relevance propagation to export"),
        (["explain", SCENE, QUESTION, "-m", "partial-lrp"], 1, "which this model does not give"),
    ],
)
def test_what_the_fuzzers_found_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, arguments, code, message) -> None:
    monkeypatch.chdir(tmp_path)
    found = CliRunner().invoke(main, arguments)
    said = [line for line in found.stderr.splitlines() if not line.startswith(("Usage: ", "Try ")) and line]
    assert found.exit_code == code, found.exception
    assert len(said) == 1 and message in said[0]
    assert not list(tmp_path.iterdir())


def test_boxes_that_the_model_does_not_take_are_refused_once(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = CliRunner().invoke(main, ["explain", SCENE, str(EXAMPLES / "scene2.png"), QUESTION, "--boxes", "nowhere", "--json", "-"])
    assert found.exit_code == 1
    assert found.stderr.splitlines() == ["Error: meter looks at a picture's pixels, not at boxes: give the picture alone"]
