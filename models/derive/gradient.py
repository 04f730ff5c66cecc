"""The gradient of each tensor operation that a network may use after the cut, in plain tensor operations.

A rule takes the operation's result and its own arguments, under PyTorch's names, and gives, for every argument that may have a
gradient, a function from the gradient of the result to that of the argument. To add an operation, write its rule here and its row
in `tests/models/derive/test_gradient.py`. An argument that a rule does not take, such as `alpha` of `add`, is an argument without a rule.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import EllipsisType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from xai.models.derive.rules import NoRule, Pullbacks, Rule, Rules, enter

RULES: dict[str, Rule] = {}
"""Rules by the operation's name, which function, method and operator share."""

GRADIENT = Rules("gradient", RULES, lambda _, gradients: sum(gradients[1:], gradients[0]), "models/derive/gradient.py")
"""A tensor that is used several times has the sum of what each use gives it."""

rule = enter(RULES)


def fit(g: Tensor, x: Any) -> Tensor:
    """Sum a gradient over the axes along which `x` was broadcast."""
    return g.sum_to_size(x.shape)


# Products.


@rule("linear")
def linear(out: Tensor, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Pullbacks:
    """x W^T + b; weights are constants."""
    return [(input, lambda g: g @ weight)]


@rule("matmul", "bmm")
def matmul(out: Tensor, input: Tensor, other: Tensor) -> Pullbacks:
    """A product of (stacks of) matrices."""
    if input.dim() < 2 or other.dim() < 2:
        raise NoRule("no gradient rule for matmul with a vector: give it an axis of length 1")
    return [(input, lambda g: fit(g @ other.mT, input)), (other, lambda g: fit(input.mT @ g, other))]


# Arithmetic.


@rule("add")
def add(out: Tensor, input: Any, other: Any) -> Pullbacks:
    """x + y."""
    return [(input, lambda g: fit(g, input)), (other, lambda g: fit(g, other))]


@rule("sub", "subtract")
def sub(out: Tensor, input: Any, other: Any) -> Pullbacks:
    """x - y."""
    return [(input, lambda g: fit(g, input)), (other, lambda g: fit(-g, other))]


@rule("rsub", "__rsub__")
def rsub(out: Tensor, input: Any, other: Any) -> Pullbacks:
    """y - x."""
    return [(input, lambda g: fit(-g, input)), (other, lambda g: fit(g, other))]


@rule("mul", "multiply")
def mul(out: Tensor, input: Any, other: Any) -> Pullbacks:
    """x y."""
    return [(input, lambda g: fit(g * other, input)), (other, lambda g: fit(g * input, other))]


@rule("div", "divide", "true_divide")
def div(out: Tensor, input: Any, other: Any) -> Pullbacks:
    """x / y."""
    return [(input, lambda g: fit(g / other, input)), (other, lambda g: fit(-g * out / other, other))]


@rule("neg", "negative")
def neg(out: Tensor, input: Tensor) -> Pullbacks:
    """-x."""
    return [(input, lambda g: -g)]


# Functions of each number.


@rule("exp")
def exp(out: Tensor, input: Tensor) -> Pullbacks:
    """e^x."""
    return [(input, lambda g: g * out)]


@rule("tanh")
def tanh(out: Tensor, input: Tensor) -> Pullbacks:
    """Hyperbolic tangent."""
    return [(input, lambda g: g * (1 - out * out))]


@rule("sigmoid")
def sigmoid(out: Tensor, input: Tensor) -> Pullbacks:
    """1 / (1 + e^-x)."""
    return [(input, lambda g: g * out * (1 - out))]


@rule("relu")
def relu(out: Tensor, input: Tensor, inplace: bool = False) -> Pullbacks:
    """max(x, 0)."""
    if inplace:
        raise NoRule("no gradient rule for relu that writes over its input")
    return [(input, lambda g: g * (out > 0))]


@rule("gelu")
def gelu(out: Tensor, input: Tensor, approximate: str = "none") -> Pullbacks:
    """x times the normal distribution's cdf at x."""
    if approximate != "none":
        raise NoRule(f"no gradient rule for gelu with approximate={approximate!r}")

    def pull(g: Tensor) -> Tensor:
        density = torch.exp(-0.5 * input * input) * (1 / math.sqrt(2 * math.pi))
        return g * (0.5 * (1 + torch.erf(input * math.sqrt(0.5))) + input * density)

    return [(input, pull)]


# Along an axis.


@rule("softmax")
def softmax(out: Tensor, input: Tensor, dim: int, _stacklevel: int = 3, dtype: torch.dtype | None = None) -> Pullbacks:
    """e^x / sum e^x along an axis."""
    if dtype is not None or isinstance(_stacklevel, torch.dtype):
        raise NoRule("no gradient rule for softmax that changes the type")

    def pull(g: Tensor) -> Tensor:
        p = g * out
        return p - out * p.sum(dim, keepdim=True)

    return [(input, pull)]


@rule("layer_norm")
def layer_norm(
    out: Tensor,
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Pullbacks:
    """Mean 0 and variance 1 over the last axes; weights are constants."""
    axes = tuple(range(-len(normalized_shape), 0))

    def pull(g: Tensor) -> Tensor:
        centred = input - input.mean(axes, keepdim=True)
        rstd = torch.rsqrt((centred * centred).mean(axes, keepdim=True) + eps)
        unit = centred * rstd
        h = g if weight is None else g * weight
        return rstd * (h - h.mean(axes, keepdim=True) - unit * (h * unit).mean(axes, keepdim=True))

    return [(input, pull)]


@rule("sum")
def sum_(out: Tensor, input: Tensor, dim: int | Sequence[int] | None = None, keepdim: bool = False) -> Pullbacks:
    """The sum over some axes, or all."""
    return [(input, lambda g: spread(g, input, dim, keepdim))]


@rule("mean")
def mean(out: Tensor, input: Tensor, dim: int | Sequence[int] | None = None, keepdim: bool = False) -> Pullbacks:
    """The mean over some axes, or all."""

    def pull(g: Tensor) -> Tensor:
        count = math.prod(input.shape[axis] for axis in named_axes(input, dim))
        return spread(g / count, input, dim, keepdim)

    return [(input, pull)]


def named_axes(x: Tensor, dim: int | Sequence[int] | None) -> list[int]:
    """The axes that `dim` names, from 0, in order."""
    if dim is None:
        return list(range(x.dim()))
    return sorted(axis % x.dim() for axis in ([dim] if isinstance(dim, int) else dim))


def spread(g: Tensor, x: Tensor, dim: int | Sequence[int] | None, keepdim: bool) -> Tensor:
    """Repeat the gradient of a reduction along the axes that it took away from `x`."""
    if not keepdim:
        for axis in named_axes(x, dim):
            g = g.unsqueeze(axis)
    return g.expand_as(x)


# Another shape or order.


@rule("view", "reshape", "flatten", "squeeze", "unsqueeze")
def reshape(out: Tensor, input: Tensor, *shape: object, **named: object) -> Pullbacks:
    """The same numbers in the same order."""
    if any(isinstance(size, torch.dtype) for size in (*shape, *named.values())):
        raise NoRule("no gradient rule for view as another type")
    return [(input, lambda g: g.reshape(input.shape))]


@rule("transpose", "swapaxes")
def transpose(out: Tensor, input: Tensor, dim0: int, dim1: int) -> Pullbacks:
    """Two axes change places."""
    return [(input, lambda g: g.transpose(dim0, dim1))]


@rule("mT")
def matrix_transpose(out: Tensor, input: Tensor) -> Pullbacks:
    """The last two axes change places."""
    return [(input, lambda g: g.mT)]


@rule("permute")
def permute(out: Tensor, input: Tensor, *dims: Any) -> Pullbacks:
    """Axes in another order."""
    order = [axis % input.dim() for axis in (dims[0] if isinstance(dims[0], Sequence) else dims)]
    return [(input, lambda g: g.permute([order.index(axis) for axis in range(len(order))]))]


@rule("expand", "expand_as", "broadcast_to")
def expand(out: Tensor, input: Tensor, *shape: object) -> Pullbacks:
    """Repeated along axes of length 1."""
    return [(input, lambda g: fit(g, input))]


@rule("contiguous", "clone")
def copy(out: Tensor, input: Tensor) -> Pullbacks:
    """The same numbers elsewhere in memory."""
    return [(input, lambda g: g)]


@rule("to", "float", "double", "type_as")
def cast(out: Tensor, input: Tensor, *target: object, **named: object) -> Pullbacks:
    """The same numbers in another type, or on another device."""
    return [(input, lambda g: g.to(input))]


@rule("dropout")
def dropout(out: Tensor, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Pullbacks:
    """Nothing, as long as the network is not trained."""
    if training:
        raise NoRule("no gradient rule for dropout in training: call eval() on the network")
    return [(input, lambda g: g)]


# Parts.


@rule("cat", "concat", "concatenate")
def cat(out: Tensor, tensors: Sequence[Tensor], dim: int = 0) -> Pullbacks:
    """Tensors one behind the other."""
    pulls: Pullbacks = []
    start: Any = 0
    for x in tensors:
        pulls.append((x, lambda g, start=start, length=x.shape[dim]: g.narrow(dim, start, length)))  # type: ignore[misc]
        start = start + x.shape[dim]
    return pulls


@rule("__getitem__")
def getitem(out: Tensor, input: Tensor, index: Any) -> Pullbacks:
    """Numbered entries and unbroken slices along the first axes; what was not taken has gradient 0."""
    parts = list(index) if isinstance(index, tuple) else [index]
    if any(part is None or isinstance(part, Tensor | list | EllipsisType | bool) for part in parts):
        raise NoRule("no gradient rule for an index other than whole numbers and slices")
    if any(isinstance(part, slice) and part.step not in (None, 1) for part in parts):
        raise NoRule("no gradient rule for a slice with a step")

    def pull(g: Tensor) -> Tensor:
        widths: list[Any] = []  # as F.pad takes them: (before, behind) of the last axis first
        for axis, part in enumerate(parts):
            if not isinstance(part, slice):
                g = g.unsqueeze(axis)
            start = (part.start or 0) if isinstance(part, slice) else part
            before = start if start >= 0 else input.shape[axis] + start
            widths[:0] = [before, input.shape[axis] - before - g.shape[axis]]
        return F.pad(g, [0, 0] * (input.dim() - len(parts)) + widths)

    return [(input, pull)]


@rule("gather")
def gather(out: Tensor, input: Tensor, dim: int, index: Tensor) -> Pullbacks:
    """Entries by number along an axis."""
    return [(input, lambda g: torch.zeros_like(input).scatter_add(dim, index, g))]


@rule("masked_fill")
def masked_fill(out: Tensor, input: Tensor, mask: Tensor, value: float) -> Pullbacks:
    """A constant where the mask is true."""
    return [(input, lambda g: fit(g.masked_fill(mask, 0), input))]


@rule("where")
def where(out: Tensor, condition: Tensor, input: Any, other: Any) -> Pullbacks:
    """x where the condition holds, y elsewhere."""
    return [
        (input, lambda g: fit(torch.where(condition, g, torch.zeros_like(g)), input)),
        (other, lambda g: fit(torch.where(condition, torch.zeros_like(g), g), other)),
    ]
