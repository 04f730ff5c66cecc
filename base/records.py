"""Records (named tuples, data classes) as JSON and back, every field of the type that it is declared with."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from xai.base.errors import XaiError

T = TypeVar("T")


def is_record(kind: Any) -> bool:
    """Whether a type, or a value, is a named tuple or a data class."""
    return hasattr(kind, "_fields") or is_dataclass(kind)


def field_names(record: Any) -> tuple[str, ...]:
    """The fields of a record, or of its type, in their order."""
    return record._fields if hasattr(record, "_fields") else tuple(field.name for field in fields(record))


def plain(value: Any) -> Any:
    """A record as an object, a tuple as a list, and all within them."""
    if is_record(value):
        return {name: plain(getattr(value, name)) for name in field_names(value)}
    if isinstance(value, Mapping):
        return {name: plain(inner) for name, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, tuple | list) else value


def parse(kind: type[T], content: object, where: str) -> T:
    """What `plain` gave, as a value of that type; `where` names it in messages.

    Types may be records, `tuple`, `Mapping[str, ...]`, `Literal`, `str`, `bool`, `int` and `float`, one of them or None, and one of
    several records that each have a field `kind: Literal[...]`. Raises `XaiError`, which names the field, where content and type differ.
    """
    value: T = _parse(kind, content, where)
    return value


def _parse(kind: Any, content: object, where: str) -> Any:
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _parse_choice(get_args(kind), content, where)
    if origin is Literal:
        if any(content == choice and type(content) is type(choice) for choice in get_args(kind)):
            return content
        raise XaiError(f"{where} is {content!r}, not one of {', '.join(map(str, get_args(kind)))}")
    if origin is tuple:
        return _parse_tuple(get_args(kind), content, where)
    if origin is not None and issubclass(origin, Mapping):
        return {name: _parse(get_args(kind)[1], value, f"{where}.{name}") for name, value in _object(content, where).items()}
    if is_record(kind):
        return _parse_record(kind, content, where)
    if type(content) is kind:
        return content
    if kind is float and type(content) is int:
        return float(content)
    raise XaiError(f"{where} is missing or not of type {kind.__name__}")


def _parse_choice(choices: tuple[Any, ...], content: object, where: str) -> Any:
    """One of several types: None, a plain one, or the record that `kind` names."""
    if content is None and type(None) in choices:
        return None
    others = [choice for choice in choices if choice is not type(None)]
    if len(others) == 1:
        return _parse(others[0], content, where)
    named = {name: choice for choice in others for name in get_args(get_type_hints(choice)["kind"])}
    chosen = _object(content, where).get("kind")
    if not isinstance(chosen, str) or chosen not in named:
        raise XaiError(f"{where}.kind is {chosen!r}, not one of {', '.join(named)}")
    return _parse(named[chosen], content, where)


def _parse_tuple(inner: tuple[Any, ...], content: object, where: str) -> tuple[Any, ...]:
    if not isinstance(content, list):
        raise XaiError(f"{where} is missing or not a list")
    kinds = [inner[0]] * len(content) if inner[-1] is ... else list(inner)
    if len(kinds) != len(content):
        raise XaiError(f"{where} has {len(content)} entries, not {len(kinds)}")
    return tuple(_parse(kind, value, f"{where}[{i}]") for i, (kind, value) in enumerate(zip(kinds, content, strict=True)))


def _parse_record(kind: Any, content: object, where: str) -> Any:
    hints, names = get_type_hints(kind), field_names(kind)
    found = _object(content, where)
    if unknown := sorted(set(found) - set(names)):
        raise XaiError(f"{where} holds {unknown[0]!r}, which is not known")
    values = {name: _parse(hints[name], found.get(name), f"{where}.{name}") for name in names}
    try:
        return kind(**values)
    except XaiError as error:  # what a record says of its fields, which do not fit each other
        raise XaiError(f"{where}: {error}") from error


def _object(content: object, where: str) -> dict[str, Any]:
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise XaiError(f"{where} is missing or not an object")
    return content
