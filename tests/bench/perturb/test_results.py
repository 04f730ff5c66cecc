from __future__ import annotations

import json
import os
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xai.base.errors import XaiError
from xai.bench.perturb.results import Chunk, RunFolder, chunks, merge, shard_chunks

SETTINGS = {"data": "scenes", "questions": 7, "methods": ["dsmi"]}
EVERY = chunks(list("abcdefg"), 2)


def line(index: int, part: int) -> dict:
    return {"index": index, "part": part, "text": "é"}


def fill(folder: RunFolder, wanted, per_question: int = 3) -> bytes:
    for chunk in wanted:
        folder.append([line(i, p) for i in range(chunk.start, chunk.stop) for p in range(per_question)])
    return folder.results.read_bytes()


@given(st.lists(st.integers(0, 4), min_size=1, max_size=30).map(sorted), st.integers(1, 6), st.integers(1, 4))
def test_chunks_hold_every_question_once_and_no_image_twice(images, size, shards) -> None:
    found = chunks([str(i) for i in images], size)
    assert [i for c in found for i in range(c.start, c.stop)] == list(range(len(images)))
    for a, b in pairwise(found):
        assert images[a.stop - 1] != images[b.start]
        assert a.stop - a.start >= size
    parts = [c for i in range(1, shards + 1) for c in shard_chunks(found, (i, shards))]
    assert sorted(parts, key=lambda c: c.start) == found


@pytest.mark.parametrize("kept", range(0, 400, 7))
def test_a_run_cut_anywhere_goes_on_to_the_same_bytes(tmp_path, kept) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.open(SETTINGS, {}, (1, 1), resume=False)
    whole = fill(folder, EVERY)
    kept = min(kept * len(whole) // 392, len(whole))
    os.truncate(folder.results, kept)
    done = folder.repair(EVERY, 3)
    assert whole.startswith(folder.results.read_bytes())
    assert len(folder.results.read_bytes()) <= kept
    assert fill(folder, EVERY[done:]) == whole
    assert folder.repair(EVERY, 3) == len(EVERY)


def test_a_skipped_question_is_one_line(tmp_path) -> None:
    folder = RunFolder(tmp_path)
    folder.append([{"index": 0, "skipped": "broken"}, line(1, 0), line(1, 1)])
    assert folder.repair([Chunk(0, 2)], 2) == 1
    assert len(list(folder.lines())) == 3


def test_a_line_of_another_run_is_refused(tmp_path) -> None:
    folder = RunFolder(tmp_path)
    folder.append([line(5, 0)])
    with pytest.raises(XaiError, match=r"results\.jsonl line 1 is not of this run"):
        folder.repair(EVERY, 3)


def test_a_folder_of_another_run_is_refused_and_the_setting_named(tmp_path) -> None:
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(XaiError, match="holds no run"):
        folder.read_run()
    folder.open(SETTINGS, {"python": "3"}, (1, 1), resume=True)  # nothing to resume: it starts
    with pytest.raises(XaiError, match="go on with --resume"):
        folder.open(SETTINGS, {}, (1, 1), resume=False)
    folder.open(SETTINGS, {"python": "4"}, (1, 1), resume=True)
    with pytest.raises(XaiError, match=r"with methods .*dsmi.* instead of .*rollout"):
        folder.open(SETTINGS | {"methods": ["rollout"]}, {}, (1, 1), resume=True)
    with pytest.raises(XaiError, match=r"with shard \[1, 1\] instead of \[1, 2\]"):
        folder.open(SETTINGS, {}, (1, 2), resume=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(XaiError, match="cannot make folder"):
        RunFolder(tmp_path / "file" / "run").open(SETTINGS, {}, (1, 1), resume=False)


def test_shards_merge_to_the_run_in_one_piece(tmp_path) -> None:
    one = RunFolder(tmp_path / "one")
    one.open(SETTINGS, {}, (1, 1), resume=False)
    whole = fill(one, EVERY)
    folders = []
    for i in (1, 2, 3):
        folder = RunFolder(tmp_path / f"shard{i}")
        folder.open(SETTINGS, {"python": str(i)}, (i, 3), resume=False)
        fill(folder, shard_chunks(EVERY, (i, 3)))
        folders.append(folder.path)
    merged = merge(folders[::-1], tmp_path / "merged")
    assert merged.results.read_bytes() == whole
    with pytest.raises(XaiError, match="merged holds a run already: name another folder"):
        merge(folders, tmp_path / "merged")
    assert merged.read_run()["settings"] == one.read_run()["settings"]
    with pytest.raises(XaiError, match="split into 3 shards, and 1, 3 were given"):
        merge([folders[0], folders[2]], tmp_path / "x")
    with pytest.raises(XaiError, match="1, 1, 2 were given"):
        merge([folders[0], folders[0], folders[1]], tmp_path / "x")
    os.truncate(folders[1] / "results.jsonl", 0)
    with pytest.raises(XaiError, match="2 of 7 questions are missing"):
        merge(folders, tmp_path / "x")
    content = json.loads((folders[1] / "run.json").read_text())
    content["settings"]["data"] = "easy-vqa"
    (folders[1] / "run.json").write_text(json.dumps(content))
    with pytest.raises(XaiError, match="is of another run than"):
        merge(folders, tmp_path / "x")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_full_disk_is_one_line(tmp_path) -> None:
    (tmp_path / "results.jsonl").symlink_to("/dev/full")
    with pytest.raises(XaiError, match=r"No space left on device.*--resume"):
        RunFolder(tmp_path).append([line(0, 0)])
