"""The command as a user types it."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from xai.cli import main
from xai.runtime.methods import find_methods

QUESTION = "t19 t18 t96"

pytestmark = pytest.mark.filterwarnings("default:.*left out:UserWarning")  # the command shows it; here it is no failure


@pytest.fixture
def run(tiny, tmp_path, monkeypatch):
    """Runs `xai explain` on the tiny model, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments, stdin=None, model=True):
        options = tiny.cli_options if model else []
        return CliRunner().invoke(main, ["explain", *map(str, arguments), *options], input=stdin)

    return run


def listing(folder) -> dict[str, bytes | None]:
    """Everything below a folder, with its content."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


def refused(result, message: str, before: dict, tmp_path) -> None:
    """One line, exit code 1, nothing written."""
    assert result.exit_code == 1, result.output
    lines = [line for line in result.stderr.splitlines() if not line.startswith("Warning")]
    assert len(lines) == 1
    assert lines[0].startswith("Error: ")
    assert message in lines[0]
    assert not result.stdout
    assert listing(tmp_path) == before


def test_without_output_it_prints_the_answer_words_and_a_picture(run, tiny) -> None:
    result = run(tiny.image(0), QUESTION)
    assert result.exit_code == 0, result.output
    for text in ("answer", "t19", "t18", "t96", "dsmi-grad"):
        assert text in result.stdout


@pytest.mark.parametrize("methods", [["dsmi"], ["dsmi", "rm"], ["all"]])
def test_every_output_format(run, tiny, tmp_path, methods) -> None:
    outputs = [f"out.{suffix}" for suffix in ("png", "html", "json", "npz")]
    arguments = [a for m in methods for a in ("--method", m)] + [a for o in outputs for a in ("-o", o)]
    result = run(tiny.image(0), QUESTION, *arguments, "--json", "out2.json")
    assert result.exit_code == 0, result.output
    names = [m.name for m in find_methods("all")] if methods == ["all"] else ["dsmi", "relevance-maps"][: len(methods)]
    for file in ("out.json", "out2.json"):
        content = json.loads((tmp_path / file).read_text())
        assert content["schema_version"] == 1
        assert [e["method"] for e in content["explanations"]] == names
    with np.load(tmp_path / "out.npz", allow_pickle=False) as arrays:
        assert arrays["image_relevance"].shape == (len(names), 6, 6)
        assert np.allclose(arrays["image_relevance"][0].ravel(), content["explanations"][0]["image_relevance"])
    with Image.open(tmp_path / "out.png") as picture:
        assert min(picture.size) > 300
    assert "://" not in (tmp_path / "out.html").read_text()
    assert sorted(f.name for f in tmp_path.iterdir()) == sorted([*outputs, "out2.json"])


def test_json_schema(run, tiny) -> None:
    content = json.loads(run(tiny.image(0), QUESTION, "--json", "-", "--target", "answer3", "--top-k", 2).stdout)
    assert set(content["answer"]) == {"id", "text", "logit", "probability"}
    assert content["target"]["text"] == "answer3"
    assert len(content["top"]) == 2
    assert content["tokens"] == ["<s>", "t19", "t18", "t96", "</s>"]
    assert content["token_ids"] == [0, 19, 18, 96, 2]
    assert content["grid"] == [6, 6]
    (e,) = content["explanations"]
    assert (e["method"], e["layers"]) == ("dsmi-grad", "first")
    assert len(e["image_relevance"]) == 36
    assert len(e["text_relevance"]) == 5
    assert {r["graph"] for r in e["solver"]} == {"text0", "image0"}
    assert content["session"] == "eager"
    assert content["precision"] == "float32"
    assert content["timings_ms"]["total"] > 0


def test_layers_all_is_another_way_to_write_the_methods_that_sum_all_layers(run, tiny) -> None:
    def explanations(*arguments):
        return json.loads(run(tiny.image(0), QUESTION, *arguments, "--json", "-").stdout)["explanations"]

    (short,), (full,) = explanations("--layers", "all"), explanations("-m", "dsmi-grad@all")
    assert (full["method"], full["layers"]) == ("dsmi-grad", "all")
    assert short == full != explanations()[0]
    both = explanations("-m", "dsm_grad", "-m", "rollout", "-m", "dsmi-grad@all", "--layers", "all")
    assert [(e["method"], e["layers"]) for e in both] == [("dsmi-grad", "all"), ("rollout", None)]


def test_several_images_a_folder_and_standard_input(run, tiny, tmp_path) -> None:
    single = json.loads(run(tiny.image(0), QUESTION, "--json", "-").stdout)
    (tmp_path / "in").mkdir()
    for c in (0, 1):
        (tmp_path / "in" / f"{c}.png").write_bytes(tiny.image(c).read_bytes())
    (tmp_path / "in" / "notes.txt").write_text("no image")
    result = run("in", QUESTION, "--json", "-", "-o", "pictures/")
    assert result.exit_code == 0, result.output
    objects = [json.loads(line) for line in result.stdout.splitlines()]
    assert [o["image"] for o in objects] == ["in/0.png", "in/1.png"]
    assert objects[0]["explanations"] == single["explanations"]
    assert {f.name for f in (tmp_path / "pictures").iterdir()} == {"0.png", "1.png"}
    assert run("in/0.png", "in/1.png", QUESTION, "-o", "{name}.json").exit_code == 0
    assert {"0.json", "1.json"} <= {f.name for f in tmp_path.iterdir()}
    piped = run("-", QUESTION, "--json", "-", stdin=tiny.image(0).read_bytes())
    assert json.loads(piped.stdout)["explanations"] == single["explanations"]
    assert json.loads(piped.stdout)["image"] == "standard input"
    assert "standard input is not an image" in run("-", QUESTION, stdin=b"no image").stderr


def test_a_broken_image_among_several_is_named_and_the_others_are_done(run, tiny, tmp_path) -> None:
    (tmp_path / "broken.png").write_text("no image")
    result = run("broken.png", tiny.image(0), QUESTION, "--json", "-")
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 1
    assert "broken.png is not an image" in result.stderr
    assert "1 of 2 images could not be explained" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.png", QUESTION], "none.png does not exist"),
        (["IMAGE", ""], "the question is empty"),
        (["IMAGE", "   "], "the question is empty"),
        (["IMAGE", "t5 " * 600], "602 tokens and the model takes 512"),
        (["IMAGE", QUESTION, "--method", "lime"], "unknown method 'lime': choose from dsmi"),
        (["IMAGE", QUESTION, "--target", "maybe"], "does not know the answer 'maybe'"),
        (["IMAGE", QUESTION, "-o", "out.gif"], "out.gif"),
        (["IMAGE", QUESTION, "-o", "no/such/out.png"], "no/such/out.png"),
        (["IMAGE", QUESTION, "--json", "no/such/out.json"], "no/such/out.json"),
        (["IMAGE", "IMAGE1", QUESTION, "-o", "out.png"], "more than one explanation would be written to out.png: use {name}"),
        (["a/own.png", "own.png", QUESTION, "-o", "empty"], "a/own.png and own.png have one name, explain them apart"),
        (["IMAGE", QUESTION, "-o", "q.png", "-o", "empty/../q.png"], "more than one explanation would be written to"),
        (["IMAGE", QUESTION, "-o", "q.json", "--json", "q.json"], "more than one explanation would be written to q.json"),
        (["own.png", QUESTION, "-o", "."], "own.png is one of the images"),
        (["own.png", QUESTION, "-o", "own.png"], "own.png is one of the images"),
        (["own.png", QUESTION, "--json", "own.png"], "own.png is one of the images"),
        (["IMAGE", QUESTION, "-o", ""], "an output name is empty"),
        (["IMAGE", QUESTION, "--json", ""], "the name after --json is empty"),
        (["text.png", QUESTION, "-o", "new/"], "text.png is not an image"),
        (["IMAGE", "", "-o", "new/"], "the question is empty"),
        (["IMAGE", "IMAGE1", "", "-o", "new/"], "the question is empty"),
        (["IMAGE", QUESTION, "-o", "ok.png", "-o", "/proc/no.json"], "cannot save /proc/no.json"),
        (["IMAGE", QUESTION, "-o", "ok.png", "--json", "/proc/no.json"], "cannot save /proc/no.json"),
        (["IMAGE", QUESTION, "-o", "n" * 300 + ".png"], "name too long"),
        (["n" * 300 + ".png", QUESTION], "name too long"),
        (["two\nlines.png", QUESTION], "two lines.png does not exist"),
        (["IMAGE", "why \udcff?"], "not UTF-8"),
        (["IMAGE", QUESTION, "--target", "9" * 5000], "does not know the answer"),
        (["IMAGE", QUESTION, "-m", "all", "-m", "bogus"], "unknown method 'bogus'"),
        (["EMPTY", QUESTION], "holds no image"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(run, tiny, tmp_path, arguments, message) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "own.png").write_bytes(tiny.image(1).read_bytes())
    (tmp_path / "own.png").write_bytes(tiny.image(0).read_bytes())
    (tmp_path / "text.png").write_text("no image")
    places = {"IMAGE": str(tiny.image(0)), "IMAGE1": str(tiny.image(1)), "EMPTY": "empty"}
    before = listing(tmp_path)
    refused(run(*[places.get(a, a) for a in arguments]), message, before, tmp_path)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--model", "none.ckpt", "model none.ckpt does not exist"),
        ("--model", "text.txt", "text.txt is not a readable checkpoint"),
        ("--answers", "none.json", "answer file none.json does not exist"),
        ("--answers", "few.json", "few.json has 1 names, the classifier 17 rows"),
        ("--tokenizer", "text.txt", "text.txt is not a tokenizer"),
        ("--image-size", "100", "not a multiple of the patch size 16: use 96"),
        ("--image-size", "1", "not a multiple of the patch size 16: use 16"),
        ("--image-size", "1600000", "2048 is the largest"),
    ],
)
def test_files_that_do_not_fit_are_named(run, tiny, tmp_path, option, value, message) -> None:
    (tmp_path / "text.txt").write_text("some text")
    (tmp_path / "few.json").write_text('["yes"]')
    options = dict(zip(tiny.cli_options[::2], tiny.cli_options[1::2], strict=True)) | {option: value}
    arguments = [part for pair in options.items() for part in pair]
    before = listing(tmp_path)
    refused(run(tiny.image(0), QUESTION, *arguments, "-o", "out.png", model=False), message, before, tmp_path)


def test_a_link_a_pipe_and_a_mode_survive(run, tiny, tmp_path) -> None:
    (tmp_path / "real.json").write_text("{}")
    (tmp_path / "real.json").chmod(0o600)
    (tmp_path / "link.json").symlink_to("real.json")
    assert run(tiny.image(0), QUESTION, "-o", "link.json").exit_code == 0
    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "real.json").stat().st_mode & 0o777 == 0o600
    assert json.loads((tmp_path / "real.json").read_text())["schema_version"] == 1
    os.mkfifo(tmp_path / "pipe.json")
    reader = subprocess.Popen(["cat", "pipe.json"], stdout=subprocess.PIPE, cwd=tmp_path)
    assert run(tiny.image(0), QUESTION, "--json", "pipe.json").exit_code == 0
    assert json.loads(reader.communicate(timeout=60)[0])["schema_version"] == 1
    assert stat.S_ISFIFO((tmp_path / "pipe.json").stat().st_mode)


def test_a_name_that_is_not_utf8_goes_everywhere(run, tiny, tmp_path) -> None:
    name = os.fsdecode(b"odd\xff.png")
    (tmp_path / name).write_bytes(tiny.image(0).read_bytes())
    for arguments in (["-o", "out/"], ["-o", "o.html", "-o", "o.npz", "--json", "o.json"], ["--json", "-"], []):
        result = run(name, QUESTION, *arguments)
        assert result.exit_code == 0, (arguments, result.output, result.exception)
    assert json.loads((tmp_path / "o.json").read_text())["image"] == name


@pytest.mark.parametrize("arguments", [[], ["image.png"], ["image.png", "why?", "--layers", "last"], ["image.png", "why?", "--top-k", "0"]])
def test_wrong_usage_exits_with_2(run, arguments) -> None:
    assert run(*arguments, model=False).exit_code == 2


def test_help_and_version_load_nothing_heavy() -> None:
    code = "import sys; from xai.cli import main; main(['explain', '--help'], standalone_mode=False); print(sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    for heavy in ("'torch'", "'onnxruntime'", "'transformers'", "'matplotlib'", "'scipy'"):
        assert heavy not in loaded
    assert CliRunner().invoke(main, ["--version"]).output.startswith("xai, version")


def test_every_option_has_help() -> None:
    for command in main.commands.values():
        assert command.help
        for option in command.params:
            assert option.param_type_name == "argument" or option.help, option.name


def test_a_report_does_not_go_where_the_json_goes(run, tiny) -> None:
    found = run(tiny.image(0), QUESTION, "--solver-report", "--json", "-")
    assert found.exit_code == 2
    assert "--solver-report is printed where --json - goes" in found.stderr


def test_a_forgotten_question_is_what_is_missing(run, tiny) -> None:
    found = run(str(tiny.image(0)))
    assert found.exit_code == 2
    assert "name an image, or several, and then the question" in found.stderr
