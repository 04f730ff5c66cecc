"""Answer ids <-> names."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable
from pathlib import Path

from xai.base.errors import XaiError


class Answers:
    """The names of a classifier's rows, in order."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(names)
        self._ids = {name: i for i, name in reversed(list(enumerate(self.names)))}

    def __len__(self) -> int:
        return len(self.names)

    def find(self, answer: str | int) -> int:
        """The id of an answer given by name or by id. Raises `XaiError` where there is none."""
        if isinstance(answer, str) and answer in self._ids:
            return self._ids[answer]
        number = int(answer) if isinstance(answer, int) or _is_id(answer) else -1
        if 0 <= number < len(self):
            return number
        some = ", ".join(self.names[:8])
        raise XaiError(f"the model does not know the answer {answer!r}: it knows {len(self)}, among them {some}")


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

    An object may lack some ids, as the published `vqa_dict.json` does: they become `answer_<id>`, with one warning.
    Raises `XaiError` where the file cannot be read or does not fit the classifier.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise XaiError(f"answer file {path} does not exist") from error
    except (OSError, UnicodeDecodeError) as error:
        raise XaiError(f"answer file {path} cannot be read: {error}") from error
    if path.suffix == ".txt":
        return _from_list(text.splitlines(), path, count)
    try:
        content = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise XaiError(f"answer file {path} is not JSON (one name a line is read from a .txt file): {error}") from error
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
    if missing := [i for i in range(count) if i not in names]:
        some = ", ".join(map(str, missing[:5])) + (" and more" if len(missing) > 5 else "")
        warnings.warn(f"answer file {path} lacks id {some}: called {placeholder(missing[0])} and so on", stacklevel=3)
    return Answers(names.get(i, placeholder(i)) for i in range(count))
