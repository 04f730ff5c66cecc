from __future__ import annotations

import json
import pickle
import shutil
import time

import pytest
from click.testing import CliRunner

from xai.base.errors import XaiError
from xai.base.lock import locked
from xai.bench.data.datasets import DATASETS, load_samples
from xai.bench.data.regions import WHOLE
from xai.bench.perturb.run_folder import RunFolder
from xai.cli import main
from xai.tests.bench.perturb.folders import write_run
from xai.workers.crew import Chunk
from xai.workers.state import Retry, State, Worker, board_of, read_state, summarise


def busy_state() -> State:
    workers = (
        Worker(1, "measuring", "process 11", Chunk(4, 6), 3.0, 2, 4, 8.0),
        Worker(2, "opening", deaths=2),
    )
    return State(7, before=1, done=5, seconds=10.0, workers=workers, retries=(Retry(Chunk(4, 6), "SIGKILL: out of memory?"),))


def write_state(folder: RunFolder, state: State) -> None:
    from xai.base.files import json_bytes
    from xai.base.records import plain

    folder.state.write_bytes(json_bytes(plain(state), indent=1))


def test_what_is_written_is_read(tmp_path) -> None:
    folder = RunFolder(tmp_path)
    write_state(folder, busy_state())
    assert read_state(folder.state) == busy_state()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "format is 2, not one of 1"),
        ({"state": "fine"}, "state is 'fine'"),
        ({"more": 1}, "holds 'more', which is not known"),
        ({"seconds": "1"}, "seconds is missing or not of type float"),
        ({"workers": [{}]}, r"workers\[0\].place is missing"),
    ],
)
def test_a_file_that_was_altered_is_refused(tmp_path, change, message) -> None:
    folder = write_run(tmp_path / "one")
    write_state(folder, busy_state())
    folder.state.write_text(json.dumps(json.loads(folder.state.read_bytes()) | change))
    result = CliRunner().invoke(main, ["bench", "status", str(folder.path)])
    assert result.exit_code == 1
    assert "Error: " in result.stderr
    with pytest.raises(XaiError, match=message):
        read_state(folder.state)


def test_a_clock_that_jumps_changes_no_duration(tmp_path, monkeypatch) -> None:
    jumps = iter(range(0, -(10**9), -(10**5)))
    monkeypatch.setattr(time, "time", lambda: next(jumps))
    ticks = iter(range(100, 10**6, 2))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(ticks)))
    with board_of(tmp_path / "status.json", 4, lambda *_: None) as board:
        board.progress(1, 4)
        board.progress(3, 4)
    state = read_state(tmp_path / "status.json")
    assert (state.before, state.done, state.state, state.seconds) == (1, 3, "done", 6.0)
    assert state.rate == pytest.approx(2 / 6)


@pytest.mark.parametrize(
    ("error", "state", "failure"),
    [(XaiError("no room"), "failed", "no room"), (KeyboardInterrupt(), "stopped", None), (SystemExit(143), "stopped", None)],
)
def test_the_file_says_how_it_ended(tmp_path, error, state, failure) -> None:
    with pytest.raises(type(error)), board_of(tmp_path / "status.json", 4, lambda *_: None):
        raise error
    assert (read_state(tmp_path / "status.json").state, read_state(tmp_path / "status.json").failure) == (state, failure)


def test_a_state_that_cannot_be_written_is_told_once_and_stops_nothing(tmp_path, caplog) -> None:
    with board_of(tmp_path / "none" / "status.json", 4, lambda *_: None) as board:
        board.progress(1, 4)
    assert [record.getMessage() for record in caplog.records if "cannot save" in record.getMessage()] == [
        f"cannot save {tmp_path / 'none' / 'status.json'}: No such file or directory; xai bench status will not know how far this run is"
    ]


def test_status_says_who_works_on_what(tmp_path) -> None:
    folder = write_run(tmp_path / "one")
    write_state(folder, busy_state())
    with locked(folder.lock, "one"):
        text = CliRunner().invoke(main, ["bench", "status", str(folder.path)]).output.splitlines()
        seen = json.loads(CliRunner().invoke(main, ["bench", "status", str(folder.path), "--json"]).output)
    assert text[0].startswith(f"{folder.path}: 5 of 7 questions done, 0.40 a second, 5 s to go; held by process ")
    assert text[1:] == [
        "  worker 1 (process 11): questions 4 to 5 for 3 s; 2 chunks, 4 questions, busy 80%",
        "  worker 2: opening; 0 chunks, 0 questions, busy 0%, 2 ended there",
        "  given to another worker: questions 4 to 5 (SIGKILL: out of memory?)",
    ]
    assert seen["held_by"].startswith("process ")
    assert seen["workers"][0]["chunk"] == {"start": 4, "stop": 6}
    after = CliRunner().invoke(main, ["bench", "status", str(folder.path)]).output
    assert "5 of 7 questions done; ended without a word after 10 s or more, as a killed process does: go on with --resume" in after


def test_status_of_several_folders_and_of_none(tmp_path) -> None:
    folder = write_run(tmp_path / "one")
    write_state(folder, State(7, state="done", done=7, seconds=3.0))
    shutil.copytree(folder.path, tmp_path / "two")
    result = CliRunner().invoke(main, ["bench", "status", str(folder.path), str(tmp_path / "two")])
    assert result.output.count("7 of 7 questions done; done after 3 s") == 2
    (tmp_path / "empty").mkdir()
    assert "holds no run" in CliRunner().invoke(main, ["bench", "status", str(tmp_path / "empty")]).stderr
    folder.state.unlink()
    assert "one has no status.json" in CliRunner().invoke(main, ["bench", "status", str(folder.path)]).stderr


def test_the_last_line_says_how_busy_each_was_and_what_was_retried() -> None:
    said = summarise(busy_state())
    assert said == "0.40 questions a second; 2 workers, busy 80%, 0%; given to another worker: questions 4 to 5 (SIGKILL: out of memory?)"
    assert summarise(State(1, done=1, seconds=2.0)) == "0.50 questions a second"


@pytest.mark.parametrize("data", DATASETS)
def test_samples_of_every_data_set_can_be_sent_to_a_worker(data) -> None:
    samples = load_samples(data, 3)
    again = pickle.loads(pickle.dumps(samples))
    assert again == samples
    for ours, theirs in zip(samples, again, strict=True):
        assert (ours.truth(WHOLE) is None) == (theirs.truth(WHOLE) is None)
