"""CLEVR-XAI (Arras, Osman & Samek 2022, arXiv 2003.07258; release v1.0): rendered scenes, each question with masks of what it is about."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xai.base.errors import XaiError
from xai.base.reading import Fields, read_members
from xai.bench.data.regions import Cells, Region, region_of
from xai.bench.data.sample import Sample

MASKS = {"simple": "single_object", "complex": "unique_firstnonempty"}
"""The ground truth that each set of questions is held against: its one object, or those that its answer is read from."""
SIDE = 128
"""Rows and columns of a mask, whatever the shape of its image (320 x 480): it was squashed."""

_ADVICE = "fetch CLEVR-XAI's release v1.0 again"


def question_files(folder: Path) -> dict[str, Path]:
    """Find the files of questions, by set."""
    files = {kind: folder / f"CLEVR-XAI_{kind}_questions.json" for kind in MASKS}
    return {kind: path for kind, path in files.items() if path.is_file()}


def read_clevr_xai(folder: Path) -> Iterator[Sample]:
    """Read the questions of both sets, or of the one that is there, as `simple-0`. Raises `XaiError` on a file that is not CLEVR-XAI's.

    Masks are looked for at once, and read when somebody asks for the truth.
    """
    for kind, path in question_files(folder).items():
        masks = folder / f"ground_truth_{kind}_questions_{MASKS[kind]}"
        there = _names(masks)
        seen: set[int] = set()
        for number, item in read_members(path, inside="questions"):
            entry = Fields(item, f"{path} entry {number}", _ADVICE)
            index = entry.integer("question_index")
            if index in seen:
                raise entry.refuse("question_index", f"is {index}, as in an entry before")
            seen.add(index)
            mask = masks / f"{index}.npy"
            if mask.name not in there and _names_objects(entry):
                raise XaiError(f"{mask} is missing, the mask of question {index} of {path.name}: {_ADVICE}")
            yield _sample(f"{kind}-{index}", entry, folder, mask if mask.name in there else None)


def _sample(name: str, entry: Fields, folder: Path, mask: Path | None) -> Sample:
    image = entry.get("image_filename", str)
    if Path(image).name != image:
        raise entry.refuse("image_filename", "is not the name of a file in images/")
    label = {_answer(entry): 1.0}
    return Sample(name, image, entry.get("question", str), label, partial(Path, folder, "images", image), partial(_truth, mask))


def _truth(mask: Path | None, cells: Cells) -> Region | None:
    return None if mask is None else region_of(read_mask(mask), cells)


def _answer(entry: Fields) -> str:
    """The answer in CLEVR's own words: the generator writes true for yes, and numbers."""
    answer = entry.get("answer", str, bool, int)
    if isinstance(answer, bool):
        return "yes" if answer else "no"
    return str(answer)


def _names_objects(entry: Fields) -> bool:
    """Say whether the question's program comes to any object but all of the scene: if not, there is nothing that a mask could show."""
    steps = [Fields(step, f"{entry.where}: 'program' step {i}", _ADVICE) for i, step in enumerate(entry.items("program", dict))]
    outputs: list[Any] = [step.get("_output", list, int, str, bool) for step in steps]
    return any(
        step.get("type", str) == "unique" or (isinstance(out, list) and out) for step, out in zip(steps[1:], outputs[1:], strict=True)
    )


def _names(folder: Path) -> frozenset[str]:
    """The names of a folder's files. Raises `XaiError` where it is not there."""
    try:
        return frozenset(path.name for path in folder.iterdir())
    except OSError as error:
        raise XaiError(f"folder {folder}, which holds the masks, cannot be read ({error.strerror}): {_ADVICE}") from error


def read_mask(path: Path) -> NDArray[np.bool_]:
    """Read a mask (128, 128). Raises `XaiError` where the file is not an array of NumPy of just that shape and type, unpickled."""
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read_header(file)
            content = file.read(SIDE * SIDE + 1)
    except (ValueError, EOFError) as error:
        raise XaiError(f"{path} is not an array of NumPy: {_ADVICE}") from error
    except OSError as error:
        raise XaiError(f"{path} cannot be read: {error.strerror}") from error
    if shape != (SIDE, SIDE) or dtype != np.bool_:
        raise XaiError(f"{path} holds {dtype} of shape {shape}, not a mask, bool of shape {(SIDE, SIDE)}: {_ADVICE}")
    if len(content) != SIDE * SIDE:
        raise XaiError(f"{path} has not the {SIDE * SIDE} bytes of its mask: {_ADVICE}")
    return np.frombuffer(content, np.uint8).reshape(shape, order="F" if fortran else "C") != 0
