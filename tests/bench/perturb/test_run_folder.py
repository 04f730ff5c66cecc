from __future__ import annotations

import json
import os
import shutil
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xai.base.errors import XaiError
from xai.base.lock import locked
from xai.bench.perturb import run_folder as module
from xai.bench.perturb.plan import exact_counts, published_counts
from xai.bench.perturb.request import cut_into_chunks, shard_chunks
from xai.bench.perturb.result_lines import read_questions
from xai.bench.perturb.run_folder import RunFolder, RunRecord, merging
from xai.bench.perturb.seal import CHECK, seal
from xai.tests.bench.perturb.folders import EVERY, SETTINGS, SKIPPED, chunk_lines, record, write_run


@pytest.fixture
def one(tmp_path) -> RunFolder:
    """A whole run of seven questions, one of them skipped."""
    return write_run(tmp_path / "one")


def read_all(folder: RunFolder) -> list[list[dict]]:
    return [question.lines for question in folder.read_questions()]


@given(st.lists(st.integers(0, 4), min_size=1, max_size=30).map(sorted), st.integers(1, 6), st.integers(1, 4))
def test_chunks_hold_every_question_once_and_no_image_twice(images, size, shards) -> None:
    found = cut_into_chunks([str(i) for i in images], size)
    assert [i for c in found for i in range(c.start, c.stop)] == list(range(len(images)))
    for a, b in pairwise(found):
        assert images[a.stop - 1] != images[b.start]
        assert a.stop - a.start >= size
    parts = [c for i in range(1, shards + 1) for c in shard_chunks(found, (i, shards))]
    assert sorted(parts, key=lambda c: c.start) == found


def test_what_was_written_is_read(one) -> None:
    assert [line for lines in read_all(one) for line in lines] == [line for chunk in EVERY for line in chunk_lines(chunk)]
    assert one.read_record() == record()
    assert {path.name for path in one.path.iterdir()} == {"run.json", "results.jsonl"}


