"""`xai explain --pairs`: a file of images and questions in, a JSON line for each out, as they are done."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from xai.base.errors import BadInput, XaiError
from xai.base.files import is_stream, json_bytes
from xai.base.messages import LOG
from xai.base.progress import track
from xai.base.reading import Fields
from xai.base.wording import one_line
from xai.commands.explain.asked import Asked
from xai.commands.explain.json_lines import Lines, open_lines
from xai.commands.explain.outputs import json_lines_path, summarise
from xai.commands.explain.pair_file import Pair, read_pairs
from xai.commands.explain.sharing import Workers, share, within
from xai.commands.options import open_within
from xai.models.load import ModelOptions, identify

if TYPE_CHECKING:
    from xai.runtime.explainer import Explainer
    from xai.runtime.explanation import Explanation
    from xai.runtime.inputs.prepare import PreparedImage
    from xai.workers.crew import Task

    Result = list[Explanation] | XaiError
    """Of a pair: its explanations, or why there are none."""

TOGETHER = 4
"""Pairs that are explained as one batch. A resumed run cuts the file at the same places, so that it computes the same numbers."""


class Told(NamedTuple):
    """What is told of a pair that was explained."""

    content: dict[str, Any]
    """The JSON object."""
    times: str


@dataclass(frozen=True)
class Explaining:
    """What a worker does with the pairs of a chunk."""

    asked: Asked

    def results(self, explainer: Explainer, task: Task) -> list[Told | XaiError]:
        """Explain each of the pairs, or say why it cannot be."""
        block = task.items[task.chunk.start : task.chunk.stop]
        return list(_explained(explainer, block, self.asked, 0, _check_questions(explainer, block, self.asked)))


def check_usage(given: Sequence[str], shown: Mapping[str, Any]) -> None:
    """Raises `click.UsageError` for what --pairs does not go with, and where it is not said where the lines go."""
    if given:
        raise click.UsageError(f"--pairs brings images and questions: leave out {given[0]!r}")
    if shown["outputs"] or shown["solver_report"]:
        raise click.UsageError("--pairs writes JSON lines only: leave out -o and --solver-report")
    if shown["json_file"] is None:
        raise click.UsageError("say where the lines of --pairs go: --json FILE, or --json - for standard output")


def explain_pairs(
    model: ModelOptions,
    file: str,
    asked: Asked,
    json_file: str,
    resume: bool,
    skip_broken: bool,
    workers: Workers | None,
    memory: int | None,
) -> None:
    """Explain every pair of a file; write a line for each. Raises `XaiError` at the first that cannot be, unless `skip_broken`."""
    path = json_lines_path(json_file)
    if resume and (path is None or is_stream(path)):
        raise click.UsageError("--resume needs a file that --json names")
    pairs = read_pairs(Path(file))
    model.find()
    from xai.runtime.inputs.boxes import split_row

    if not skip_broken:
        for pair in pairs:
            if not os.path.exists(split_row(str(pair.path))[0]):  # noqa: PTH110 - Path.exists fails on a name that is too long
                raise _refused(pair, BadInput(f"image {pair.path} does not exist"))
    with open_lines(path, resume) as lines:
        questions = [pair.question for pair in pairs]
        explainer = open_within(model, None if workers else memory, TOGETHER, questions, graphs=2)
        processes = within(workers, memory, explainer, TOGETHER, questions, 2, model.threads)
        own = explainer.session
        run = [identify(model.model, own.name), own.name, own.precision, own.provider, asked.methods, asked.top_k]
        options = [asked.target, asked.versus, asked.as_published, asked.truncate, asked.seed]
        keys = [pair.key([*run, *options, *(one for one in (asked.boxes, asked.words) if one)]) for pair in pairs]
        done = _check_done(lines, pairs, keys)
        refused = _check_questions(explainer, pairs, asked)
        for pair in pairs[done:] if not skip_broken else ():
            if pair.number in refused:
                raise _refused(pair, refused[pair.number])
        results = _explained(explainer, pairs, asked, done, refused) if processes is None else _shared(model, pairs, asked, done, processes)
        try:
            with closing(results):
                broken = _write_lines(lines, results, pairs[done:], keys[done:], skip_broken)
        except KeyboardInterrupt as error:
            raise XaiError(
                f"stopped; what is done lies in {path}: go on with the same command and --resume" if path else "stopped"
            ) from error
    if broken:
        LOG.warning("%d of %d pairs could not be explained: their lines say why", broken, len(pairs))
    if path is not None:
        click.echo(one_line(f"{len(pairs)} pairs -> {path}"))


def _check_done(lines: Lines, pairs: Sequence[Pair], keys: Sequence[str]) -> int:
    """How many lines are there already. Raises `XaiError` where one is not of its pair, of this model and of these options."""
    count = 0
    for where, line in lines.done():
        fields = Fields(line, where, "name another file for --json, or leave out --resume and remove it")
        if count == len(pairs):
            raise fields.refuse("pair", f"is {count + 1}, and there are {len(pairs)} pairs")
        if fields.integer("pair", 1) != count + 1 or fields.get("id", str, int, type(None)) != pairs[count].id:
            raise fields.refuse("pair", f"is not that of {pairs[count].where}")
        if fields.get("key", str) != keys[count]:
            raise fields.refuse("key", f"tells of another pair, model or option than {pairs[count].where}")
        count += 1
    return count


def _shared(model: ModelOptions, pairs: Sequence[Pair], asked: Asked, done: int, workers: int) -> Generator[Told | XaiError, None, None]:
    """The same as `_explained`, by workers: a chunk is what is explained as one batch."""
    from xai.workers.crew import Chunk
    from xai.workers.state import Wording

    first = done - done % TOGETHER
    chunks = [Chunk(start, min(start + TOGETHER, len(pairs))) for start in range(first, len(pairs), TOGETHER)] if done < len(pairs) else []
    wording = Wording("pair", 1, "the lines before are kept: go on with --resume and fewer workers")
    with closing(share(model, Explaining(asked), pairs, chunks, workers, wording)) as found:
        yield from islice(found, done - first, None)


def _write_lines(lines: Lines, results: Iterator[Told | XaiError], pairs: Sequence[Pair], keys: Sequence[str], skip_broken: bool) -> int:
    """Write a line for each pair as its result comes; returns how many could not be explained.

    Raises `XaiError` at the first of those, with its line in the file, unless `skip_broken`.
    """
    broken = 0
    for pair, key, result in zip(track(pairs, "Explaining"), keys, results, strict=True):
        if isinstance(result, XaiError):
            if not skip_broken:
                raise _refused(pair, result)
            broken += 1
            LOG.warning("%s: %s", pair.where, result)
            content = {"image": str(pair.path), "question": pair.question, "error": one_line(str(result))}
        else:
            content = result.content
            LOG.info("%s", result.times)
        lines.write(json_bytes({"pair": pair.number, "id": pair.id, "key": key, **content}))
    return broken


def _refused(pair: Pair, error: XaiError) -> XaiError:
    return XaiError(f"{pair.where}: {error}; --skip-broken leaves such pairs out")


def _check_questions(explainer: Explainer, pairs: Sequence[Pair], asked: Asked) -> dict[int, XaiError]:
    """What is wrong with questions and answers, by the pair's number."""
    found: dict[int, XaiError] = {}
    for pair in pairs:
        try:
            asked.of_pair(pair.target, pair.versus).check(explainer, pair.question)
        except XaiError as error:
            found[pair.number] = error
    return found


