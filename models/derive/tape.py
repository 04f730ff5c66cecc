"""A tape of what a network does, run backwards in plain tensor operations by one rule for each operation: gradients
(`xai.models.derive.gradient`) or relevance (`xai.models.derive.relevance`).

What the tape emits are ordinary operations, so that `torch.export` and `torch.jit.trace` record it like anything else:
no network needs a backward pass of its own, and none is hidden in an exporter.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor
from torch.overrides import TorchFunctionMode

from xai.models.derive.gradient import GRADIENT
from xai.models.derive.rules import NoRule, Pullbacks, Rules

PASSIVE = frozenset(
    [
        "shape",
        "size",
        "dim",
        "ndim",
        "numel",
        "dtype",
        "device",
        "layout",
        "stride",
        "__len__",
        "is_floating_point",
        "is_complex",
        "is_contiguous",
        "requires_grad",
        "zeros_like",
        "ones_like",
        "full_like",
        "empty_like",
        "new_zeros",
        "new_ones",
        "new_full",
        "new_empty",
        "detach",
    ]
)
"""What is asked of a tensor without its numbers, and `detach`, which means to end the gradient."""

IDENTITY = frozenset(["to", "float", "double", "type_as", "contiguous", "dropout", "expand", "expand_as", "broadcast_to"])
"""What may give its argument back as it is."""


class Step(NamedTuple):
    """One recorded operation: its result, and its arguments with their pullbacks."""

    out: Tensor
    pullbacks: Pullbacks


class Tape(TorchFunctionMode):
    """Records, while entered, every operation that a watched tensor, or what comes of one, goes through.

    An operation without a rule raises `NoRule`, which names it, when it is recorded: a gradient is right or there is none.
    Nothing may be written into a recorded tensor. Gradients do not reach weights. Other `rules` derive something else than gradients.
    """

    def __init__(self, rules: Rules = GRADIENT) -> None:
        super().__init__()
        self.rules = rules
        self.steps: list[Step] = []
        self._active: dict[int, Tensor] = {}  # by id; held, so that its id stays its own

    def watch(self, *tensors: Tensor) -> None:
        """Follow these tensors from now on."""
        for tensor in tensors:
            self._active[id(tensor)] = tensor

    def is_active(self, value: object) -> bool:
        """Whether a value is a tensor that is followed."""
        return id(value) in self._active

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        active = [value for value in _flatten((*args, *kwargs.values())) if self.is_active(value)]
        name = operation_name(func)
        if not active or name in PASSIVE or (name in IDENTITY and any(out is value for value in active)):
            return out
        if isinstance(out, Tensor) and not out.is_floating_point():
            return out  # such as a comparison, or the number of the largest: constant almost everywhere
        pullbacks = find_pullbacks(self.rules, name, out, args, kwargs)
        for value in active:
            if not any(value is argument for argument, _ in pullbacks):
                raise NoRule(f"no {self.rules.name} rule for {name} with respect to its argument of shape {tuple(value.shape)}")
        self.steps.append(Step(out, pullbacks))
        self.watch(out)
        return out

    def gradients(self, out: Tensor, seed: Tensor, wanted: Sequence[Tensor]) -> list[Tensor | None]:
        """The gradient of sum(out * seed), or what other rules derive from `seed`, with respect to each tensor of `wanted`; None
        where `out` does not depend on it.

        Call it after the tape was left. `seed` has the shape of `out`.
        """
        found = {id(out): [seed]}
        kept = {id(tensor) for tensor in wanted}
        for step in reversed(self.steps):
            key = id(step.out)
            if key not in found:
                continue
            g = self.rules.gather(step.out, found[key] if key in kept else found.pop(key))
            for argument, pull in step.pullbacks:
                if self.is_active(argument):
                    found.setdefault(id(argument), []).append(pull(g))
        return [self.rules.gather(tensor, found[id(tensor)]) if id(tensor) in found else None for tensor in wanted]


def operation_name(func: Callable[..., Any]) -> str:
    """The name of a function, method or operator of PyTorch; of an attribute, such as `mT`, its own."""
    name = getattr(func, "__name__", str(func))
    return func.__self__.__name__ if name == "__get__" else name  # type: ignore[attr-defined]


def find_pullbacks(rules: Rules, name: str, out: object, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Pullbacks:
    """The pullbacks of one call. Raises `NoRule` where the operation has no rule, or none for being called like this."""
    if name not in rules.by_name or not isinstance(out, Tensor):
        raise NoRule(f"no {rules.name} rule for {name}: write one in {rules.where}")
    function = rules.by_name[name]
    try:
        bound = inspect.signature(function).bind(out, *args, **kwargs)
    except TypeError as error:
        raise NoRule(f"no {rules.name} rule for {name} called like this: {error}") from error
    return function(*bound.args, **bound.kwargs)


def _flatten(values: Iterable[Any]) -> Iterator[Any]:
    """Each value, and each of a list or tuple among them."""
    for value in values:
        if isinstance(value, list | tuple):
            yield from value
        else:
            yield value
