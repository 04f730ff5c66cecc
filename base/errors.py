"""What goes wrong, as a person is told it."""

from __future__ import annotations

from xai.base.wording import one_line


class XaiError(ValueError):
    """Something cannot be done. The message is one line that names the input, what is wrong and what to do.

    Raised as such for damage: a bundle, a checkpoint, a results folder or an installation that is not what it should be.
    A name in it that holds line breaks does not break the line.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class BadInput(XaiError):
    """What was asked cannot be: a picture, a question, a target, a method or an option that the caller can mend."""


def first_line(error: BaseException) -> str:
    """What a library's error says, without what follows its first line; its type's name where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
