"""A repository of the hub: every file is what the hub says, or it is removed."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import pytest
from huggingface_hub import constants

from xai.base.errors import BadInput, XaiError
from xai.pull.cache import Record, locate, read_record
from xai.pull.catalogue import Repository, find_entry
from xai.pull.hub import fetch_repository, look_up
from xai.pull.model import carry_out, find_pullable, make_plan
from xai.tests.pull.server import COMMIT, Site

REPO = "someone/tiny"
SOURCE = Repository(REPO)
FILES = {"config.json": b'{"a": 1}', "tokenizer.json": b"{}", "model.safetensors": bytes(range(256)) * 100, "README.md": b"# no model"}


def fetch(source: Repository = SOURCE) -> Record:
    return fetch_repository(source, look_up(source))


def test_files_come_with_the_commit_and_their_hashes(hub: Site) -> None:
    hub.publish(REPO, FILES)
    record = fetch()
    assert record.commit == COMMIT and record.folder.name == COMMIT
    assert sorted(record.files) == ["config.json", "model.safetensors", "tokenizer.json"]
    for name, kept in record.files.items():
        assert (record.folder / name).read_bytes() == FILES[name]
        assert (kept.bytes, kept.sha256, kept.published) == (len(FILES[name]), hashlib.sha256(FILES[name]).hexdigest(), True)
    assert read_record(SOURCE) == record


def test_one_kind_of_weights_is_taken_and_pickles_last(hub: Site) -> None:
    hub.publish(REPO, {**FILES, "pytorch_model.bin": b"pickle"})
    assert "pytorch_model.bin" not in [file.name for file in look_up(SOURCE).files]
    parts = {"model-00001-of-00002.safetensors": b"a", "model-00002-of-00002.safetensors": b"b", "model.safetensors.index.json": b"{}"}
    hub.publish(REPO, {"config.json": b"{}", **parts})
    assert [file.name for file in look_up(SOURCE).files] == ["config.json", *parts]
    hub.publish(REPO, {"config.json": b"{}", "pytorch_model.bin": b"pickle", "tf_model.h5": b"x"})
    assert [file.name for file in look_up(SOURCE).files] == ["config.json", "pytorch_model.bin"]


@pytest.mark.parametrize(
    ("files", "source", "message"),
    [
        ({"model.safetensors": b"x"}, SOURCE, "holds no config.json"),
        ({"config.json": b"{}", "flax_model.msgpack": b"x"}, SOURCE, "holds no weights that PyTorch reads"),
        ({"vocab.txt": b"x"}, Repository(REPO, files=("tokenizer.json",)), "holds no tokenizer.json"),
        ({}, Repository("someone/else"), "hf://someone/else is no repository of the hub"),
        ({}, Repository(REPO, "v7"), "someone/tiny has no revision v7"),
    ],
)
def test_what_is_no_model_is_one_line(hub: Site, files, source, message) -> None:
    hub.publish(REPO, files)
    with pytest.raises(XaiError, match=message) as caught:
        look_up(source)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_file_that_is_not_the_hubs_is_removed(hub: Site, name) -> None:
    hub.publish(REPO, FILES)
    path = f"/{REPO}/resolve/{COMMIT}/{name}"
    served = hub.files[hub.moved.get(path, path)]
    served.body = b"<html>" + served.body[6:] if name.endswith("json") else served.body[::-1]
    with pytest.raises(XaiError, match=rf"{name} of {SOURCE} is not the file that the hub describes: .*; it was removed"):
        fetch()
    assert read_record(SOURCE) is None
    with pytest.raises(BadInput, match="is not on this machine yet"):
        locate(find_pullable(str(SOURCE)))


def test_a_file_that_is_too_short_is_refused(hub: Site) -> None:
    hub.publish(REPO, FILES)
    served = hub.files[hub.moved[f"/{REPO}/resolve/{COMMIT}/model.safetensors"]]
    served.body = served.body[:1000]
    with pytest.raises(XaiError, match=f"{SOURCE} cannot be fetched|it has 1000 bytes") as caught:
        fetch()
    assert "\n" not in str(caught.value)
    assert read_record(SOURCE) is None


def test_a_file_that_was_changed_in_the_cache_is_fetched_again(hub: Site, caplog) -> None:
    hub.publish(REPO, FILES)
    path = fetch().folder / "model.safetensors"
    path.resolve().write_bytes(FILES["model.safetensors"][::-1])
    assert fetch().files["model.safetensors"].sha256 == hashlib.sha256(FILES["model.safetensors"]).hexdigest()
    assert path.read_bytes() == FILES["model.safetensors"]
    assert "was changed since it was downloaded" in caplog.text


def test_a_newer_commit_is_taken_and_an_unchanged_one_is_not_fetched(hub: Site) -> None:
    hub.publish(REPO, FILES)
    fetch()
    asked = len([path for path, _ in hub.asked if not path.startswith("/api")])
    fetch()
    assert len([path for path, _ in hub.asked if not path.startswith("/api")]) == asked
    newer = COMMIT[::-1]
    hub.publish(REPO, {**FILES, "config.json": b'{"a": 2}'}, newer)
    record = fetch()
    assert record.commit == newer
    assert (record.folder / "config.json").read_bytes() == b'{"a": 2}'


def test_without_network_only_what_is_here_is_used(hub: Site, monkeypatch) -> None:
    hub.publish(REPO, FILES)
    entry = find_entry(str(SOURCE))
    assert entry is not None
    monkeypatch.setenv("XAI_OFFLINE", "1")
    with pytest.raises(XaiError, match=f"XAI_OFFLINE is set, and the model of {SOURCE} is not here"):
        make_plan(entry)
    monkeypatch.delenv("XAI_OFFLINE")
    (record,) = carry_out(make_plan(entry))
    monkeypatch.setenv("XAI_OFFLINE", "1")
    asked = len(hub.asked)
    assert list(carry_out(make_plan(entry))) == [record]
    path = record.folder / "model.safetensors"
    path.resolve().write_bytes(b"changed")
    with pytest.raises(BadInput, match=rf"cannot be used: .* has 7 bytes, and had 25600 when it was pulled: xai pull {SOURCE}"):
        locate(entry)
    with pytest.raises(XaiError, match=r"was changed since it was pulled .*: it was removed"):
        list(carry_out(make_plan(entry)))
    assert not path.exists()
    with pytest.raises(XaiError, match=f"XAI_OFFLINE is set, and model.safetensors of {SOURCE} is not here"):
        list(carry_out(make_plan(entry)))
    assert len(hub.asked) == asked


def test_a_killed_pull_keeps_whole_files_and_leaves_no_part(hub: Site) -> None:
    hub.publish(REPO, FILES)
    large = hub.moved[f"/{REPO}/resolve/{COMMIT}/model.safetensors"]
    hub.files[large].pause = 0.5
    process = subprocess.Popen([sys.executable, "-m", "xai", "pull", str(SOURCE)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    blobs = Path(constants.HF_HUB_CACHE) / "models--someone--tiny" / "blobs"
    try:
        end = time.monotonic() + 60
        while not list(blobs.glob(f"{large.removeprefix('/cdn/')}*.incomplete")):
            assert time.monotonic() < end
            time.sleep(0.01)
    finally:
        process.kill()
        process.communicate()
    hub.files[large].pause = 0.0
    assert read_record(SOURCE) is None
    asked = len(hub.asked)
    assert fetch().files["model.safetensors"].sha256 == hashlib.sha256(FILES["model.safetensors"]).hexdigest()
    assert [path for path, _ in hub.asked[asked:] if not path.startswith("/api")] == [large]
    assert not list(blobs.glob("*.incomplete"))


def test_a_full_disk_is_told_before(hub: Site, monkeypatch) -> None:
    hub.publish(REPO, FILES)
    usage = namedtuple("usage", "total used free")(10**6, 10**6, 20_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(XaiError, match=r"hf://someone/tiny does not fit: it takes 25\.6 kB, and .* has 20\.0 kB free"):
        make_plan(find_pullable(str(SOURCE)))
    assert all(path.startswith("/api") for path, _ in hub.asked)


def test_a_revision_is_kept_apart(hub: Site) -> None:
    hub.publish(REPO, FILES)
    fetch()
    at = Repository(REPO, COMMIT)
    assert read_record(at) is None
    assert fetch(at).folder == read_record(SOURCE).folder  # type: ignore[union-attr]
    assert isinstance(fetch(at).folder, Path)
