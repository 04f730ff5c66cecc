"""Random kills, double starts and edits of results folders, on the tiny model: the table is the right one, or refused in one line.

A run is a process of its own, forked from this one, which kills itself (SIGKILL) after some bytes of its results. The model is run once
for every question; afterwards what it said is played again: PyTorch's autograd does not survive a fork. Runs with the model itself
are killed in `test_perturb.py`.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from xai.base.errors import XaiError
from xai.base.files import json_bytes
from xai.bench.data.sample import Sample, by_image
from xai.bench.perturb import run as run_module
from xai.bench.perturb.answering import Measured, PreparedQuestion, run_chunk
from xai.bench.perturb.report.table import build_table
from xai.bench.perturb.report.write import read_results
from xai.bench.perturb.request import (
    Chunk,
    Request,
    cut_into_chunks,
    describe_machine,
    describe_request,
    join_chunks,
    shard_chunks,
    table_methods,
)
from xai.bench.perturb.run import Measuring, run_shard
from xai.bench.perturb.run_folder import RunFolder, RunRecord, merging
from xai.runtime.sessions.memory import Memory
from xai.runtime.sessions.protocol import Session
from xai.workers.alone import Alone
from xai.workers.state import Board, State
from xai.workers.supervise import Supervisor

FEW, MANY = 12, 1000
DONE, REFUSED = 0, 7
"""Exit codes of a run."""


class Mortal(RunFolder):
    """Kills its process once it has written some bytes: those of a line's beginning, too."""

    left: ClassVar = [0]

    def append(self, lines, record) -> None:
        before = self.results.stat().st_size if self.results.exists() else 0
        super().append(lines, record)
        written = self.results.stat().st_size - before
        if written > self.left[0]:
            os.truncate(self.results, before + self.left[0])
            os.kill(os.getpid(), signal.SIGKILL)
        self.left[0] -= written


@dataclass
class Bench:
    """The tiny model, its questions, and the tables of runs that nobody disturbed."""

    golden: Any
    folder: Path
    tables: dict[tuple[int, int], bytes] = field(default_factory=dict)
    other: bytes = b""
    """Results of the same questions with another seed."""

    @cached_property
    def samples(self) -> list[Sample]:
        cases = enumerate(self.golden.cases)
        return by_image([Sample(str(c), e["image"], e["question"], e["label"], partial(self.golden.image, c)) for c, e in cases])

    def record(self, shard: tuple[int, int], seed: int = 0) -> tuple[RunRecord, list[Chunk], Request]:
        request = Request(table_methods(["rollout"]), Memory(2**30, 128, 3), 1, seed=seed)
        chunks = shard_chunks(cut_into_chunks([sample.image for sample in self.samples], 1), shard)
        settings = describe_request(self.golden.explainer, {"name": "tiny", "sha256": "0"}, "data", self.samples, request)
        return RunRecord(settings, shard, join_chunks(chunks), describe_machine()), chunks, request

    def run(self, folder: RunFolder, shard: tuple[int, int], seed: int = 0) -> None:
        record, chunks, request = self.record(shard, seed)
        with folder.writing(record, resume=True):
            board = Board(folder.state, State(record.count), lambda *_: None)
            supervisor = Supervisor(Alone(self.golden.explainer, Measuring(request, False)), self.samples, board)
            run_shard(supervisor.measure, chunks, folder, record, board.progress)

    def run_forked(self, path: Path, shard: tuple[int, int], dies_after: int) -> int:
        """Begin a run in a process of its own; returns that."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12: other threads of this process do not follow
            process = os.fork()
        if process:
            return process
        code = 1
        try:
            Mortal.left[0] = dies_after
            self.run(Mortal(path), shard)
            code = DONE
        except XaiError:
            code = REFUSED
        finally:
            os._exit(code)

    def table(self, folder: RunFolder) -> bytes:
        return json_bytes(build_table(read_results(folder).scores, folder.read_record().settings))


@pytest.fixture(scope="module")
def bench(goldens, tmp_path_factory) -> Iterator[Bench]:
    said: dict[tuple[int, tuple[int, ...]], list[Measured]] = {}

    def run_chunk_once(session: Session, prepared: Sequence[PreparedQuestion], request: Request) -> list[Measured]:
        asked = request.seed, tuple(one.index for one in prepared)
        if asked not in said:
            said[asked] = run_chunk(session, prepared, request)
        return said[asked]

    torch.set_num_threads(1)  # as for every test, but a fixture of the module comes before
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "run_chunk", run_chunk_once)
        yield make_bench(goldens("tiny"), tmp_path_factory.mktemp("right"))


def make_bench(golden: Any, folder: Path) -> Bench:
    made = Bench(golden, folder)
    for shard in ((1, 1), (1, 2), (2, 2), (1, 3), (2, 3), (3, 3)):
        folder = RunFolder(made.folder / f"{shard[0]}-{shard[1]}")
        made.run(folder, shard)
        made.tables[shard] = made.table(folder)
    other = RunFolder(made.folder / "other")
    made.run(other, (1, 1), seed=1)
    made.other = other.results.read_bytes()
    return made


def ended(process: int) -> int:
    """How a run ended, -9 where it was killed."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def disturb(bench: Bench, rng: np.random.Generator, path: Path, shard: tuple[int, int], counts: Counter[str]) -> None:
    """Run a shard to its end, in spite of kills and of others that start beside it."""
    size = (bench.folder / f"{shard[0]}-{shard[1]}" / "results.jsonl").stat().st_size
    for _ in range(rng.integers(0, 3)):
        together = [bench.run_forked(path, shard, int(rng.integers(0, size))) for _ in range(rng.integers(1, 3))]
        codes = [ended(process) for process in together]
        assert set(codes) <= {DONE, REFUSED, -signal.SIGKILL}, codes
        counts["killed"] += codes.count(-signal.SIGKILL)
        counts["refused to start beside another"] += codes.count(REFUSED)
        counts["started beside another"] += len(codes) - 1
    bench.run(RunFolder(path), shard)
    assert not (path / "run.lock").exists()


