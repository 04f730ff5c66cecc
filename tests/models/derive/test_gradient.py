"""Every rule against autograd in float64; what has no rule is refused by its name."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from xai.models.derive.gradient import RULES
from xai.models.derive.rules import NoRule
from xai.models.derive.tape import PASSIVE, Tape, operation_name

TOLERANCE = 1e-12


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


X, Y, Z = numbers(2, 3, 4), numbers(2, 3, 4, seed=1), numbers(2, 4, 5, seed=2)
ROW, ONE, SCALAR = numbers(4, seed=3), numbers(2, 1, 1, seed=4), numbers(seed=5)
WEIGHT, BIAS = numbers(5, 4, seed=6), numbers(5, seed=7)
MASK = X > 0.3
INDEX = torch.tensor([[[0, 2, 2, 1]], [[1, 1, 0, 0]]])

# One row for each way to call an operation: the rule's name, the call, the tensors that it is differentiated by.
CALLS: list[tuple[str, Callable[..., Tensor], tuple[Tensor, ...]]] = [
    ("linear", lambda x: F.linear(x, WEIGHT, BIAS), (X,)),
    ("linear", lambda x: F.linear(x, WEIGHT), (X,)),
    ("matmul", lambda x, z: torch.matmul(x, z), (X, Z)),
    ("matmul", lambda x, z: torch.matmul(x, z), (X, Z[:1])),
    ("matmul", lambda x, z: torch.matmul(x, z), (X[0], Z)),
    ("matmul", lambda x, z: x @ z, (X[:1], Z)),
    ("bmm", lambda x, z: torch.bmm(x, z), (X, Z)),
    ("add", lambda x, y: torch.add(x, y), (X, Y)),
    ("add", lambda x, y: x.add(y), (ROW, X)),
    ("add", lambda x, y: x + y, (X, ROW)),
    ("add", lambda x, y: x + y, (X, SCALAR)),
    ("add", lambda x: 1 + x, (X,)),
    ("sub", lambda x, y: torch.sub(x, y), (X, ROW)),
    ("subtract", lambda x, y: torch.subtract(x, y), (X, ONE)),
    ("sub", lambda x, y: x - y, (ONE, Y)),
    ("rsub", lambda x, y: torch.rsub(x, y), (X, ROW)),
    ("__rsub__", lambda x: 1 - x, (X,)),
    ("mul", lambda x, y: torch.mul(x, y), (X, ONE)),
    ("multiply", lambda x, y: torch.multiply(x, y), (ROW, X)),
    ("mul", lambda x, y: x * y, (X, Y)),
    ("mul", lambda x: x * x, (X,)),
    ("mul", lambda x: 2.5 * x, (X,)),
    ("div", lambda x, y: torch.div(x, y), (X, Y)),
    ("divide", lambda x, y: torch.divide(x, y), (X, ROW)),
    ("true_divide", lambda x: torch.true_divide(x, 3), (X,)),
    ("div", lambda x, y: x / y, (ONE, X)),
    ("div", lambda x: x / math.sqrt(7), (X,)),
    ("neg", lambda x: torch.neg(x), (X,)),
    ("negative", lambda x: torch.negative(x), (X,)),
    ("neg", lambda x: -x, (X,)),
    ("exp", lambda x: x.exp(), (X,)),
    ("tanh", lambda x: torch.tanh(x), (X,)),
    ("sigmoid", lambda x: torch.sigmoid(x), (X,)),
    ("relu", lambda x: F.relu(x), (X,)),
    ("relu", lambda x: x.relu(), (X,)),
    ("gelu", lambda x: F.gelu(x), (X,)),
    ("softmax", lambda x: F.softmax(x, dim=-1), (X,)),
    ("softmax", lambda x: torch.softmax(x, 1), (X,)),
    ("softmax", lambda x: x.softmax(-1), (X,)),
    ("layer_norm", lambda x: F.layer_norm(x, (4,), ROW, ROW, 1e-6), (X,)),
    ("layer_norm", lambda x: F.layer_norm(x, (3, 4)), (X,)),
    ("sum", lambda x: x.sum(), (X,)),
    ("sum", lambda x: x.sum(1), (X,)),
    ("sum", lambda x: torch.sum(x, (0, -1), keepdim=True), (X,)),
    ("mean", lambda x: x.mean(), (X,)),
    ("mean", lambda x: x.mean((0, 2)), (X,)),
    ("mean", lambda x: torch.mean(x, dim=-1, keepdim=True), (X,)),
    ("view", lambda x: x.view(6, 4), (X,)),
    ("reshape", lambda x: x.reshape(2, 3, 2, -1), (X,)),
    ("flatten", lambda x: x.flatten(1), (X,)),
    ("squeeze", lambda x: x.squeeze(-1), (ONE,)),
    ("unsqueeze", lambda x: x.unsqueeze(1), (X,)),
    ("transpose", lambda x: x.transpose(1, 2), (X,)),
    ("swapaxes", lambda x: x.swapaxes(0, -1), (X,)),
    ("mT", lambda x: x.mT, (X,)),
    ("permute", lambda x: x.permute(2, 0, 1), (X,)),
    ("permute", lambda x: x.permute((1, -1, 0)), (X,)),
    ("expand", lambda x: x.expand(2, 5, -1), (ONE,)),
    ("expand_as", lambda x: x.expand_as(Y), (ONE,)),
    ("broadcast_to", lambda x: torch.broadcast_to(x, (2, 3, 4)), (ROW,)),
    ("contiguous", lambda x: x.mT.contiguous(), (X,)),
    ("clone", lambda x: x.clone(), (X,)),
    ("to", lambda x: x.to(torch.float32).to(torch.float64), (X.float().double(),)),
    ("float", lambda x: x.float().double(), (X.float().double(),)),
    ("double", lambda x: x.double() * x, (X,)),
    ("type_as", lambda x: x.type_as(Y.float()).type_as(Y), (X.float().double(),)),
    ("dropout", lambda x: F.dropout(x, 0.5, training=False) * x, (X,)),
    ("cat", lambda x, y: torch.cat([x, y, Y], 1), (X, Y[:, :2])),
    ("concat", lambda x: torch.concat((x, x), dim=-1), (X,)),
    ("concatenate", lambda x: torch.concatenate((Y, x)), (X,)),
    ("__getitem__", lambda x: x[:, 0], (X,)),
    ("__getitem__", lambda x: x[-1], (X,)),
    ("__getitem__", lambda x: x[:, 1:-1], (X,)),
    ("__getitem__", lambda x: x[1, -2:, :3], (X,)),
    ("__getitem__", lambda x: x[:, :9], (X,)),
    ("gather", lambda x: x.gather(1, INDEX), (X,)),
    ("masked_fill", lambda x: x.masked_fill(MASK, -1.5), (X,)),
    ("masked_fill", lambda x: x.masked_fill(MASK, -1.5), (ROW,)),
    ("where", lambda x, y: torch.where(MASK, x, y), (X, ROW)),
    ("where", lambda x: torch.where(MASK, 0.0, x), (X,)),
]


def derive(call: Callable[..., Tensor], inputs: tuple[Tensor, ...], seed: Callable[[Tensor], Tensor]) -> list[Tensor | None]:
    tape = Tape()
    with torch.no_grad():
        with tape:
            tape.watch(*inputs)
            out = call(*inputs)
        return tape.gradients(out, seed(out), inputs)


@pytest.mark.parametrize(("name", "call", "inputs"), CALLS, ids=[f"{i}-{name}" for i, (name, *_) in enumerate(CALLS)])
def test_every_rule_equals_autograd(name: str, call: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> None:
    def seed(out: Tensor) -> Tensor:
        return numbers(*out.shape, seed=99)

    wanted = [x.clone().requires_grad_() for x in inputs]
    out = call(*wanted)
    expected = torch.autograd.grad(out, wanted, seed(out))
    found = derive(call, inputs, seed)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours is not None
        assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
        assert (ours - theirs).abs().max() <= TOLERANCE * theirs.abs().max()


def test_every_rule_has_a_row_that_reaches_it() -> None:
    reached = set()
    for _, call, inputs in CALLS:

        class Spy(torch.overrides.TorchFunctionMode):
            def __torch_function__(self, func, types, args=(), kwargs=None):
                reached.add(operation_name(func))
                return func(*args, **(kwargs or {}))

        with Spy():
            call(*inputs)
    assert set(RULES) <= reached
    assert {name for name, *_ in CALLS} <= set(RULES)


def test_a_tensor_used_twice_collects_both_gradients_and_an_intermediate_keeps_its_own() -> None:
    tape = Tape()
    with torch.no_grad():
        with tape:
            tape.watch(X)
            middle = torch.tanh(X)
            out = (middle * middle + X @ Z @ Z.mT).sum()
        found = tape.gradients(out, torch.ones_like(out), [X, middle])
    x = X.clone().requires_grad_()
    inner = torch.tanh(x)
    expected = torch.autograd.grad((inner * inner + x @ Z @ Z.mT).sum(), [x, inner])
    assert all(torch.allclose(ours, theirs, rtol=1e-12, atol=0) for ours, theirs in zip(found, expected, strict=True))


def test_what_the_result_does_not_depend_on_has_no_gradient() -> None:
    tape = Tape()
    with torch.no_grad():
        with tape:
            tape.watch(X, Y)
            out, unused = torch.tanh(X), torch.tanh(Y)
        found = tape.gradients(out, torch.ones_like(out), [X, Y, unused])
    assert found[0] is not None and found[1] is found[2] is None


def write_entry(x: Tensor) -> Tensor:
    x[0] = 1
    return x


def add_in_place(x: Tensor) -> Tensor:
    x += 1
    return x


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda x: torch.cumsum(x, 0), "cumsum"),
        (lambda x: F.scaled_dot_product_attention(x, x, x), "scaled_dot_product_attention"),
        (lambda x: x.chunk(2, -1)[0], "chunk"),
        (lambda x: x.max(1)[0], "max"),
        (lambda x: x[0].T, "T"),
        (lambda x: x.add_(1), "add_"),
        (lambda x: torch.zeros_like(x).add_(x), "add_"),
        (lambda x: F.relu(x, inplace=True), "relu that writes"),
        (lambda x: torch.mul(x, 2, out=torch.empty_like(x)), "mul called like this"),
        (write_entry, "__setitem__"),
        (add_in_place, "add_"),
        (lambda x: torch.tensor(x.sum().item()), "item"),
        (lambda x: torch.add(x, x, alpha=2), "add called like this"),
        (lambda x: torch.div(x, 2, rounding_mode="floor"), "div called like this"),
        (lambda x: F.softmax(x, -1, dtype=torch.float32), "softmax that changes the type"),
        (lambda x: torch.softmax(x, -1, torch.float32), "softmax that changes the type"),
        (lambda x: F.gelu(x, approximate="tanh"), "gelu with approximate='tanh'"),
        (lambda x: F.dropout(x, 0.5, training=True), "dropout in training"),
        (lambda x: x[:, [0, 1]], "an index other than"),
        (lambda x: x[None], "an index other than"),
        (lambda x: x[..., 0], "an index other than"),
        (lambda x: x[MASK], "an index other than"),
        (lambda x: x[:, ::2], "a slice with a step"),
        (lambda x: x @ ROW, "matmul with a vector"),
        (lambda x: x.view(torch.float32), "view as another type"),
        (lambda x: F.linear(X, x[0]), "linear with respect to its argument"),
    ],
)
def test_what_has_no_rule_is_refused_by_name(call: Callable[[Tensor], Tensor], named: str) -> None:
    with pytest.raises(NoRule, match=f"no gradient rule for {named}"):
        derive(call, (X.clone(),), torch.ones_like)


def test_what_has_no_gradient_passes_and_detach_ends_it() -> None:
    def call(x: Tensor) -> Tensor:
        assert x.shape == (2, 3, 4) and x.size(0) == 2 and x.dim() == x.ndim == 3 and x.dtype == torch.float64
        largest = x.argmax(-1)
        return x * (x > 0) + x.detach() * torch.zeros_like(x) + largest[..., None]

    (found,) = derive(call, (X,), torch.ones_like)
    assert found is not None
    assert torch.equal(found, (X > 0).double())
    assert not PASSIVE & set(RULES)


def test_the_tape_records_nothing_outside_and_of_nothing_unwatched() -> None:
    tape = Tape()
    with torch.no_grad():
        with tape:
            torch.cumsum(Y, 0)
            tape.watch(X)
        torch.cumsum(X, 0)
    assert not tape.steps


@pytest.mark.parametrize("shape", [(2, 3, 4), (5, 7, 4), (1, 1, 4)])
def test_derived_gradients_are_traced_for_any_length(shape: tuple[int, int, int]) -> None:
    class Gradient(torch.nn.Module):
        def forward(self, x: Tensor, bias: Tensor) -> Tensor:
            tape = Tape()
            with torch.no_grad():
                with tape:
                    tape.watch(x, bias)
                    y = F.softmax(x @ x.mT + bias, -1) @ x
                    out = torch.cat([y[:, :1] * y, y[:, 0].unsqueeze(1)], 1).mean(-1)
                first, second = tape.gradients(out, torch.ones_like(out), [x, bias])
            assert first is not None and second is not None
            return first + second

    batch, length = torch.export.Dim("batch", max=64), torch.export.Dim("length", max=64)
    inputs, bias = numbers(2, 5, 4), numbers(1, 1, 1)
    axes = {"x": {0: batch, 1: length}, "bias": None}
    exported = torch.export.export(Gradient(), (inputs, bias), dynamic_shapes=axes, strict=False).module()
    traced = torch.jit.trace(Gradient(), (inputs, bias), check_trace=False)
    x, b = numbers(*shape, seed=8), numbers(1, 1, 1, seed=9)
    wanted = Gradient()(x, b)
    assert torch.allclose(traced(x, b), wanted, rtol=1e-12, atol=1e-14)
    if min(shape[:2]) > 1:  # an exported program takes an axis that may be 1 for one that is not
        assert torch.allclose(exported(x, b), wanted, rtol=1e-12, atol=1e-14)
