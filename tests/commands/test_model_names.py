"""One way to name a model: --model and XAI_MODEL in every command, the same in `xai.load`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import xai
from xai.cli import main
from xai.models.load import ONLY_CHECKPOINTS, ModelOptions, find_model, option_name

ROOT = Path(xai.__file__).parent
BUNDLE = ROOT / "meter" / "demo" / "bundle"
SCENE, QUESTION = str(ROOT / "examples" / "scene1.png"), "What color is the circle?"


def run(*arguments: object, **environment: str):
    return CliRunner().invoke(main, list(map(str, arguments)), env=environment)


def test_a_name_is_the_demo_a_folder_or_a_file(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "meter.ckpt").write_text("")
    assert find_model("demo").kind == "demo"
    assert find_model(tmp_path).kind == "bundle"
    assert find_model("meter.ckpt").kind == "checkpoint"
    (tmp_path / "demo").mkdir()
    assert (find_model("demo").kind, find_model("./demo").kind) == ("demo", "bundle")
    for wrong, message in (
        ("", "is empty"),
        ("none", "model none does not exist: name demo"),
        ("x" * 300, "too long"),
        ("a\0b", "does not exist"),
    ):
        with pytest.raises(xai.BadInput, match=message):
            find_model(wrong)


def test_the_variable_names_the_model_where_nothing_else_does(tmp_path, monkeypatch) -> None:
    answers = [json.loads(run("explain", SCENE, QUESTION, "--json", "-", *named).stdout) for named in ([], ["--model", BUNDLE])]
    assert answers[0]["explanations"] == answers[1]["explanations"]
    for command in (["explain", SCENE, QUESTION], ["inspect"], ["verify"], ["bench", "latency"], ["bench", "suite", "-o", tmp_path / "a"]):
        found = run(*command, XAI_MODEL="none")
        assert (found.exit_code, found.stderr) == (1, found.stderr), command
        assert "model none does not exist" in found.stderr, command
    assert run("inspect", "demo", XAI_MODEL="none").exit_code == 0
    assert run("inspect", "--model", "demo", XAI_MODEL="none").exit_code == 0
    assert run("inspect", XAI_MODEL="").exit_code == 0
    monkeypatch.setenv("XAI_MODEL", "none")
    with pytest.raises(xai.BadInput, match="model none does not exist"):
        xai.load()
    assert xai.load("demo").session.name == "onnx"


def test_former_names_still_work_and_say_so() -> None:
    for option in ("-e", "--bundle", "--checkpoint"):
        found = run("explain", SCENE, QUESTION, "--json", "-", option, BUNDLE)
        assert found.exit_code == 0
        assert found.stderr.startswith("Warning: -") and "is now --model" in found.stderr
    help_text = run("explain", "--help").stdout
    assert "--model" in help_text and "--bundle" not in help_text and "--checkpoint" not in help_text
    assert run("explain", SCENE, QUESTION, "-e", "a", "--model", "b").exit_code == 2
    assert run("inspect", "a", "--model", "b").exit_code == 2


@pytest.mark.parametrize("model", ["demo", str(BUNDLE)])
def test_what_only_checkpoints_need_is_refused_elsewhere(model) -> None:
    values = {"tokenizer": "x", "answers": "x", "image_size": 96}
    for name in ONLY_CHECKPOINTS:
        found = run("explain", SCENE, QUESTION, "--model", model, option_name(name), values.get(name, 1))
        assert found.exit_code == 1
        assert f"{option_name(name)} is for a checkpoint:" in found.stderr
        assert len(found.stderr.splitlines()) == 1


def test_options_survive_being_typed() -> None:
    options = ModelOptions(str(BUNDLE), session="onnx", threads=2)
    assert options.arguments() == ["--model", str(BUNDLE), "--session", "onnx", "--threads", "2"]
    assert ModelOptions().arguments() == ["--model", "demo"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": None}, "model is None"),
        ({"model": b"demo"}, "model is b'demo'"),
        ({"model": 3}, "model is 3"),
        ({"threads": 0}, "threads is 0: give a whole number of 1 or more"),
        ({"threads": 2**31}, "4096 is the most"),
        ({"threads": True}, "threads is True"),
        ({"threads": 1.5}, "threads is 1.5"),
        ({"image_size": "96"}, "image_size is '96'"),
        ({"tokenizer": 7}, "tokenizer is 7"),
        ({"answers": ["yes", "no"]}, "answers is"),
        ({"provider": None}, "provider is None"),
        ({"session": 1}, "session is 1"),
        ({"trust": "yes"}, "trust is 'yes'"),
        ({"allow_fallback": None}, "allow_fallback is None"),
    ],
)
def test_arguments_are_checked_at_the_door(arguments, message) -> None:
    with pytest.raises(xai.BadInput, match=message.replace("[", r"\[")):
        xai.load(**arguments)


def test_numpy_integers_are_integers() -> None:
    assert xai.load(threads=np.int64(1)).session.name == "onnx"


def test_the_package_shows_what_it_offers() -> None:
    assert dir(xai) == sorted(xai.__all__) == ["BadInput", "XaiError", "__version__", "load"]