@pytest.mark.parametrize("kept", range(0, 400, 7))
def test_a_run_cut_anywhere_goes_on_to_the_same_bytes(one, tmp_path, kept) -> None:
    whole = one.results.read_bytes()
    kept = min(kept * len(whole) // 392, len(whole))
    os.truncate(one.results, kept)
    with one.writing(record(), resume=True):
        done = one.repair(record(), EVERY)
        assert whole.startswith(one.results.read_bytes())
        assert len(one.results.read_bytes()) <= kept
        for chunk in EVERY[done:]:
            one.append(chunk_lines(chunk), record())
        assert one.repair(record(), EVERY) == len(EVERY)
    assert one.results.read_bytes() == whole


def lines_changed(change) -> object:
    def apply(folder: RunFolder) -> None:
        folder.results.write_bytes(b"".join(change(folder.results.read_bytes().splitlines(keepends=True))))

    return apply


def field_changed(number: int, sealed: bool = True, **values) -> object:
    """A line with other values, sealed as the run would have sealed it: the values themselves must be found wrong."""

    def apply(folder: RunFolder) -> None:
        lines = folder.results.read_bytes().splitlines(keepends=True)
        content = json.loads(lines[number]) | values
        content = {name: value for name, value in content.items() if value is not ...}
        if sealed:
            content = seal({n: v for n, v in content.items() if n != CHECK}, record().expected.key)
        lines[number] = json.dumps(content).encode() + b"\n"
        folder.results.write_bytes(b"".join(lines))

    return apply


TEXT_LINE = 5
"""Of question 0: its first four lines are about the image."""
ALTERED = {
    "a line lost": (lines_changed(lambda x: x[:9] + x[10:]), "line 10: .* where .* must come: lines are lost, doubled or moved"),
    "a line doubled": (lines_changed(lambda x: x[:9] + x[8:]), "line 10: .* lines are lost, doubled or moved"),
    "lines swapped": (lines_changed(lambda x: [x[1], x[0], *x[2:]]), "line 1: 'method' is 'random' where 'dsmi' must come"),
    "a question lost": (lines_changed(lambda x: x[:8] + x[16:]), "line 9: 'index' is 2 where 1 must come"),
    "all lines doubled": (lines_changed(lambda x: x * 2), "line 50 is one too many: cut the file before line 50"),
    "a digit altered": (lines_changed(lambda x: [x[0].replace(b"0.25", b"0.35"), *x[1:]]), "line 1: 'check' does not fit"),
    "a name altered": (lines_changed(lambda x: [x[0].replace("é".encode(), b"e"), *x[1:]]), "line 1: 'check' does not fit"),
    "a check altered": (field_changed(3, sealed=False, check="0" * 16), "line 4: 'check' does not fit"),
    "no check": (field_changed(3, sealed=False, check=...), "line 4: 'check' is missing"),
    "no JSON": (lines_changed(lambda x: [b"{\n", *x[1:]]), "line 1 is not JSON"),
    "no object": (lines_changed(lambda x: [b"[]\n", *x[1:]]), "line 1 is a list, not an object"),
    "deep": (lines_changed(lambda x: [b"[" * 10**5 + b"\n", *x[1:]]), "line 1 is not usable JSON"),
    "no text": (lines_changed(lambda x: [x[0], b"\xff\n", *x[2:]]), "line 2 is not text in UTF-8"),
    "long": (lines_changed(lambda x: [b" " * 2_000_000 + b"\n", *x]), "line 1 is longer than a line can be"),
    "a blank line": (lines_changed(lambda x: [*x[:2], b"\n", *x[2:]]), "line 3 is not JSON"),
    "a number too large": (field_changed(0, accuracies=[1.0] * 8 + [9.0]), "'accuracies' holds a number that is not within 0 and 1"),
    "one step less": (field_changed(0, probabilities=[1.0] * 8), "'probabilities' has not 9 values"),
    "a number as text": (field_changed(0, accuracies=[1.0] * 8 + ["1"]), "'accuracies' holds text, not only a number"),
    "other counts": (field_changed(0, kept=[36, 27, 18, 9, 7, 5, 3, 2, 0]), "'kept' is not what the steps keep"),
    "negative counts": (field_changed(0, kept=[-1] * 9), "'kept' begins with a number of tokens that no question has"),
    "huge counts": (field_changed(0, kept=[10**400] * 9), "'kept' begins with a number of tokens that no question has"),
    "no exact counts": (field_changed(TEXT_LINE, exact=None), "'exact' is not what exact steps keep"),
    "a pointing game of 2": (field_changed(0, pointing={"hit": True, "energy": 2.0}), "'energy' is 2.0, not within 0 and 1"),
    "an unknown status": (field_changed(0, solver={"image0": "fine"}), "'image0' is 'fine', none of"),
    "another field": (field_changed(0, more=1), "'more' is not a field that belongs here"),
    "a field lost": (field_changed(0, solver=...), "'solver' is missing"),
    "another method": (field_changed(0, method="rollout"), "'method' is 'rollout' where 'dsmi' must come"),
    "another question": (field_changed(1, question_id="9"), "line 2 does not belong to the question of the lines before"),
    "another answer": (field_changed(1, answers=["x"] * 9), "line 2 does not belong to the question of the lines before"),
    "skipped in the middle": (
        lines_changed(lambda x: [x[0], json_line({"index": 0, "question_id": "0", "image": "a", "skipped": ""}), *x[8:]]),
        "line 2 does not belong to the question of the lines before",
    ),
}


def json_line(content: dict) -> bytes:
    return json.dumps(seal(content, record().expected.key)).encode() + b"\n"


@pytest.mark.parametrize("name", ALTERED)
def test_an_altered_line_is_found_by_resume_merge_and_table_alike(one, tmp_path, name) -> None:
    change, message = ALTERED[name]
    change(one)
    before = one.results.read_bytes()
    with pytest.raises(XaiError, match=message) as caught:
        read_all(one)
    assert "\n" not in str(caught.value)
    assert "go on with --resume" in str(caught.value)
    with pytest.raises(XaiError, match=message), one.writing(record(), resume=True):
        one.repair(record(), EVERY)
    with pytest.raises(XaiError, match=message), merging([one.path], tmp_path / "merged"):
        pytest.fail("it was merged")
    assert not (tmp_path / "merged").exists()
    assert one.results.read_bytes() == before  # nobody's data are thrown away
    assert {path.name for path in tmp_path.iterdir()} == {"one"}


def test_the_advice_works(one) -> None:
    """Cut the file before the line that is named, and go on."""
    whole = one.results.read_bytes()
    lines = whole.splitlines(keepends=True)
    one.results.write_bytes(b"".join([*lines[:20], *lines[21:]]))
    with pytest.raises(XaiError, match="cut the file before line 21 and go on with --resume"):
        read_all(one)
    one.results.write_bytes(b"".join(lines[:20]))
    with one.writing(record(), resume=True):
        for chunk in EVERY[one.repair(record(), EVERY) :]:
            one.append(chunk_lines(chunk), record())
    assert one.results.read_bytes() == whole


def test_a_line_of_a_run_with_other_settings_is_refused(one, tmp_path) -> None:
    other = RunFolder(tmp_path / "other")
    with other.writing(record(seed=2), resume=False):
        shutil.copy(one.results, other.results)
    with pytest.raises(XaiError, match="line 1: 'check' does not fit"):
        read_all(other)


def test_a_run_that_is_not_done_has_no_table(one) -> None:
    whole = one.results.read_bytes()
    one.results.write_bytes(whole + b'{"ind')
    with pytest.raises(XaiError, match="ends with a line that is cut short: repair it with --resume"):
        read_all(one)
    os.truncate(one.results, len(whole) - 1)
    with pytest.raises(XaiError, match=r"one/results.jsonl lacks 1 of 7 questions: finish the run with --resume"):
        read_all(one)
    one.results.unlink()
    with pytest.raises(XaiError, match="lacks 7 of 7 questions"):
        read_all(one)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 1}, "written by another version of xai"),
        ({"format": [2]}, "written by another version of xai"),
        ({"settings": "x"}, "'settings' is text, not an object"),
        ({"settings": SETTINGS | {"signs": []}}, "'signs' is not a list of names, each once"),
        ({"settings": SETTINGS | {"methods": ["dsmi", "dsmi"]}}, "'methods' is not a list of names, each once"),
        ({"settings": SETTINGS | {"modalities": ["sound"]}}, "'modalities' is not a list of names, each once"),
        ({"settings": SETTINGS | {"questions": 0}}, "'questions' is out of range"),
        ({"settings": SETTINGS | {"unknown_labels": [0]}}, "'unknown_labels' is a list, not an integer"),
        ({"settings": SETTINGS | {"seed": 9}}, "'check' does not fit the rest, which was altered"),
        ({"shard": ["\0", 2]}, "'shard' holds text"),
        ({"shard": [1]}, "'shard' is not the number and the count of a shard"),
        ({"shard": [3, 2]}, "'shard' is not the number and the count of a shard"),
        ({"questions": [[0, 99]]}, "'questions' is not a list of ranges"),
        ({"questions": [[0, 5]]}, "'check' does not fit"),
        ({"about": "x"}, "'about' is text, not an object"),
        ({"about": {"python": 3}}, "'python' is an integer, not text"),
        ({"settings": ...}, "'settings' is missing"),
        ({"check": ...}, "'check' is missing"),
        ({"more": 1}, "'more' is not a field that belongs here"),
    ],
)
def test_a_run_json_that_was_altered_is_refused(one, tmp_path, change, message) -> None:
    content = json.loads(one.run.read_bytes()) | change
    one.run.write_text(json.dumps({name: value for name, value in content.items() if value is not ...}))
    for read in (
        lambda: read_all(one),
        lambda: one.writing(record(), True).__enter__(),
        lambda: merging([one.path], tmp_path / "x").__enter__(),
    ):
        with pytest.raises(XaiError, match=message) as caught:
            read()
        assert "run.json" in str(caught.value)
        assert "run it again into an empty folder" in str(caught.value)
    assert {path.name for path in one.path.iterdir()} == {"run.json", "results.jsonl"}


