"""Arguments of public functions, checked at the door."""

from __future__ import annotations

import operator

from xai.base.errors import BadInput

GIBIBYTE = 2**30
"""Bytes of a GB of memory, wherever one is asked for or named."""
MAX_THREADS = 1024
"""More than a machine has cores; libraries that are asked for a hundred thousand threads start them, and fill the memory."""


def whole_number(value: object, name: str, least: int, most: int | None = None) -> int:
    """The value as an int, NumPy's integers too.

    Raises `BadInput`, which calls it `name`, where it is none, or less than `least` or more than `most`.
    """
    try:
        number = operator.index(value)  # type: ignore[arg-type]  # what has no index is refused below
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or number < least:
        raise BadInput(f"{name} is {value!r}: give a whole number of {least} or more")
    if most is not None and number > most:
        raise BadInput(f"{name} is more than {most}: give a whole number of {least} to {most}")
    return number