def edit(bench: Bench, rng: np.random.Generator, path: Path) -> str:
    """Change one file of a folder; returns how."""
    file = path / ("run.json" if rng.random() < 0.3 else "results.jsonl")
    raw = file.read_bytes()
    lines = raw.splitlines(keepends=True)
    i, j = (int(k) for k in rng.integers(0, len(lines), 2))
    at, long = int(rng.integers(0, len(raw))), int(rng.integers(1, 200))
    others = bench.other.splitlines(keepends=True)
    if file.name == "run.json":
        content = json.loads(raw)
        inner = content[str(rng.choice(["settings", "about"]))] if rng.random() < 0.6 else content
        name = str(rng.choice(list(inner)))
        values: list[Any] = [None, -1, 0, 1.5, "x", [], {}, [1, 1], True, "random", 10**30]
        changed = values[int(rng.integers(len(values)))]
    edits: dict[str, Callable[[], bytes]] = {
        "a byte altered": lambda: raw[:at] + bytes([raw[at] ^ int(rng.integers(1, 256))]) + raw[at + 1 :],
        "bytes lost": lambda: raw[:at] + raw[at + long :],
        "bytes doubled": lambda: raw[:at] + raw[at : at + long] + raw[at:],
        "cut": lambda: raw[:at],
        "emptied": lambda: b"",
        "garbage behind": lambda: raw + rng.bytes(long),
        "a line lost": lambda: b"".join(lines[:i] + lines[i + 1 :]),
        "a line doubled": lambda: b"".join([*lines[:i], lines[j], *lines[i:]]),
        "lines swapped": lambda: b"".join(lines[j] if k == i else lines[i] if k == j else line for k, line in enumerate(lines)),
        "a line of another run": lambda: b"".join([*lines[:i], others[i % len(others)], *lines[i + 1 :]]),
        "a digit altered": lambda: raw.replace(b"0.", b"1.", int(rng.integers(1, 4))),
    }
    if file.name == "run.json":
        edits["a field altered"] = lambda: json_bytes(_with(content, inner, name, changed), indent=1)
        edits["a field lost"] = lambda: json_bytes(_with(content, inner, name, ...), indent=1)
    what = str(rng.choice([*edits, "gone"]))
    if what == "gone":
        file.unlink()
    else:
        file.write_bytes(edits[what]())
    return f"{file.name}: {what}"


def _with(content: dict[str, Any], inner: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    if value is ...:
        del inner[name]
    else:
        inner[name] = value
    return content


def read(bench: Bench, way: str, folders: list[Path], shards: list[tuple[int, int]], k: int, target: Path) -> tuple[bytes, bytes]:
    """The table that one way of reading gives, and the right one."""
    if way == "merge":
        with merging(folders, target) as joined:
            bench.table(joined)
        return bench.table(RunFolder(target)), bench.tables[1, 1]
    if way == "resume":
        bench.run(RunFolder(folders[k]), shards[k])
    return bench.table(RunFolder(folders[k])), bench.tables[shards[k]]


def trial(bench: Bench, seed: int, folder: Path, counts: Counter[str]) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 4))
    shards = [(i, count) for i in range(1, count + 1)]
    folders = [folder / f"shard{i}" for i, _ in shards]
    for path, shard in zip(folders, shards, strict=True):
        disturb(bench, rng, path, shard, counts)
    k = int(rng.integers(count))
    edited = edit(bench, rng, folders[k]) if rng.random() < 0.8 else ""
    way = str(rng.choice(["table", "resume", "merge"]))
    try:
        found, right = read(bench, way, folders, shards, k, folder / "merged")
    except XaiError as error:
        assert edited, f"seed {seed}: refused without an edit: {error}"
        assert "\n" not in str(error)
        assert str(folder) in str(error)
        assert not (folder / "merged").exists()
        counts[f"refused by {way}"] += 1
    else:
        assert found == right, f"seed {seed}: another table by {way} after {edited or 'no edit'}"
        counts[f"right by {way}" + (" after an edit" if edited else "")] += 1
    left = {path.name for path in folder.iterdir()} - {path.name for path in folders}
    assert left <= {"merged"}, left


def test_a_few_disturbed_runs_give_the_right_table_or_none(bench, tmp_path) -> None:
    counts: Counter[str] = Counter()
    for seed in range(FEW):
        (tmp_path / str(seed)).mkdir()
        trial(bench, seed, tmp_path / str(seed), counts)
    assert counts["killed"] > 0


@pytest.mark.slow
def test_a_thousand_disturbed_runs_give_the_right_table_or_none(bench, tmp_path, capsys) -> None:
    """Some ten minutes."""
    counts: Counter[str] = Counter()
    for seed in range(MANY):
        folder = tmp_path / str(seed)
        folder.mkdir()
        trial(bench, seed, folder, counts)
        shutil.rmtree(folder)
    with capsys.disabled():
        print(f"\n{MANY} runs: {', '.join(f'{name} {count}' for name, count in sorted(counts.items()))}")
    for way in ("table", "resume", "merge"):
        assert counts[f"refused by {way}"] > 50
        assert counts[f"right by {way}"] > 10
    assert counts["killed"] > 500
    assert counts["refused to start beside another"] > 100