@pytest.mark.parametrize("text", ["", "[" * 10**5, "{", "[]", "\xff"])
def test_a_run_json_that_is_none_is_refused(one, text) -> None:
    one.run.write_text(text, encoding="latin-1")
    with pytest.raises(XaiError, match=r"run\.json"):
        one.read_record()


def test_a_folder_of_another_run_is_refused_and_the_setting_named(tmp_path) -> None:
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(XaiError, match="holds no run"):
        folder.read_record()
    with folder.writing(record(), resume=True):  # nothing to resume: it starts
        folder.append(chunk_lines(EVERY[0]), record())
    asked = record()
    for other, resume, message in (
        (asked, False, "go on with --resume"),
        (record(methods=["rollout", "random"]), True, r"with methods .*dsmi.* instead of .*rollout"),
        (RunRecord(asked.settings, (1, 2), asked.questions, asked.about), True, r"with shard \[1, 1\] instead of \[1, 2\]"),
        (RunRecord(asked.settings, (1, 1), asked.questions[:-1], asked.about), True, "with other questions in this shard"),
    ):
        with pytest.raises(XaiError, match=message), folder.writing(other, resume):
            pytest.fail("it was opened")
    with folder.writing(RunRecord(asked.settings, (1, 1), asked.questions, {"python": "4"}), resume=True):
        pass
    assert folder.read_record().about == {"python": "3"}  # that of its begin
    (tmp_path / "file").write_text("")
    with pytest.raises(XaiError, match="cannot make folder"), RunFolder(tmp_path / "file" / "run").writing(asked, resume=False):
        pytest.fail("it was made")
    for name in ("run.json", "results.jsonl"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).symlink_to("nowhere")
        with pytest.raises(XaiError), RunFolder(tmp_path / name).writing(asked, resume=True):
            pytest.fail("links to nowhere are files of a run")
        assert not (tmp_path / name / "nowhere").exists()


