"""The catalogue says of every model where it comes from, and a name is understood or refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from xai.base.errors import BadInput
from xai.pull.cache import SORTED, sort_answers
from xai.pull.catalogue import Repository, Web, find_entry, known, near
from xai.pull.model import find_pullable

PUBLISHED = {
    "meter-vqa2-576": "meter_clip16_288_roberta_vqa",
    "meter-snli-384": "meter_clip16_288_roberta_snli",
    "meter-nlvr2-288": "meter_clip16_288_roberta_nlvr2",
    "meter-flickr-384": "meter_clip16_288_roberta_flickr",
    "meter-coco-384": "meter_clip16_288_roberta_coco",
    "meter-pretrain-288": "meter_clip16_288_roberta_pretrain",
    "meter-pretrain-224": "meter_clip16_224_roberta_pretrain",
    "meter-swin-pretrain-384": "meter_swinbase_384_roberta_pretrain",
}
REPOSITORIES = {
    "meter-vqa2-384": "csarron/meter-vqa2-ft",
    "lxmert-vqa2": "unc-nlp/lxmert-vqa-uncased",
    "vilt-vqa2": "dandelin/vilt-b32-finetuned-vqa",
}


def test_every_published_model_is_there_with_what_belongs_to_it() -> None:
    entries = known()
    assert set(entries) == {*PUBLISHED, *REPOSITORIES}
    for name, file in PUBLISHED.items():
        source = entries[name].model
        assert isinstance(source, Web) and source.name == f"{file}.ckpt" and source.url.startswith("https://github.com/zdou0830/METER/")
        assert str(entries[name].resolution) in name
        assert entries[name].tokenizer == Repository("FacebookAI/roberta-base", files=("tokenizer.json",))
    assert {name: entries[name].model for name in REPOSITORIES} == {name: Repository(repo) for name, repo in REPOSITORIES.items()}
    for entry in entries.values():
        assert entry.head and entry.family
        # A VQA head names no answers; ViLT's configuration does.
        assert (entry.answers is None) == (entry.head != "VQA" or entry.name == "vilt-vqa2")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("vilt", "did you mean vilt-vqa2?"),
        ("METER-VQA2-576", "did you mean meter-vqa2-576"),
        ("meter-vqa-384", "meter-vqa2-384"),
        ("xyzzy", "known are meter-vqa2-576, .*, vilt-vqa2; or give hf://ORG/REPO or a URL"),
    ],
)
def test_an_unknown_name_gets_near_ones(name, hint) -> None:
    with pytest.raises(BadInput, match=f"no model is called {name}: .*{hint}"):
        find_pullable(name)


def test_remote_names() -> None:
    for name, source in (
        ("hf://a/b", Repository("a/b")),
        ("hf://a/b@v1.0", Repository("a/b", "v1.0")),
        ("hf://a/b@refs/pr/1", Repository("a/b", "refs/pr/1")),
        ("https://host/x/meter%20a.ckpt?download=1", Web("https://host/x/meter%20a.ckpt?download=1")),
    ):
        entry = find_entry(name)
        assert entry is not None and entry.model == source
    assert Web("https://host/x/meter%20a.ckpt?download=1").name == "meter a.ckpt"
    assert find_entry("meter.ckpt") is None
    assert near("") == near("none") == ""


@pytest.mark.parametrize(
    "name",
    [
        "hf://",
        "hf://a",
        "hf://a/b/c",
        "hf://a/b@",
        "hf://../b",
        "hf://a/b@../c",
        "https://host",
        "https://host/",
        "https:///a",
        "http://[/a",
        "https://host/a/..",
        "https://host/%2e%2e",
        "https://host/a%2Fb%00",
        "https://host/" + "x" * 300,
    ],
)
def test_what_is_no_remote_name_is_refused(name) -> None:
    with pytest.raises(BadInput, match=r"names no (repository|file): write"):
        find_entry(name)


def test_answers_in_order_hold_the_empty_one(tmp_path: Path) -> None:
    path = tmp_path / "answers.json"
    path.write_text(json.dumps({"0": "net", "1": "2", "3": "a b", "4": "Net"}))
    sort_answers(path)
    assert json.loads((tmp_path / SORTED).read_text()) == ["", "2", "Net", "a b", "net"]
