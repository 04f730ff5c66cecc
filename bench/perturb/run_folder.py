"""The folder of a run: `run.json` says what was asked, `results.jsonl` holds one line per question, modality, sign and method.

One process at a time writes there. Lines are written chunk by chunk, whole chunks at a time, and a chunk's content does not depend on
where the run began: so a run that was killed and resumed, or split over machines and merged, gives the very same bytes.
"""

from __future__ import annotations

import heapq
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from xai.base.errors import BadInput, XaiError
from xai.base.files import json_bytes, write
from xai.base.lock import holder, locked
from xai.base.reading import Fields, read_json
from xai.bench.measures.table import FIRST, MEASURES, find_measures
from xai.bench.perturb import shown
from xai.bench.perturb.plan import MODALITIES, SIGNS
from xai.bench.perturb.request import join_chunks, result_columns
from xai.bench.perturb.result_lines import Expected, Line, QuestionLines, line_bytes, read_questions
from xai.bench.perturb.seal import CHECK, seal, unseal
from xai.workers.crew import Chunk

FOLDER_FORMAT = 2
_KEPT = "whole chunks are kept: go on with --resume"
_DRAFT = re.compile(r"\.xai-[0-9a-f]{16}|status\.json\.part")


@dataclass(frozen=True)
class RunRecord:
    """What `run.json` says: the settings decide the results, `about` (versions, machine) is noted beside them."""

    settings: Mapping[str, Any]
    shard: tuple[int, int]
    """Number and count, such as (1, 3)."""
    questions: tuple[Chunk, ...]
    """The shard's."""
    about: Mapping[str, Any]

    @property
    def expected(self) -> Expected:
        """Say which lines the run has when it is done."""
        return Expected(self.questions, result_columns(self.settings), _hash_settings(self.settings))

    @property
    def count(self) -> int:
        """Count the shard's questions."""
        return sum(chunk.stop - chunk.start for chunk in self.questions)

    def content(self) -> bytes:
        """Write it as `run.json`."""
        content = {
            "format": FOLDER_FORMAT,
            "settings": dict(self.settings),
            "shard": list(self.shard),
            "questions": [list(chunk) for chunk in self.questions],
            "about": dict(self.about),
        }
        return json_bytes(seal(content), indent=1)


