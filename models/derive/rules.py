"""What a rule of an operation is, and a set of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import Tensor

Pullback = Callable[[Tensor], Tensor]
"""From the gradient (or relevance) of an operation's result to that of one of its arguments."""

Pullbacks = list[tuple[object, Pullback]]
"""An operation's arguments, each with its pullback; one that is a number is never asked for its own."""

Rule = Callable[..., Pullbacks]


class NoRule(NotImplementedError):
    """An operation, or a way to call one, for which there is no rule."""


class Rules(NamedTuple):
    """One rule for each operation, and what holds between operations."""

    name: str
    """What they derive, as messages say it."""
    by_name: Mapping[str, Rule]
    """By the operation's name, which function, method and operator share."""
    gather: Callable[[Tensor, list[Tensor]], Tensor]
    """A tensor and what each of its uses gives it, at least one -> what it gets."""
    where: str
    """The file in which a rule is added."""


def enter(rules: dict[str, Rule]) -> Callable[..., Callable[[Rule], Rule]]:
    """A decorator that enters a rule in `rules` under the operation's names."""

    def rule(*names: str) -> Callable[[Rule], Rule]:
        def entered(function: Rule) -> Rule:
            rules.update(dict.fromkeys(names, function))
            return function

        return entered

    return rule
