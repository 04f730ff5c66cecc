"""GQA (Hudson & Manning 2019, arXiv 1902.09506): questions about photographs, whose words name objects with boxes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from xai.base.errors import BadInput, XaiError
from xai.base.reading import Fields, read_members
from xai.bench.data.regions import Cells, Region, region_of
from xai.bench.data.sample import Sample

ANNOTATED = ("question", "answer", "fullAnswer")
"""The texts whose words an annotation ties to objects; all of these objects together are what the answer rests on."""

_ADVICE = "give GQA's own file"
_LONGEST_SIDE = 4096
"""Pixels: GQA's pictures, from Visual Genome, have at most 1,280."""
_BEYOND = 2
"""Pixels that a box may reach beyond its picture: boxes of Visual Genome do."""


class Objects(NamedTuple):
    """A picture's objects that somebody asks for."""

    size: tuple[int, int]
    """Width and height in pixels."""
    boxes: Mapping[str, tuple[int, int, int, int]]
    """x0, y0, x1, y1 in pixels, within the picture."""

    def region(self, names: Sequence[str], cells: Cells) -> Region | None:
        """What the boxes of these objects cover together; None of none, and where they lie in no cell."""
        mask = np.zeros(self.size[::-1], bool)
        for x0, y0, x1, y1 in (self.boxes[name] for name in names):
            mask[y0:y1, x0:x1] = True
        return region_of(mask, cells)

    def words(self, named: Mapping[int, str], cells: Cells) -> dict[int, Region]:
        """The same for the object that each word names; without the words whose object lies in no cell."""
        regions = {name: self.region([name], cells) for name in set(named.values())}
        return {word: region for word, name in named.items() if (region := regions[name]) is not None}


class _Asked(NamedTuple):
    """A question before its objects are known."""

    name: str
    image: str
    text: str
    answer: str
    words: Mapping[int, str]
    """The place of a word -> the object that it names."""
    objects: tuple[str, ...]


def question_files(folder: Path) -> tuple[list[Path], list[Path]]:
    """Find the files of questions and of scene graphs, as GQA names them: `val_balanced_questions.json`, `val_sceneGraphs.json`."""
    return sorted(folder.glob("*questions.json")), sorted([*folder.glob("*sceneGraphs.json"), *folder.glob("*scene_graphs.json")])


def read_gqa(folder: Path) -> Iterator[Sample]:
    """Read the questions of a folder and the objects that they name; pictures are `images/ID.jpg`. Raises `XaiError` on a file that is
    not GQA's, and where there is not one of either."""
    questions, graphs = question_files(folder)
    if len(questions) != 1 or len(graphs) != 1:
        raise BadInput(
            f"folder {folder} holds {len(questions)} files *questions.json and {len(graphs)} *sceneGraphs.json of GQA: leave one of either"
        )
    asked = list(_read_questions(questions[0]))
    wanted: dict[str, dict[str, str]] = {}
    for one in asked:
        for name in one.objects:
            wanted.setdefault(one.image, {}).setdefault(name, one.name)
    known = _read_objects(graphs[0], wanted, questions[0].name)
    return (_sample(one, known.get(one.image), folder) for one in asked)


def _sample(asked: _Asked, objects: Objects | None, folder: Path) -> Sample:
    picture = partial(Path, folder, "images", f"{asked.image}.jpg")
    sample = Sample(asked.name, asked.image, asked.text, {asked.answer: 1.0}, picture)
    if objects is None:
        return sample
    return replace(sample, truth=partial(objects.region, asked.objects), words=partial(objects.words, asked.words))


def _read_questions(path: Path) -> Iterator[_Asked]:
    """Read an object question id -> question."""
    seen: set[str] = set()
    for name, item in read_members(path):
        entry = Fields(item, f"{path} question {name}", _ADVICE)
        if name in seen:
            raise XaiError(f"{path} has two questions with the id {name}: {_ADVICE}")
        seen.add(name)
        image = entry.get("imageId", str)
        if Path(image).name != image:
            raise entry.refuse("imageId", "is not the name of a picture in images/")
        text = entry.get("question", str)
        annotations = entry.inner("annotations")
        spans = {part: annotations.inner(part) for part in ANNOTATED if part == "question" or part in annotations.content}
        words: dict[int, str] = {}
        for span in spans["question"].content:
            words |= dict.fromkeys(_span(span, len(text.split()), spans["question"]), spans["question"].get(span, str))
        objects = tuple(dict.fromkeys(part.get(span, str) for part in spans.values() for span in part.content))
        yield _Asked(name, image, text, entry.get("answer", str), words, objects)


def _span(span: str, count: int, fields: Fields) -> range:
    """The places of the words that a key such as `4` or `4:6` (6 excluded) names."""
    found = re.fullmatch(r"(\d{1,4})(?::(\d{1,4}))?", span, re.ASCII)
    if found is None:
        raise fields.refuse(span, "is not the place of a word, such as 4, or of words, such as 4:6")
    start = int(found[1])
    stop = int(found[2]) if found[2] else start + 1
    if not start < stop <= count:
        raise fields.refuse(span, f"is not within the question's {count} words, counted from 0")
    return range(start, stop)


def _read_objects(path: Path, wanted: Mapping[str, Mapping[str, str]], questions: str) -> dict[str, Objects]:
    """Read an object image id -> scene graph; of the images and objects in `wanted`, each with a question that names it, alone."""
    found: dict[str, Objects] = {}
    for image, item in read_members(path):
        if image not in wanted:
            continue
        graph = Fields(item, f"{path} image {image}", _ADVICE)
        if image in found:
            raise XaiError(f"{path} has two scene graphs of image {image}: {_ADVICE}")
        size = graph.integer("width", 1, _LONGEST_SIDE), graph.integer("height", 1, _LONGEST_SIDE)
        objects = graph.inner("objects")
        if missing := [name for name in wanted[image] if name not in objects.content]:
            raise objects.refuse(missing[0], f"is missing, which question {wanted[image][missing[0]]} of {questions} names")
        found[image] = Objects(size, {name: _box(objects.inner(name), size) for name in wanted[image]})
    if missing := [image for image in wanted if image not in found]:
        asked = next(iter(wanted[missing[0]].values()))
        raise XaiError(f"{path} has no scene graph of image {missing[0]}, which question {asked} of {questions} is about: {_ADVICE}")
    return found


def _box(entry: Fields, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Read a box, cut to its picture. Raises `XaiError` where it does not lie there."""
    x0, y0 = (entry.integer(name, -_BEYOND) for name in "xy")
    x1, y1 = x0 + entry.integer("w", 1), y0 + entry.integer("h", 1)
    if x1 > size[0] + _BEYOND or y1 > size[1] + _BEYOND or x0 >= size[0] or y0 >= size[1] or x1 <= 0 or y1 <= 0:
        box = ", ".join(str(entry.content[name]) for name in "xywh")
        raise XaiError(f"{entry.where}: the box x, y, w, h = {box} lies outside its picture of {size[0]} x {size[1]} pixels: {_ADVICE}")
    return max(x0, 0), max(y0, 0), min(x1, size[0]), min(y1, size[1])