@dataclass(frozen=True)
class RunFolder:
    """Reads and writes the files of one run."""

    path: Path

    @property
    def results(self) -> Path:
        return self.path / "results.jsonl"

    @property
    def run(self) -> Path:
        return self.path / "run.json"

    @property
    def state(self) -> Path:
        return self.path / "status.json"

    @property
    def shown(self) -> Path:
        """What the report loads."""
        return self.path / shown.FOLDER

    @property
    def lock(self) -> Path:
        return self.path / "run.lock"

    def read_record(self) -> RunRecord:
        """Read what the run was asked to do. Raises `XaiError` where the folder holds no run, or not as it was written."""
        if not os.path.lexists(self.run):
            raise XaiError(f"{self.path} holds no run: it has no run.json")
        fields = Fields(read_json(self.run), str(self.run), "run it again into an empty folder")
        if fields.content.get("format") != FOLDER_FORMAT:
            raise XaiError(f"{self.run} was written by another version of xai: run it again into an empty folder")
        return _read_record(fields)

    def read_questions(self) -> Iterator[QuestionLines]:
        """Read every question of the run. Raises `XaiError` where one is missing, and on the first line that is not what it must be."""
        record = self.read_record()
        done = end = 0
        if os.path.lexists(self.results):
            for question in read_questions(self.results, record.expected):
                done, end = done + 1, question.end
                yield question
        if done < record.count:
            raise XaiError(f"{self.results} lacks {record.count - done} of {record.count} questions: finish the run with --resume")
        if self.results.stat().st_size > end:
            raise XaiError(f"{self.results} ends with a line that is cut short: repair it with --resume")

    @contextmanager
    def writing(self, record: RunRecord, resume: bool) -> Iterator[None]:
        """Hold the folder for one run, new or with `resume` begun before, while the block runs; no other process can write there.

        A block that fails before there is any result leaves nothing of the run. Raises `XaiError` where another process writes in
        the folder, and where it holds a run that was asked for something else, or any run where `resume` is not set.
        """
        new = not os.path.lexists(self.path)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise XaiError(f"cannot make folder {self.path}: {error.strerror}") from error
        try:
            with locked(self.lock, str(self.path)):
                self._begin(record, resume)
                self._remove_drafts()
                try:
                    yield
                except BaseException:
                    if not self._holds_results(record):
                        self.results.unlink(missing_ok=True)
                        self.run.unlink(missing_ok=True)
                        self.state.unlink(missing_ok=True)
                        shutil.rmtree(self.shown, ignore_errors=True)
                    raise
        finally:
            if new:
                with suppress(OSError):  # it is empty only where nothing came of the run
                    self.path.rmdir()

    def _begin(self, record: RunRecord, resume: bool) -> None:
        if not os.path.lexists(self.run):
            if os.path.lexists(self.results):
                raise XaiError(f"{self.path} holds results without a run.json: name another folder")
            write({self.run: record.content()})
            return
        old = self.read_record()
        before, now = ({**one.settings, "shard": list(one.shard)} for one in (old, record))
        if differing := _differences(before, now):
            raise XaiError(f"{self.path} holds another run, {differing}: name another folder")
        if old.questions != record.questions:
            raise XaiError(f"{self.path} holds another run, with other questions in this shard: name another folder")
        if not resume:
            raise XaiError(f"{self.path} holds this run already: go on with --resume, or name another folder")

    def _remove_drafts(self) -> None:
        """Remove what a kill left of files that were about to be written (`base/files.py`)."""
        for path in self.path.iterdir():
            if _DRAFT.fullmatch(path.name):
                path.unlink(missing_ok=True)

    def _holds_results(self, record: RunRecord) -> bool:
        """Say whether anything of worth would be lost with the results: an answered question, or lines that somebody damaged."""
        try:
            return os.path.lexists(self.results) and any("skipped" not in q.lines[0] for q in read_questions(self.results, record.expected))
        except XaiError:
            return True

    def repair(self, record: RunRecord, chunks: Sequence[Chunk]) -> int:
        """Cut `results.jsonl` after its last whole chunk; returns how many of the shard's `chunks` it holds.

        Raises `XaiError` on the first line that is not what it must be: only the end of a file is ever cut.
        """
        if not os.path.lexists(self.results):
            return 0
        done = end = 0
        for question in read_questions(self.results, record.expected):
            if question.index == chunks[done].stop - 1:
                done, end = done + 1, question.end
        try:
            if self.results.stat().st_size > end:
                os.truncate(self.results, end)
        except OSError as error:
            raise XaiError(f"{self.results} cannot be repaired: {error.strerror}") from error
        return done

    def show(self, files: Mapping[str, bytes]) -> None:
        """Add what the report shows of a chunk's questions, before its lines, which say that the chunk is done. Raises `XaiError`."""
        if not files:
            return
        try:
            for folder in {(self.shown / name).parent for name in files}:
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise XaiError(f"cannot write {self.shown}: {error.strerror}; {_KEPT}") from error
        try:
            write({self.shown / name: content for name, content in files.items()})
        except XaiError as error:
            raise XaiError(f"{error}; {_KEPT}") from error

    def append(self, lines: Sequence[Line], record: RunRecord) -> None:
        """Add a chunk's lines, on the disk when this returns. Raises `XaiError` where that fails, as where it is full; `repair` then cuts
        off what was written."""
        try:
            with self.results.open("ab") as file:
                file.write(line_bytes(lines, record.expected.key))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise XaiError(f"cannot write {self.results}: {error.strerror}; {_KEPT}") from error


