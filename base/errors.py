"""What goes wrong, as a person is told it."""

from __future__ import annotations


class XaiError(ValueError):
    """An input cannot be used. The message is one line that names the input, what is wrong and what to do."""
