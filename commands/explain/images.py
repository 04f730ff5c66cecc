"""What `xai explain` is about: images that are named on the command line, folders of them, or standard input."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import click

from xai.base.errors import BadInput
from xai.base.streams import read_input

DASH = "-"
"""Standard input as an image."""


def split_question(given: Sequence[str]) -> tuple[tuple[str, ...], str]:
    """IMAGE... QUESTION -> the images and the question. Raises `click.UsageError` where one of them is not there."""
    from xai.runtime.inputs.decode import SUFFIXES

    if not given:
        raise click.UsageError("name an image, or several, and then the question (or a file of both, with --pairs)")
    *images, question = given
    if not images:
        raise click.UsageError(f"only {question!r} is given: name an image, or several, and then the question")
    looks_like_one = question.lower().endswith(SUFFIXES) and not any(character.isspace() for character in question)
    if looks_like_one or os.path.isfile(question):  # noqa: PTH113 - Path.is_file fails on a name that is too long
        raise click.UsageError(f"the last argument is the question, and {question!r} is an image: add the question behind the images")
    return tuple(images), question


def find_images(images: Sequence[str]) -> list[str]:
    """Image files, folders replaced by the images in them. Raises `BadInput` where a folder holds none, or the only image is missing."""
    from xai.runtime.inputs.boxes import split_row
    from xai.runtime.inputs.decode import SUFFIXES

    found: list[str] = []
    for name in dict.fromkeys(images):
        folder = Path(name)
        if name == DASH or not os.path.isdir(name):  # noqa: PTH112 - Path.is_dir fails on a name that is too long
            found.append(name)
            continue
        inside = sorted(str(file) for file in folder.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file())
        if not inside:
            raise BadInput(f"folder {name} holds no image ({', '.join(SUFFIXES)})")
        found += inside
    if len(found) == 1 and found[0] != DASH:
        try:
            os.stat(split_row(found[0])[0])  # noqa: PTH116 - as above
        except FileNotFoundError as error:
            raise BadInput(f"image {found[0]} does not exist") from error
        except (OSError, ValueError):
            pass  # whoever opens it says what is wrong with it
    return found


def image_source(name: str) -> str | BinaryIO:
    """What to open: the file of that name, or all of standard input."""
    if name != DASH:
        return name
    content = io.BytesIO(read_input())
    content.name = "standard input"
    return content