def _hash_settings(settings: Mapping[str, Any]) -> str:
    return sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def _read_record(fields: Fields) -> RunRecord:
    """Check every field of `run.json`, and the checksum against all of them."""
    fields.only("format", "settings", "shard", "questions", "about", CHECK)
    settings = fields.inner("settings")
    for name in ("data", "data_sha256", "session", "precision", "xai"):
        settings.get(name, str)
    for name in ("seed", "unknown_labels", "memory"):
        settings.get(name, int)
    for name in ("questions", "chunk"):
        settings.integer(name, 1)
    if "family" in settings.content:  # it takes no squares
        settings.get("family", str)
        settings.inner("picture")
    else:
        settings.integer("image_size", 1)
    if "boxes_sha256" in settings.content:
        settings.get("boxes_sha256", str)
    if "measures" in settings.content and not _are_measures(tuple(settings.items("measures", str))):
        raise settings.refuse("measures", f"is not {FIRST} with others of {', '.join(MEASURES)}, in this order")
    if "as_published" in settings.content:
        settings.get("as_published", bool)
    for name, allowed in (("methods", None), ("modalities", MODALITIES), ("signs", SIGNS)):
        values = settings.items(name, str)
        if not values or len(set(values)) < len(values) or (allowed and not set(values) <= set(allowed)):
            raise settings.refuse(name, "is not a list of names, each once")
    for part in (settings.inner("model"), fields.inner("about")):
        for name in part.content:
            part.get(name, str)
    shard = fields.items("shard", int)
    if len(shard) != 2 or not 1 <= shard[0] <= shard[1]:
        raise fields.refuse("shard", "is not the number and the count of a shard")
    chunks = []
    for pair in fields.items("questions", list):
        if [type(value) for value in pair] != [int, int] or not 0 <= pair[0] < pair[1] <= settings.content["questions"]:
            raise fields.refuse("questions", "is not a list of ranges of questions")
        chunks.append(Chunk(*pair))
    content = unseal(fields)
    return RunRecord(content["settings"], (shard[0], shard[1]), tuple(chunks), content["about"])


def _are_measures(names: tuple[str, ...]) -> bool:
    """Whether a run notes these: more than the published test, in the order of the table."""
    return len(names) > 1 and set(names) <= set(MEASURES) and names == find_measures(names)


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Say in words which settings differ; empty where none does."""
    names = [name for name in dict.fromkeys((*new, *old)) if old.get(name) != new.get(name)]
    return ", ".join(f"with {name} {_shorten(old.get(name))} instead of {_shorten(new.get(name))}" for name in names)


def _shorten(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."


@contextmanager
def merging(folders: Sequence[Path], target: Path) -> Iterator[RunFolder]:
    """Join the finished shards of one run as if it had been run in one piece; the block adds what is made of the results.

    The joined run lies beside `target`, and becomes it when the block ends well: a target is whole or not there. Raises `XaiError` where
    shards are missing, unfinished, in use, given twice, damaged or of different runs, and where there is something at `target`.
    """
    shards = [RunFolder(folder) for folder in folders]
    joined = _join_records(shards)
    draft = RunFolder(target.absolute().with_name(f".xai-{secrets.token_hex(8)}"))
    try:
        if os.path.lexists(target) and not (target.is_dir() and not any(target.iterdir())):
            raise BadInput(f"{target} exists and is not an empty folder: name another")
        draft.path.mkdir(parents=True)
        draft.run.write_bytes(joined.content())
        with draft.results.open("wb") as file:
            for question in heapq.merge(*(shard.read_questions() for shard in shards), key=lambda question: question.index):
                file.write(line_bytes(question.lines, joined.expected.key))
        for shard in shards:
            for source, own in shown.copies(shard.path, draft.path):
                own.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, own)
        yield draft
        draft.path.rename(target)
    except OSError as error:
        raise XaiError(f"cannot write {target}: {error.strerror}") from error
    finally:
        shutil.rmtree(draft.path, ignore_errors=True)


def _join_records(shards: Sequence[RunFolder]) -> RunRecord:
    """Put together what the shards were asked. Raises `XaiError` where they are not all the shards of one run, each once."""
    for shard in shards:
        if who := holder(shard.lock):
            raise XaiError(f"{shard.path} is in use by {who}: wait for its end")
    records = [shard.read_record() for shard in shards]
    first = records[0]
    for shard, record in zip(shards, records, strict=True):
        if differing := _differences(first.settings, record.settings):
            raise XaiError(f"{shard.path} is of another run than {shards[0].path}: {differing}")
    count = first.shard[1]
    given = sorted(record.shard[0] for record in records)
    if any(record.shard[1] != count for record in records) or given != list(range(1, count + 1)):
        raise XaiError(f"the run was split into {count} shards, and {', '.join(map(str, given))} were given: name each once")
    questions = join_chunks(sorted(chunk for record in records for chunk in record.questions))
    if questions != (Chunk(0, first.settings["questions"]),):
        raise XaiError(f"the shards do not hold each question of the run once: run {shards[0].path} and the others again")
    return RunRecord(first.settings, (1, 1), questions, first.about)
