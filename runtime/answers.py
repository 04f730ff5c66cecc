"""Answer ids <-> names."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xai.base.arguments import whole_number
from xai.base.errors import BadInput, XaiError
from xai.base.reading import parse_json, read_text, text_lines

VQA_ANSWERS, UNNAMED = 3129, 125
"""Rows of the published VQAv2 classifiers, and the one that their list `vqa_dict.json` leaves out: the empty answer, as LXMERT's list
of the same answers shows."""


def softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Probabilities of answers (..., answers), from their logits."""
    exact = np.asarray(logits, np.float64)
    shares: NDArray[np.float64] = np.exp(exact - exact.max(-1, keepdims=True))
    return shares / shares.sum(-1, keepdims=True)


_LONGEST = 100
"""Characters of an unknown answer by which near names are looked for."""


class Answers:
    """The names of a classifier's rows, in order."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(names)
        self._ids = {name: i for i, name in reversed(list(enumerate(self.names)))}

    def __len__(self) -> int:
        return len(self.names)

    def find(self, answer: str | int, called: str = "the target") -> int:
        """The id of an answer given by name or by id, NumPy's integers too. Raises `BadInput` where there is none, with names that
        are near; `called` is what the error calls it."""
        if isinstance(answer, str) and answer in self._ids:
            return self._ids[answer]
        number = int(answer) if isinstance(answer, str) and _is_id(answer) else answer
        if not isinstance(number, str) and whole_number(number, called, 0) < len(self):
            return int(number)
        near = get_close_matches(answer[:_LONGEST], self.names, n=5) if isinstance(answer, str) else []
        some = ", ".join(near or self.names[:8])
        raise BadInput(f"the model does not know the answer {answer!r}: it knows {len(self)}, {'such as' if near else 'among them'} {some}")


def _is_id(text: str) -> bool:
    return text.isdecimal() and len(text) < 10


def placeholder(answer_id: int) -> str:
    """The name of an answer that has none."""
    return f"answer_{answer_id}"


def numbered_answers(count: int) -> Answers:
    """Names for a classifier that came without an answer list."""
    return Answers(placeholder(i) for i in range(count))


def load_answers(path: Path, count: int) -> Answers:
    """Names for `count` classifier rows from a JSON list, a JSON object id -> answer, or a text file of one name a line.

    An object may lack some ids: they become `answer_<id>`, with one warning. The one that the published `vqa_dict.json` lacks is the
    empty string.
    Raises `XaiError` where the file cannot be read or does not fit the classifier.
    """
    if not os.path.exists(path):  # noqa: PTH110 - Path.exists fails on a name that is too long
        raise XaiError(f"answer file {path} does not exist")
    text = read_text(path)
    if path.suffix == ".txt":
        names = text_lines(text)
        while len(names) > count and not names[-1].strip():  # empty lines at the end name nothing
            names.pop()
        return _from_list(names, path, count)
    content = parse_json(text, f"answer file {path} (one name a line is read from a .txt file)")
    if isinstance(content, list) and all(_is_name(name) for name in content):
        return _from_list(content, path, count)
    if isinstance(content, dict) and all(_is_id(key) and _is_name(name) for key, name in content.items()):
        return _from_ids({int(key): name for key, name in content.items()}, path, count)
    raise XaiError(f"answer file {path} is neither a list of names nor an object from ids to names")


def _is_name(name: object) -> bool:
    return isinstance(name, str) and not any("\ud800" <= c <= "\udfff" for c in name)


def _from_list(names: list[str], path: Path, count: int) -> Answers:
    if len(names) != count:
        raise XaiError(f"answer file {path} has {len(names)} names, the classifier {count} rows: give the list it was trained with")
    return Answers(names)


def _from_ids(names: dict[int, str], path: Path, count: int) -> Answers:
    if not names or max(names) != count - 1:
        last = max(names, default=None)
        raise XaiError(f"answer file {path} ends with id {last}, the classifier with {count - 1}: give the list it was trained with")
    if count == VQA_ANSWERS:
        names = {UNNAMED: ""} | names
    if missing := [i for i in range(count) if i not in names]:
        some = ", ".join(map(str, missing[:5])) + (" and more" if len(missing) > 5 else "")
        warnings.warn(f"answer file {path} lacks id {some}: called {placeholder(missing[0])} and so on", stacklevel=3)
    return Answers(names.get(i, placeholder(i)) for i in range(count))
