"""The folder of a run: `run.json` says what was asked, `results.jsonl` holds one line per question, method, modality and sign.

Lines are written chunk by chunk, whole chunks at a time, and a chunk's content does not depend on where the run began: so a
run that was killed and resumed, or split over machines and merged, gives the very same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xai.base.errors import XaiError
from xai.base.files import json_bytes, write

FORMAT = 1


@dataclass(frozen=True)
class Chunk:
    """Questions `start` to `stop` (excluded) of a run's order; they are run together."""

    start: int
    stop: int


def chunks(images: Sequence[str], size: int) -> list[Chunk]:
    """Cut a run of questions with these images, equal ones side by side, into chunks of at least `size` questions.

    No image is in two chunks, so that none is encoded twice; only the last chunk may be smaller.
    """
    found, start = [], 0
    for i in range(1, len(images) + 1):
        if i == len(images) or (i - start >= size and images[i] != images[i - 1]):
            found.append(Chunk(start, i))
            start = i
    return found


def shard_chunks(every: Sequence[Chunk], shard: tuple[int, int]) -> list[Chunk]:
    """The chunks of shard i of n, i counted from 1."""
    i, n = shard
    return list(every[i - 1 :: n])


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

    def read_run(self) -> dict[str, Any]:
        """What the run was asked to do. Raises `XaiError` where the folder holds no run."""
        try:
            content = json.loads(self.run.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise XaiError(f"{self.path} holds no run: it has no run.json") from error
        except (OSError, ValueError) as error:
            raise XaiError(f"{self.run} cannot be read: {error}") from error
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise XaiError(f"{self.run} was written by another version of xai: run it again into an empty folder")
        return content

    def open(self, settings: Mapping[str, Any], about: Mapping[str, Any], shard: tuple[int, int], resume: bool) -> None:
        """Make the folder of a run, or with `resume` check that it is of this one.

        `settings` decide the results; `about` (versions, machine) is noted beside them. Raises `XaiError` where the folder
        holds a run that was asked for something else, or any run where `resume` is not set.
        """
        content = {"format": FORMAT, "settings": dict(settings), "shard": list(shard), "about": dict(about)}
        if self.run.exists():
            old = self.read_run()
            if differing := differences(old["settings"] | {"shard": old["shard"]}, dict(settings) | {"shard": list(shard)}):
                raise XaiError(f"{self.path} holds another run, {differing}: name another folder")
            if not resume:
                raise XaiError(f"{self.path} holds this run already: go on with --resume, or name another folder")
            return
        if self.results.exists():
            raise XaiError(f"{self.path} holds results without a run.json: name another folder")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise XaiError(f"cannot make folder {self.path}: {error.strerror}") from error
        write({self.run: json_bytes(content, indent=1)})

    def forget(self) -> None:
        """Remove what `open` wrote, where no line of a result came of it."""
        if not self.results.exists() or not self.results.stat().st_size:
            self.results.unlink(missing_ok=True)
            self.run.unlink(missing_ok=True)

    def repair(self, wanted: Sequence[Chunk], per_question: int) -> int:
        """Cut `results.jsonl` after its last whole chunk; returns how many of the chunks `wanted` it holds.

        A chunk is whole when every question has `per_question` lines, or the one that says why it was skipped.
        Raises `XaiError` on a line that is not of this run.
        """
        if not self.results.exists():
            return 0
        expected = [(number, index) for number, chunk in enumerate(wanted) for index in range(chunk.start, chunk.stop)]
        done = lines = position = 0  # chunks, lines of the current question, questions
        end = offset = 0
        try:
            with self.results.open("rb") as file:
                for number, raw in enumerate(file, start=1):
                    line = _parse(raw)
                    if line is None:
                        break  # a kill cut it short
                    if position >= len(expected) or line.get("index") != expected[position][1]:
                        raise XaiError(f"{self.results} line {number} is not of this run: name another folder")
                    offset += len(raw)
                    lines += 1
                    if "skipped" in line or lines == per_question:
                        position, lines = position + 1, 0
                        if position == len(expected) or expected[position][0] != done:
                            done, end = done + 1, offset
            with self.results.open("r+b") as file:
                file.truncate(end)
        except OSError as error:
            raise XaiError(f"{self.results} cannot be repaired: {error.strerror}") from error
        return done

    def append(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Add a chunk's lines. Raises `XaiError` where that fails, as on a full disk; `repair` then cuts off what was written."""
        try:
            with self.results.open("ab") as file:
                file.write(b"".join(json_bytes(line) for line in lines))
        except OSError as error:
            raise XaiError(f"cannot write {self.results}: {error.strerror}; whole chunks are kept: go on with --resume") from error

    def lines(self) -> Iterator[dict[str, Any]]:
        """Every line, in order. Raises `XaiError` on one that cannot be read."""
        try:
            with self.results.open("rb") as file:
                for number, raw in enumerate(file, start=1):
                    line = _parse(raw)
                    if line is None:
                        raise XaiError(f"{self.results} line {number} is cut short: repair it with --resume")
                    yield line
        except OSError as error:
            raise XaiError(f"{self.results} cannot be read: {error.strerror}") from error


def _parse(raw: bytes) -> dict[str, Any] | None:
    """A whole line's object; None for what is left of one."""
    if not raw.endswith(b"\n"):
        return None
    try:
        line = json.loads(raw)
    except ValueError:
        return None
    return line if isinstance(line, dict) else None


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """The settings that differ, in words; empty where none does."""
    names = [name for name in (*new, *(n for n in old if n not in new)) if old.get(name) != new.get(name)]
    return ", ".join(f"with {name} {_short(old.get(name))} instead of {_short(new.get(name))}" for name in names)


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."


def merge(folders: Sequence[Path], target: Path) -> RunFolder:
    """Join the finished shards of one run into `target`, as if it had been run in one piece.

    Raises `XaiError` where shards are missing, unfinished, given twice or of different runs.
    """
    shards = [(RunFolder(folder), RunFolder(folder).read_run()) for folder in folders]
    first, reference = shards[0]
    for folder, content in shards[1:]:
        if differing := differences(reference["settings"], content["settings"]):
            raise XaiError(f"{folder.path} is of another run than {first.path}: {differing}")
    count = reference["shard"][1]
    given = sorted(content["shard"][0] for _, content in shards)
    if any(content["shard"][1] != count for _, content in shards) or given != list(range(1, count + 1)):
        raise XaiError(f"the run was split into {count} shards, and {', '.join(f'{i}' for i in given)} were given: name each once")
    if RunFolder(target).run.exists():
        raise XaiError(f"{target} holds a run already: name another folder")
    lines = sorted((line for folder, _ in shards for line in folder.lines()), key=lambda line: line["index"])
    found = {line["index"] for line in lines}
    if missing := reference["settings"]["questions"] - len(found):
        raise XaiError(f"{missing} of {reference['settings']['questions']} questions are missing: finish the shards with --resume")
    merged = RunFolder(target)
    merged.open(reference["settings"], reference["about"], (1, 1), resume=False)
    write({merged.results: b"".join(map(json_bytes, lines))})
    return merged