def _explained(
    explainer: Explainer, pairs: Sequence[Pair], asked: Asked, done: int, refused: Mapping[int, XaiError]
) -> Generator[Told | XaiError, None, None]:
    """The results of the pairs behind the first `done`, in order; what is `refused` already is not tried."""
    from xai.runtime.inputs.prepare import ahead

    first = done - done % TOGETHER
    images = ahead(lambda pair: asked.prepare(explainer, pair.path, pair.boxes), [p for p in pairs[first:] if p.number not in refused])
    prepared: dict[int, PreparedImage] = {}
    for start in range(first, len(pairs), TOGETHER):
        block = pairs[start : start + TOGETHER]
        results: dict[int, Result] = {pair.number: refused[pair.number] for pair in block if pair.number in refused}
        prepared.clear()
        for pair in block:
            try:
                if pair.number not in results:
                    prepared[pair.number] = next(images).result()
            except XaiError as error:
                results[pair.number] = error
        for (usable, target, versus), group in groupby(block, lambda pair: (pair.number in prepared, pair.target, pair.versus)):
            if usable:
                results |= _explain_group(explainer, list(group), prepared, asked.of_pair(target, versus))
        yield from (_tell(results[pair.number]) for pair in block if pair.number > done)


def _tell(result: Result) -> Told | XaiError:
    from xai.runtime.explanation import to_json

    return result if isinstance(result, XaiError) else Told(to_json(result), summarise(result).times)


def _explain_group(explainer: Explainer, group: Sequence[Pair], prepared: Mapping[int, PreparedImage], asked: Asked) -> dict[int, Result]:
    """Pairs that follow each other and have their answers in common, as one batch; one by one where that fails."""
    images = [(prepared[pair.number], pair.question) for pair in group]
    try:
        found = asked.explain_batch(explainer, images, asked.seed + group[0].number - 1)
    except XaiError as error:
        if len(group) == 1:
            return {group[0].number: error}
        alone = [_explain_group(explainer, [pair], prepared, asked) for pair in group]
        return {number: result for one in alone for number, result in one.items()}
    return {pair.number: result for pair, result in zip(group, found, strict=True)}
