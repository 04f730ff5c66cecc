from __future__ import annotations

import json
import shutil
import socket
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from xai.base.errors import XaiError
from xai.base.messages import LOG
from xai.bench.perturb.request import Request
from xai.bench.perturb.run import Measuring
from xai.meter import demo
from xai.models.load import ModelOptions
from xai.runtime.sessions.memory import Memory
from xai.workers.crew import Ready, Refused
from xai.workers.parcel import Files, pack, unpack
from xai.workers.ray import Actor, Opening


@pytest.fixture(autouse=True)
def _own_process(tmp_path, monkeypatch) -> Iterator[None]:
    """A cache, and what an actor sets in its process."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    level = LOG.level
    with warnings.catch_warnings():
        yield
    LOG.setLevel(level)


@pytest.fixture
def bundle(tmp_path) -> Path:
    return shutil.copytree(demo.BUNDLE, tmp_path / "mine")


def never() -> Files:
    pytest.fail("it was fetched again")


def test_a_bundle_is_unpacked_once_and_is_the_same(bundle, tmp_path) -> None:
    label, files = pack(ModelOptions(model=str(bundle)))
    there = unpack(label, lambda: files)
    assert Path(there.model).is_relative_to(tmp_path / "cache" / "xai" / "parcels" / label.sha256)
    assert {path.name: path.read_bytes() for path in Path(there.model).iterdir()} == {p.name: p.read_bytes() for p in bundle.iterdir()}
    shutil.rmtree(bundle)
    assert unpack(label, never) == there
    assert there.open().answers.names
    assert sorted(path.name for path in (tmp_path / "cache" / "xai" / "parcels").iterdir()) == [label.sha256]


def test_a_checkpoint_takes_its_tokenizer_and_answers_along(tiny) -> None:
    model = ModelOptions(
        model=str(tiny.checkpoint), tokenizer=str(tiny.tokenizer), answers=tiny.answers, image_size=tiny.image_size, session="eager"
    )
    label, files = pack(model)
    assert set(files) == {"model/meter.ckpt", "tokenizer/tokenizer.json", "answers/answers.json"}
    there = unpack(label, lambda: files)
    assert json.loads(Path(there.answers).read_bytes()) == tiny.content["labels"]
    assert (there.image_size, there.session) == (tiny.image_size, "eager")


def test_another_content_is_another_parcel_and_the_demo_is_none(bundle) -> None:
    first, _ = pack(ModelOptions(model=str(bundle)))
    (bundle / "answers.json").write_text("[]")
    assert pack(ModelOptions(model=str(bundle)))[0].sha256 != first.sha256
    label, files = pack(ModelOptions())
    assert files == {}
    assert unpack(label, never) == ModelOptions()


def test_what_a_kill_left_is_no_parcel(bundle, tmp_path) -> None:
    label, files = pack(ModelOptions(model=str(bundle)))
    half = tmp_path / "cache" / "xai" / "parcels" / f"{label.sha256}.part" / "model"
    half.mkdir(parents=True)
    (half / "junk").touch()
    assert not (Path(unpack(label, lambda: files).model).parent / "junk").exists()


def opening(given, **changes) -> Opening:
    from xai.base.versions import XAI_VERSION

    measuring = Measuring(Request((), Memory(1, 1, 1), 1), skip_broken=False)
    return Opening(2, given, measuring, 1, str(Path.cwd()), (), XAI_VERSION)._replace(**changes)


def test_a_node_says_in_one_line_what_it_lacks(bundle, tmp_path, monkeypatch) -> None:
    pytest.importorskip("ray")
    host, label = socket.gethostname(), pack(ModelOptions())[0]
    assert isinstance(Actor().open(opening(label), []), Ready)
    for changes, message in (
        ({"version": "0.0.1"}, "xai is .* here and 0.0.1 where the run was started: install the same"),
        ({"needs": (tmp_path / "data",)}, "data is not there: put it into a folder that every node sees"),
        ({"label": label._replace(model=ModelOptions(model="none"))}, "model none does not exist"),
    ):
        report = Actor().open(opening(label, **changes), [])
        assert isinstance(report, Refused)
        assert report.place == 2
        with pytest.raises(XaiError, match=message):
            raise XaiError(report.message)
        assert report.message.startswith(f"node {host}: ")
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(XaiError, match=r"the model cannot be kept in .*; let XDG_CACHE_HOME name another folder there"):
        unpack(pack(ModelOptions(model=str(bundle)))[0], never)
