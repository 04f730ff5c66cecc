"""Layer-wise relevance propagation: the relevance of each operation's arguments, given that of its result, in plain tensor operations.

The rules are those that were published for transformers (Chefer, Gur, Wolf, *Transformer Interpretability Beyond Attention
Visualization*, CVPR 2021; *Generic Attention-model Explainability*, ICCV 2021, for LXMERT): alpha-beta with alpha = 1. Axis 0 of
every tensor counts questions, which have nothing to do with each other. What only moves numbers moves relevance as it moves gradients
(`xai.models.derive.gradient`). To add an operation, write its rule here and a row in `tests/models/derive/test_relevance.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from xai.models.derive.gradient import RULES as GRADIENTS
from xai.models.derive.rules import NoRule, Pullback, Pullbacks, Rule, Rules, enter

EPSILON = 1e-9
"""Added to every divisor."""

MOVES = ("view", "reshape", "flatten", "squeeze", "unsqueeze", "transpose", "swapaxes", "mT", "permute", "contiguous", "clone", "dropout")
"""Operations that give every number of their argument once, somewhere: relevance goes the same way back as a gradient does."""

RULES: dict[str, Rule] = {name: GRADIENTS[name] for name in MOVES}
"""Rules by the operation's name, as for gradients."""

rule = enter(RULES)


def safe_divide(a: Tensor, b: Tensor) -> Tensor:
    """a / (b + EPSILON), 0 where b is 0."""
    return torch.where(b == 0, 0.0, a / (b + EPSILON))


def gather(tensor: Tensor, relevances: list[Tensor]) -> Tensor:
    """What a tensor gets of its uses: x (sum_k R_k) / x; of a single use, what that gives."""
    if len(relevances) == 1:
        return relevances[0]
    return tensor * safe_divide(sum(relevances[1:], relevances[0]), tensor)


RELEVANCE = Rules("relevance", RULES, gather, "models/derive/relevance.py")


def question_sum(x: Tensor) -> Tensor:
    """The sum over all axes but the first, which are kept."""
    return x.flatten(1).sum(1).reshape(-1, *[1] * (x.dim() - 1))


def passed(out: Tensor, input: Any) -> Pullback:
    """Relevance goes on as it is. Raises `NoRule` where the result has another shape.

    A tracer knows no shape, and warns of whoever compares one: what it traces has run before, when the family was checked.
    """
    if isinstance(input, Tensor) and not torch.jit.is_tracing() and input.shape != out.shape:  # type: ignore[attr-defined,no-untyped-call]
        raise NoRule(f"no relevance rule for what makes {tuple(out.shape)} of {tuple(input.shape)}")
    return lambda r: r


@rule("linear")
def linear(out: Tensor, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Pullbacks:
    """In proportion to x+ W+ and x- W-, of which the products are positive; the bias gets nothing."""

    def pull(r: Tensor) -> Tensor:
        x, w = (input.clamp(min=0), input.clamp(max=0)), (weight.clamp(min=0), weight.clamp(max=0))
        s = safe_divide(r, F.linear(x[0], w[0]) + F.linear(x[1], w[1]))
        return x[0] * (s @ w[0]) + x[1] * (s @ w[1])

    return [(input, pull)]


@rule("matmul", "bmm")
def matmul(out: Tensor, input: Tensor, other: Tensor) -> Pullbacks:
    """In proportion to the products, half to either factor."""

    def share(argument: Tensor, pull: Pullback) -> Pullback:
        return lambda r: argument * pull(safe_divide(r, out)) / 2

    factors = (input, other)
    return [(x, share(x, pull)) for x, (_, pull) in zip(factors, GRADIENTS["matmul"](out, input, other), strict=True)]


@rule("add")
def add(out: Tensor, input: Any, other: Any) -> Pullbacks:
    """In proportion to the terms, then scaled so that either has the share of the whole that the size of its own sum is.

    A term that is spread over the other, such as a mask, gets nothing, as the bias of a product; it must not be followed.
    """
    if not isinstance(input, Tensor) or not isinstance(other, Tensor):
        raise NoRule("no relevance rule for add with a number")
    if other.shape != out.shape:
        return [(input, passed(out, input))]

    def share(term: Tensor, rest: Tensor) -> Pullback:
        def pull(r: Tensor) -> Tensor:
            s = safe_divide(r, out)
            mine, theirs = question_sum(term * s), question_sum(rest * s)
            whole = safe_divide(mine.abs(), mine.abs() + theirs.abs()) * question_sum(r)
            return term * s * safe_divide(whole, mine)

        return pull

    if input.shape != out.shape:
        return [(other, passed(out, other))]
    return [(input, share(input, other)), (other, share(other, input))]


@rule("mul", "multiply", "div", "divide", "true_divide")
def scale(out: Tensor, input: Any, other: Any) -> Pullbacks:
    """A factor that is not followed, or a divisor, changes nothing."""
    return [(input, passed(out, input))]


@rule("softmax")
def softmax(out: Tensor, input: Tensor, dim: int, _stacklevel: int = 3, dtype: Any = None) -> Pullbacks:
    """Relevance of a probability is that of its score."""
    return [(input, passed(out, input))]


@rule("relu")
def relu(out: Tensor, input: Tensor, inplace: bool = False) -> Pullbacks:
    """As other functions of each number."""
    if inplace:
        raise NoRule("no relevance rule for relu that writes over its input")
    return [(input, passed(out, input))]


@rule("tanh", "sigmoid")
def each_number(out: Tensor, input: Tensor) -> Pullbacks:
    """Functions of each number pass relevance on."""
    return [(input, passed(out, input))]


@rule("gelu")
def gelu(out: Tensor, input: Tensor, approximate: str = "none") -> Pullbacks:
    """As other functions of each number."""
    return [(input, passed(out, input))]


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
    """A normalisation passes relevance on."""
    return [(input, passed(out, input))]


@rule("__getitem__")
def getitem(out: Tensor, input: Tensor, index: Any) -> Pullbacks:
    """What was taken keeps its relevance, the rest has none."""
    ((_, pull),) = GRADIENTS["__getitem__"](out, input, index)
    return [(input, lambda r: input * pull(safe_divide(r, out)))]
