"""Where `xai explain` puts what it found: files, JSON lines, the terminal."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from xai.base.errors import BadInput, XaiError
from xai.base.files import check_folder, is_standard_output
from xai.base.messages import is_quiet
from xai.base.wording import one_line
from xai.commands.explain.images import DASH

if TYPE_CHECKING:
    from xai.runtime.explanation import Explanation

NAME_FIELD = "{name}"
"""Stands for an image's name in the name of an output."""


def output_paths(outputs: Sequence[str], images: Sequence[str]) -> dict[str, list[Path]]:
    """Where each image's explanation goes."""
    from xai.runtime.inputs.boxes import split_row

    paths: dict[str, list[Path]] = {}
    for image in images:
        stem = "stdin" if image == DASH else Path(split_row(image)[1] or Path(image).stem).name
        paths[image] = []
        for output in dict.fromkeys(outputs):
            if not output:
                raise BadInput("an output name is empty: name a file or a folder/")
            folder = _is_folder(output)
            paths[image].append(Path(output) / f"{stem}.png" if folder else Path(output.replace(NAME_FIELD, stem)))
    return paths


def _is_folder(output: str) -> bool:
    return output.endswith("/") or os.path.isdir(output)  # noqa: PTH112 - Path.is_dir fails on a name that is too long


def json_lines_path(name: str | None) -> Path | None:
    """The file that --json names; None for standard output, or for none. Raises `BadInput` for an empty name."""
    if name == "":
        raise BadInput("the name after --json is empty: name a file, or - for standard output")
    return None if name is None or is_standard_output(name) else Path(name)


def check_paths(paths: Mapping[str, Sequence[Path]], lines: Path | None, outputs: Sequence[str], boxes: str | None = None) -> None:
    """Refuse, before any work, what cannot be written, what two would be written to, and what is read: images, and their `boxes`."""
    from xai.runtime.inputs.boxes import split_row
    from xai.runtime.show.save import check, check_suffix

    new_folders = {Path(output) for output in outputs if output.endswith("/")}
    every = [path for found in paths.values() for path in found]
    for path in every:
        check_suffix(path)
        if os.path.isdir(path.parent) or path.parent not in new_folders:  # noqa: PTH112 - as in _is_folder
            check(path)
    if lines:
        check_folder(lines)
        every.append(lines)
    images = [split_row(image)[0] for image in paths if image != DASH]
    read = {os.path.realpath(image) for image in images}  # Path.resolve fails on a circle of links
    features = [] if boxes is None else [split_row(boxes)[0], *(f"{boxes}/{Path(image).stem}.npz" for image in images)]
    read |= {os.path.realpath(name) for name in features}
    written: set[str] = set()
    for path in every:
        place = os.path.realpath(path)
        if place in read:
            raise BadInput(f"{path} is one of the images{' or their boxes' if features else ''}: choose another name")
        if place in written:
            same = [image for image, found in paths.items() if path in found]
            alike = len(same) > 1 and Path(same[0]).stem == Path(same[1]).stem
            way = f"{same[0]} and {same[1]} have one name, explain them apart" if alike else f"use {NAME_FIELD} in the name, or other names"
            raise BadInput(f"more than one explanation would be written to {path}: {way}")
        written.add(place)


def make_folders(outputs: Sequence[str]) -> None:
    """Make the folders that end with a slash, all or none. Raises `XaiError` where that fails."""
    made: list[Path] = []
    for folder in (Path(output) for output in outputs if output.endswith("/")):
        made += [path for path in (*reversed(folder.parents), folder) if not os.path.lexists(path)]
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            for path in reversed(made):
                with suppress(OSError):  # it was not made
                    path.rmdir()
            raise XaiError(f"cannot make folder {folder}: {error.strerror}") from error


class Summary(NamedTuple):
    """What is said of an image in short."""

    answer: str
    notes: tuple[str, ...]
    times: str


def summarise(explanations: Sequence[Explanation]) -> Summary:
    """Say in short what the model answered, what is to be noted of which method, and where the time went."""
    first = explanations[0]
    before = first.left_out.before if first.left_out else None
    whole = f", with nothing left out {before.text} ({before.shown})" if before else ""
    noted: dict[str, list[str]] = {}
    for explanation in explanations:
        for note in explanation.notes:
            noted.setdefault(note, []).append(explanation.method)
    notes = []
    for note, methods in noted.items():
        whose = f"{', '.join(methods)}: " if len(methods) < len(explanations) else ""
        notes.append(f"{whose}{one_line(note)}")
    times = f"{first.image_name}: {', '.join(f'{name} {taken:.1f} ms' for name, taken in first.timings_ms.items())}"
    return Summary(f"{first.image_name}: {first.answer.text} ({first.answer.shown}){whole}", tuple(notes), times)


def print_summary(summary: Summary, paths: Sequence[Path]) -> None:
    """One line for an image: its answer, and the files that were written; what is to be noted on standard error."""
    written = "".join(f" -> {path}" for path in paths)
    click.echo(one_line(f"{summary.answer}{written}"))
    for note in summary.notes if not is_quiet() else ():
        click.echo(f"Note: {note}", err=True)


def print_whole(explanations: Sequence[Explanation]) -> None:
    """The explanations themselves, drawn for a terminal."""
    from rich.console import Console

    from xai.runtime.show.terminal import show

    show(explanations, Console())


def print_solver(explanations: Sequence[Explanation]) -> None:
    """How each graph was solved; numbers that are cut off are of no use, so that the table may be wider than the terminal."""
    from rich.console import Console

    from xai.runtime.show.terminal import show_solver

    show_solver(explanations, Console(width=max(Console().width, 130)))
