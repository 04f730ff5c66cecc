"""`xai pull`, `xai models`, and every command that then takes the name: a hub and a page of releases on the loopback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import xai
from xai.cli import main
from xai.pull import catalogue
from xai.tests.families import DATA
from xai.tests.pull.conftest import cache, hub, site  # noqa: F401
from xai.tests.pull.server import COMMIT, Served, Site, contents

VILT = DATA / "vilt_tiny"
REPO = "dandelin/vilt-b32-finetuned-vqa"
FOLDER = ("config.json", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors")
PICTURE, QUESTION = str(VILT / "case0.png"), json.loads((VILT / "cases.json").read_text())["cases"][0]["question"]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


def shell(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "xai", *arguments], capture_output=True, text=True, timeout=300, env=os.environ)


def answers(result: Result | subprocess.CompletedProcess[str]) -> object:
    content = json.loads(result.stdout)
    return content["answer"], content["explanations"]


def test_a_vilt_of_the_hub_is_pulled_and_explained_from_the_shell(hub: Site) -> None:  # noqa: F811
    hub.publish(REPO, contents(VILT, *FOLDER))
    refused = shell("explain", PICTURE, QUESTION, "--model", "vilt-vqa2", "--json", "-")
    assert refused.returncode == 1
    assert refused.stderr == "Error: model vilt-vqa2 is not on this machine yet: xai pull vilt-vqa2\n"
    assert hub.asked == []

    looked = shell("pull", "vilt-vqa2", "--dry-run")
    assert looked.returncode == 0, looked.stderr
    assert looked.stdout.count("to fetch") == len(FOLDER) + 1 and "licence Apache-2.0" in looked.stdout
    assert all(path.startswith("/api/") for path, _ in hub.asked)

    pulled = shell("pull", "vilt-vqa2")
    assert pulled.returncode == 0, pulled.stderr
    assert f"hf://{REPO} is at commit {COMMIT}" in pulled.stdout
    assert pulled.stdout.count("SHA-256") == pulled.stdout.count("as published") == len(FOLDER)
    asked = len(hub.asked)
    found = shell("explain", PICTURE, QUESTION, "--model", "vilt-vqa2", "--json", "-")
    assert found.returncode == 0, found.stderr
    assert answers(found) == answers(shell("explain", PICTURE, QUESTION, "--model", str(VILT), "--json", "-"))
    assert len(hub.asked) == asked  # nothing but xai pull opens a connection
    assert "here" in shell("pull", "vilt-vqa2", "--dry-run").stdout


def test_a_repository_that_was_pulled_is_loaded_by_its_name(hub: Site) -> None:  # noqa: F811
    hub.publish("some-one/tiny.vilt", contents(VILT, *FOLDER))
    name = "hf://some-one/tiny.vilt"
    assert run("pull", name).exit_code == 0
    explainer = xai.load(name)
    assert explainer.answers.names == xai.load(VILT).answers.names
    with pytest.raises(xai.BadInput, match=f"model {name}@v1 is not on this machine yet: xai pull {name}@v1"):
        xai.load(f"{name}@v1")
    rows = {row["name"]: row for row in json.loads(run("models", "--json").stdout)}
    assert rows[name]["cached"] and rows[name]["commit"] == COMMIT and rows[name]["bytes"] == sum((VILT / f).stat().st_size for f in FOLDER)


@pytest.fixture
def small_catalogue(hub: Site, tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:  # noqa: F811
    """A catalogue of one METER, whose checkpoint and answers lie on a page of releases, its tokenizer on the hub."""
    names = json.loads(tiny.answers.read_text())
    hub.files["/releases/meter.ckpt"] = Served(tiny.checkpoint.read_bytes())
    hub.files["/releases/answers.json"] = Served(json.dumps({str(i): name for i, name in enumerate(names)}).encode())
    hub.publish("someone/roberta", contents(tiny.folder, "tokenizer.json"))
    entry = {
        "family": "METER",
        "head": "VQA",
        "resolution": tiny.image_size,
        "licence": "MIT",
        "model": {"url": f"{hub.url}/releases/meter.ckpt"},
        "tokenizer": {"hub": "someone/roberta", "files": ["tokenizer.json"]},
        "answers": {"url": f"{hub.url}/releases/answers.json"},
    }
    in_order = {**entry, "answers": {**entry["answers"], "sorted": True}}  # type: ignore[dict-item]
    path = tmp_path / "catalogue.json"
    path.write_text(json.dumps({"meter-tiny": entry, "meter-sorted": in_order}))
    monkeypatch.setattr(catalogue, "CATALOGUE", path)
    return hub


@pytest.mark.filterwarnings("ignore:.*were left out")
def test_a_checkpoint_comes_with_its_tokenizer_and_its_answers(small_catalogue: Site, tiny, tmp_path: Path) -> None:
    pulled = run("pull", "meter-tiny")
    assert pulled.exit_code == 0, pulled.output
    assert pulled.stdout.count("recorded at first download: none is published") == 2  # the checkpoint and the answers
    image, question = tiny.image(0), tiny.cases[0]["question"]
    own = run("explain", image, question, *tiny.cli_options, "--json", "-")
    assert answers(run("explain", image, question, "--model", "meter-tiny", "--json", "-")) == answers(own)
    exported = run("export", "meter-tiny", "-o", tmp_path / "meter", "--format", "torchscript")
    assert exported.exit_code == 0, exported.output
    (row,) = [row for row in json.loads(run("models", "--json").stdout) if row["name"] == "meter-tiny"]
    assert row["cached"] and row["bytes"] == tiny.checkpoint.stat().st_size and list(row["sha256"]) == ["meter.ckpt"]
    assert "meter-tiny               yes" in run("models").stdout

    assert run("pull", "meter-sorted").exit_code == 0
    assert xai.load("meter-sorted").answers.names == tuple(sorted(json.loads(tiny.answers.read_text())))


def test_a_part_that_is_missing_is_asked_for_by_the_models_name(small_catalogue: Site, cache: Path) -> None:  # noqa: F811
    assert run("pull", "meter-tiny").exit_code == 0
    for path in cache.rglob("answers.json"):
        path.unlink()
    found = run("explain", PICTURE, QUESTION, "--model", "meter-tiny")
    assert (found.exit_code, found.stderr.count("\n")) == (1, 1)
    assert "answers.json is gone: xai pull meter-tiny" in found.stderr
    small_catalogue.files["/releases/answers.json"].body = b"<html>"
    found = run("pull", "meter-tiny")
    assert found.exit_code == 1 and "answers.json is a web page, not a file" in found.stderr


def test_names_that_are_none_are_one_line(hub: Site) -> None:  # noqa: F811
    for arguments, message in (
        (("pull", "vilt-vqa"), "no model is called vilt-vqa: did you mean vilt-vqa2"),
        (("explain", PICTURE, QUESTION, "--model", "vilt-vqa"), "model vilt-vqa does not exist: did you mean vilt-vqa2"),
        (("explain", PICTURE, QUESTION, "--model", "hf://x"), "hf://x names no repository"),
        (("explain", PICTURE, QUESTION, "--model", "hf://a/b"), "model hf://a/b is not on this machine yet: xai pull hf://a/b"),
        (("verify", "lxmert-vqa2"), "model lxmert-vqa2 is not on this machine yet"),
        (("bench", "latency", "--model", "vilt-vqa2"), "model vilt-vqa2 is not on this machine yet"),
    ):
        found = run(*arguments)
        assert (found.exit_code, found.stderr.count("\n")) == (1, 1), found.output
        assert message in found.stderr
    assert hub.asked == []


def test_a_folder_of_a_models_name_is_named_by_its_path(tmp_path: Path, monkeypatch, caplog) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(VILT, tmp_path / "vilt-vqa2")
    with pytest.raises(xai.BadInput, match="not on this machine yet"):
        xai.load("vilt-vqa2")
    assert "to name that, write ./vilt-vqa2" in caplog.text
    assert xai.load("./vilt-vqa2").session.name == "eager"


def test_the_models_are_listed() -> None:
    shown = run("models")
    assert shown.exit_code == 0
    assert [name for name in catalogue.known() if name not in shown.stdout] == []
    assert "yes" not in shown.stdout