def test_one_writes_and_the_next_is_told_who(one, tmp_path) -> None:
    before = one.results.read_bytes()
    with locked(one.lock, "x"):
        with pytest.raises(XaiError, match=rf"one is in use by process {os.getpid()} on .* since"), one.writing(record(), resume=True):
            pytest.fail("two write")
        with pytest.raises(XaiError, match=rf"one is in use by process {os.getpid()} on"), merging([one.path], tmp_path / "x"):
            pytest.fail("it was merged while it was written")
    assert one.results.read_bytes() == before
    with one.writing(record(), resume=True):
        pass


def test_a_run_that_fails_without_a_result_leaves_nothing(tmp_path) -> None:
    def fail(path: Path, lines: list[dict]) -> RunFolder:
        folder = RunFolder(path)
        with pytest.raises(KeyError), folder.writing(record(), resume=False):
            if lines:
                folder.append(lines, record())
            raise KeyError
        return folder

    assert not fail(tmp_path / "new", []).path.exists()
    (tmp_path / "mine").mkdir()
    assert list(fail(tmp_path / "mine", []).path.iterdir()) == []
    skipped = [{"index": i, "question_id": str(i), "image": "a", "skipped": "broken"} for i in range(2)]
    assert not fail(tmp_path / "skipped", skipped).path.exists()
    assert fail(tmp_path / "answered", chunk_lines(EVERY[0])).results.exists()


def shards_of(tmp_path: Path, count: int = 3) -> list[Path]:
    return [write_run(tmp_path / f"shard{i}", (i, count)).path for i in range(1, count + 1)]


def test_shards_merge_to_the_run_in_one_piece(one, tmp_path) -> None:
    folders = shards_of(tmp_path)
    with merging(folders[::-1], tmp_path / "merged"):
        assert not (tmp_path / "merged").exists()
    merged = RunFolder(tmp_path / "merged")
    assert merged.results.read_bytes() == one.results.read_bytes()
    assert merged.run.read_bytes() == one.run.read_bytes()
    for some, message in (
        ([folders[0], folders[2]], "split into 3 shards, and 1, 3 were given"),
        ([folders[0], folders[0], folders[1]], "1, 1, 2 were given"),
        ([folders[0], one.path], "split into 3 shards, and 1, 1 were given"),
    ):
        with pytest.raises(XaiError, match=message), merging(some, tmp_path / "x"):
            pytest.fail("it was merged")
    os.truncate(folders[1] / "results.jsonl", 0)
    with (
        pytest.raises(XaiError, match=r"shard2/results.jsonl lacks 2 of 2 questions: finish the run with --resume"),
        merging(folders, tmp_path / "x"),
    ):
        pytest.fail("it was merged")
    other = write_run(tmp_path / "other", (1, 1))
    other.run.write_bytes(record(data="easy-vqa").content())
    with (
        pytest.raises(XaiError, match=r"is of another run than .*with data \"scenes\" instead of \"easy-vqa\""),
        merging([folders[0], other.path], tmp_path / "x"),
    ):
        pytest.fail("it was merged")
    assert not (tmp_path / "x").exists()
    assert not list(tmp_path.glob(".xai-*"))


def test_a_target_is_whole_or_not_there(one, tmp_path, monkeypatch) -> None:
    with pytest.raises(KeyError), merging([one.path], tmp_path / "x"):
        raise KeyError
    assert {path.name for path in tmp_path.iterdir()} == {"one"}
    for name in ("full", "file"):
        target = tmp_path / name
        target.mkdir() if name == "full" else target.touch()
        if name == "full":
            (target / "mine").touch()
        with pytest.raises(XaiError, match=f"{name} exists and is not an empty folder"), merging([one.path], target):
            pytest.fail("it was merged")
    (tmp_path / "empty").mkdir()
    with merging([one.path], tmp_path / "empty"):
        pass
    assert RunFolder(tmp_path / "empty").results.read_bytes() == one.results.read_bytes()
    monkeypatch.setattr(module, "line_bytes", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError), merging([one.path], tmp_path / "x"):
        pytest.fail("it was merged")
    assert not list(tmp_path.glob(".xai-*"))


def test_a_skipped_question_is_one_line(one) -> None:
    assert [len(lines) for lines in read_all(one)] == [1 if i == SKIPPED else 8 for i in range(7)]
    assert exact_counts(10) != published_counts(10)  # of the text; of the image they are the same


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_full_disk_is_one_line(tmp_path) -> None:
    (tmp_path / "results.jsonl").symlink_to("/dev/full")
    with pytest.raises(XaiError, match=r"No space left on device.*--resume"):
        RunFolder(tmp_path).append(chunk_lines(EVERY[0]), record())


def test_a_results_file_that_is_a_folder_is_one_line(one) -> None:
    one.results.unlink()
    one.results.mkdir()
    with pytest.raises(XaiError, match="Is a directory"):
        list(read_questions(one.results, record().expected))
    with pytest.raises(XaiError, match="Is a directory"), one.writing(record(), resume=True):
        one.repair(record(), EVERY)
