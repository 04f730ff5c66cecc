"""Every rule of relevance against a restatement in NumPy, number by number; conservation; what has no rule is refused by its name."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from xai.models.derive.relevance import MOVES, RELEVANCE, RULES
from xai.models.derive.rules import NoRule
from xai.models.derive.tape import Tape
from xai.tests.models.derive.test_gradient import CALLS

Array = NDArray[np.float64]


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


X, Y, Z = numbers(2, 3, 4), numbers(2, 3, 4, seed=1), numbers(2, 4, 5, seed=2)
WEIGHT, BIAS = numbers(5, 4, seed=6), numbers(5, seed=7)
MASK = torch.tensor([0.0, -1e4, 0.0, 0.0], dtype=torch.float64)


def propagate(call: Callable[..., Tensor], inputs: tuple[Tensor, ...], r: Tensor) -> list[Tensor]:
    tape = Tape(RELEVANCE)
    with torch.no_grad():
        with tape:
            tape.watch(*inputs)
            out = call(*inputs)
        found = tape.gradients(out, r, inputs)
    assert all(one is not None for one in found)
    return [one for one in found if one is not None]


def share(a: float, b: float) -> float:
    return 0.0 if b == 0 else a / (b + 1e-9)


def linear_by_hand(x: Array, w: Array, r: Array) -> Array:
    found = np.zeros_like(x)
    for row in np.ndindex(x.shape[:-1]):
        for o in range(len(w)):
            agreeing = [max(x[row][i], 0) * max(w[o, i], 0) + min(x[row][i], 0) * min(w[o, i], 0) for i in range(x.shape[-1])]
            for i, part in enumerate(agreeing):
                found[(*row, i)] += part * share(r[(*row, o)], sum(agreeing))
    return found


def product_by_hand(u: Array, v: Array, r: Array) -> tuple[Array, Array]:
    left, right = np.zeros_like(u), np.zeros_like(v)
    for b, i, k in np.ndindex(len(u), u.shape[1], v.shape[2]):
        whole = sum(u[b, i, j] * v[b, j, k] for j in range(u.shape[2]))
        for j in range(u.shape[2]):
            part = u[b, i, j] * v[b, j, k] * share(r[b, i, k], whole) / 2
            left[b, i, j] += part
            right[b, j, k] += part
    return left, right


def sum_by_hand(a: Array, b: Array, r: Array) -> tuple[Array, Array]:
    left, right = np.zeros_like(a), np.zeros_like(b)
    for q in range(len(a)):
        for place in np.ndindex(a.shape[1:]):
            s = share(r[q][place], a[q][place] + b[q][place])
            left[q][place], right[q][place] = a[q][place] * s, b[q][place] * s
        sums = left[q].sum(), right[q].sum()
        for one, mine in zip((left, right), sums, strict=True):
            one[q] *= share(share(abs(mine), abs(sums[0]) + abs(sums[1])) * r[q].sum(), mine)
    return left, right


def close(found: Tensor, expected: Array) -> None:
    assert found.shape == expected.shape
    assert abs(found.numpy() - expected).max() <= 1e-11 * abs(expected).max()


@pytest.mark.parametrize("bias", [None, BIAS])
def test_a_linear_layer(bias: Tensor | None) -> None:
    r = numbers(2, 3, 5, seed=9)
    (found,) = propagate(lambda x: F.linear(x, WEIGHT, bias), (X,), r)
    close(found, linear_by_hand(X.numpy(), WEIGHT.numpy(), r.numpy()))
    agreeing = ((X[..., None, :] * WEIGHT) > 0).any(-1)  # of an output without a positive product, nobody gets anything
    assert not agreeing.all()
    assert torch.allclose(found.sum((1, 2)), (r * agreeing).sum((1, 2)), rtol=1e-7)


@pytest.mark.parametrize("call", [torch.matmul, torch.bmm, lambda u, v: u @ v])
def test_a_product(call: Callable[..., Tensor]) -> None:
    r = numbers(2, 3, 5, seed=9)
    for found, expected in zip(propagate(call, (X, Z), r), product_by_hand(X.numpy(), Z.numpy(), r.numpy()), strict=True):
        close(found, expected)


def test_a_sum_shares_within_each_question() -> None:
    r = numbers(2, 3, 4, seed=9)
    found = propagate(lambda x, y: x + y, (X, Y), r)
    for one, expected in zip(found, sum_by_hand(X.numpy(), Y.numpy(), r.numpy()), strict=True):
        close(one, expected)
    for b in range(2):
        alone = propagate(lambda x, y: x + y, (X[b : b + 1].clone(), Y[b : b + 1].clone()), r[b : b + 1])
        assert all(torch.allclose(one[b], single[0], rtol=1e-13, atol=0) for one, single in zip(found, alone, strict=True))


def test_a_sum_of_nothing_gives_nothing() -> None:
    zero = torch.zeros_like(X)
    assert not any(one.any() for one in propagate(lambda x, y: x + y, (X, Y), zero))
    left, right = propagate(lambda x, y: x + y, (X, zero), Y)
    assert not right.any() and torch.allclose(left.sum((1, 2)), Y.sum((1, 2)))


def test_a_tensor_used_several_times_gets_what_each_use_gives() -> None:
    r = numbers(2, 3, 4, seed=9)
    (found,) = propagate(lambda x: torch.tanh(x) + F.gelu(x), (X,), r)
    parts = sum_by_hand(torch.tanh(X).numpy(), F.gelu(X).numpy(), r.numpy())
    close(found, (X * (torch.from_numpy(parts[0] + parts[1]) / (X + 1e-9))).numpy())
    (nothing,) = propagate(lambda x: torch.tanh(x) + F.gelu(x), (torch.zeros_like(X),), r)
    assert not nothing.any()


def test_what_is_taken_keeps_its_relevance() -> None:
    r = numbers(2, 4, seed=9)
    (found,) = propagate(lambda x: x[:, 0], (X,), r)
    assert torch.allclose(found[:, 0], r, rtol=1e-6) and not found[:, 1:].any()


PASSED: list[tuple[str, Callable[[Tensor], Tensor]]] = [
    ("mul", lambda x: x * 2.5),
    ("multiply", lambda x: torch.multiply(x, 2.5)),
    ("mul", lambda x: x * torch.ones(2, 1, 1, dtype=x.dtype)),
    ("div", lambda x: x / math.sqrt(7)),
    ("divide", lambda x: torch.divide(x, 3)),
    ("true_divide", lambda x: torch.true_divide(x, 3)),
    ("softmax", lambda x: x.softmax(-1)),
    ("tanh", torch.tanh),
    ("sigmoid", torch.sigmoid),
    ("relu", F.relu),
    ("gelu", F.gelu),
    ("layer_norm", lambda x: F.layer_norm(x, (4,))),
    ("add", lambda x: x + MASK),
    ("add", lambda x: MASK + x),
]


@pytest.mark.parametrize(("name", "call"), PASSED, ids=[f"{i}-{name}" for i, (name, _) in enumerate(PASSED)])
def test_what_only_scales_passes_relevance_on(name: str, call: Callable[[Tensor], Tensor]) -> None:
    assert name in RULES
    r = numbers(2, 3, 4, seed=9)
    assert torch.equal(propagate(call, (X,), r)[0], r)


@pytest.mark.parametrize("name", MOVES)
def test_what_moves_numbers_moves_relevance_and_loses_none(name: str) -> None:
    rows = [row for row in CALLS if row[0] == name]
    assert rows
    for _, call, inputs in rows:
        if name == "dropout":  # that row multiplies
            call = lambda x: F.dropout(x, 0.5, training=False)  # noqa: E731
        out = call(*inputs)
        found = propagate(call, inputs, out)
        assert all(torch.equal(one, x) for one, x in zip(found, inputs, strict=True))


def test_every_rule_has_a_test() -> None:
    tested = {name for name, _ in PASSED} | set(MOVES) | {"linear", "matmul", "bmm", "add", "__getitem__"}
    assert tested == set(RULES)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda x: torch.exp(x), "no relevance rule for exp: write one in models/derive/relevance"),
        (lambda x: x - 1, "no relevance rule for sub"),
        (lambda x: x * x[:, :1], "no relevance rule for mul with respect to its argument"),
        (lambda x: X * x, "no relevance rule for mul with respect to its argument"),
        (lambda x: x + x[:, :1], "no relevance rule for add with respect to its argument"),
        (lambda x: x[:, :1] + x, "no relevance rule for add with respect to its argument"),
        (lambda x: x + 1, "no relevance rule for add with a number"),
        (lambda x: x[:, :1] * Y, r"no relevance rule for what makes \(2, 3, 4\) of \(2, 1, 4\)"),
        (lambda x: x.sum(), "no relevance rule for sum"),
        (lambda x: F.linear(X, x[0]), "no relevance rule for linear with respect to its argument"),
        (lambda x: F.dropout(x, 0.5, training=True), "dropout in training"),
        (lambda x: F.relu(x, inplace=True), "relu that writes"),
    ],
)
def test_what_has_no_rule_is_refused_by_name(call: Callable[[Tensor], Tensor], named: str) -> None:
    with pytest.raises(NoRule, match=named):
        propagate(call, (X.clone(),), torch.ones_like(X))
