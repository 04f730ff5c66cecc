"""The answer list of VQAv2, rebuilt from the data set's own annotation files (docs/methods.md, VQAv2 answer list)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from xai.base.reading import MEGABYTE, Fields, read_json

LARGEST = 1000 * MEGABYTE
"""Bytes of an annotation file: VQAv2's of the training split have 388 MB."""
MIN_COUNT = 9
"""How often METER's answers are seen at least in train and val together."""

PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
ARTICLES = {"a", "an", "the"}
NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
NUMBERS = {word: str(i) for i, word in enumerate(NUMBER_WORDS)} | {"none": "0"}

# Words that are another word without their apostrophe ("its", "were", "hell", "id") are not listed.
_ENDINGS = {
    "n't": "ai are ca could did does do had has have is might must need ought sha should was were wo would",
    "'ve": "could might must not should they we who would you",
    "'s": "he how let somebody someone something that there what when where who why",
    "'re": "they there what you",
    "'ll": "how it somebody someone something that they there what who you",
    "'d": "how it somebody someone something that they there where who why you",
}
CONTRACTIONS = {(stem + ending).replace("'", ""): stem + ending for ending, stems in _ENDINGS.items() for stem in stems.split()} | {
    "oclock": "o'clock",
    "maam": "ma'am",
    "yall": "y'all",
}


def normalise_answer(answer: str) -> str:
    """Spell an answer as VQA's evaluation does: lower case, no punctuation, no articles, digits for numbers up to ten."""
    found = answer
    together = re.search(r"\d,\d", answer) is not None
    for mark in PUNCTUATION:
        beside_space = f"{mark} " in answer or f" {mark}" in answer
        found = found.replace(mark, "" if together or beside_space else " ")
    found = re.sub(r"\.(?!\d)", "", found)
    words = [NUMBERS.get(word, word) for word in found.lower().split()]
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES)


def select_answers(answers: Iterable[str], min_count: int) -> list[str]:
    """Select those that are seen `min_count` times or more once normalised, in order of first appearance."""
    return [name for name, count in Counter(map(normalise_answer, answers)).items() if count >= min_count]


def build_answers(files: Sequence[Path], min_count: int = MIN_COUNT) -> list[str]:
    """Build the answer list of annotation files, in the order given. Raises `XaiError` where one is not VQAv2's."""
    return select_answers((answer for file in files for answer in _read(file)), min_count)


def _read(path: Path) -> list[str]:
    advice = "give VQAv2's annotations"
    annotations = Fields(read_json(path, LARGEST), str(path), advice).items("annotations", dict)
    return [Fields(one, f"{path} entry {i}", advice).get("multiple_choice_answer", str) for i, one in enumerate(annotations)]
