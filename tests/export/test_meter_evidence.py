"""The hand-written gradients against autograd, and what must hold of any gradient."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from xai.export.derived import DerivedGraph
from xai.export.meter_evidence import EvidenceGraph
from xai.meter.model import Meter
from xai.models.eager import EagerSession, differentiate, find_sites
from xai.models.meter import MeterFamily, describe
from xai.models.reduce import REDUCTIONS, WHOLE
from xai.runtime.bundle.signatures import evidence_names, feature_names, map_names

Inputs = dict[str, Tensor]
SHAPES = [(2, 7, 10), (1, 3, 37), (3, 12, 2), (1, 1, 1), (1, 40, 5), (2, 5, 1)]  # (B, T, N)
CANCELS = "grad-cam"
"""Sums gradients of both signs: its error is relative to what is summed, not to the sum."""


def run(model: Meter, inputs: Inputs, outputs: list[str]) -> dict[str, Tensor]:
    graph = EvidenceGraph(model, outputs)
    with torch.inference_mode():
        return dict(zip(outputs, graph(**inputs), strict=True))


def run_autograd(model: Meter, inputs: Inputs) -> dict[str, Tensor]:
    family = MeterFamily(model)
    explained = differentiate(family, **inputs)
    found = {"logits": explained.logits} | {f"{layer}/features": x for layer, x in explained.features.items()}
    for name, site in find_sites(family, explained, inputs["image_mask"], inputs["text_mask"]).items():
        found |= {f"{name}/{kind}": function(site) for kind, function in (REDUCTIONS | WHOLE).items()}
    return found


def one_hot(model: Meter, targets: Tensor) -> Tensor:
    return torch.nn.functional.one_hot(targets, model.config.answers).float()


def error(found: Tensor, expected: Tensor) -> float:
    """Largest difference, relative to the largest expected value."""
    assert found.shape == expected.shape
    return float((found - expected).abs().max() / expected.abs().max().clamp_min(1e-30))


def all_names(model: Meter) -> list[str]:
    return list(dict.fromkeys([*evidence_names(describe(model.config)), *map_names(describe(model.config))]))


@pytest.mark.parametrize("which", ["model", "deeper_model"])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_equals_autograd(
    which: str,
    padded: bool,
    shape: tuple[int, int, int],
    dtype: torch.dtype,
    tolerance: float,
    make_inputs: Callable[..., Inputs],
    request: pytest.FixtureRequest,
) -> None:
    model = copy.deepcopy(request.getfixturevalue(which)).to(dtype)
    inputs = {name: x.to(dtype) if x.is_floating_point() else x for name, x in make_inputs(*shape, padded).items()}
    found, expected = run(model, inputs, all_names(model)), run_autograd(model, inputs)
    assert set(found) == set(expected)
    for name in found:
        allowed = tolerance * (100 if name.endswith(CANCELS) else 1)
        assert error(found[name], expected[name]) <= allowed, name


def test_names_are_those_of_the_eager_session(model: Meter, make_inputs: Callable[..., Inputs]) -> None:
    inputs = {name: x.numpy() for name, x in make_inputs(2, 4, 5).items()}
    session = EagerSession(MeterFamily(model))
    assert set(session.run("evidence", inputs)) == set(evidence_names(describe(model.config)))
    assert set(session.run("maps", inputs)) == set(map_names(describe(model.config)))


def test_only_the_outputs_named_are_returned_in_that_order(model: Meter, make_inputs: Callable[..., Inputs]) -> None:
    inputs = make_inputs(2, 4, 5)
    some = ["image1/self/product", "logits", "encoder0/self/attention"]
    found, everything = run(model, inputs, some), run(model, inputs, all_names(model))
    assert list(found) == some
    assert all(torch.equal(found[name], everything[name]) for name in some)


def test_the_top_answer_is_the_target_where_none_is_named(model: Meter, make_inputs: Callable[..., Inputs]) -> None:
    inputs = make_inputs(3, 6, 9)
    top = run(model, {**inputs, "direction": torch.zeros(3, model.config.answers)}, all_names(model))
    named = run(model, {**inputs, "direction": one_hot(model, top["logits"].argmax(-1))}, all_names(model))
    assert all(torch.equal(top[name], named[name]) for name in top)


def test_gradients_depend_on_the_input_and_on_the_target(model: Meter, make_inputs: Callable[..., Inputs]) -> None:
    grads = [name for name in map_names(describe(model.config)) if name.endswith("grad")]
    inputs, other = make_inputs(2, 6, 9), make_inputs(2, 6, 9, seed=1)
    one = run(model, {**inputs, "direction": one_hot(model, torch.tensor([3, 4]))}, grads)
    swapped = one_hot(model, torch.tensor([4, 3]))
    for changed in ({**other, "direction": one_hot(model, torch.tensor([3, 4]))}, {**inputs, "direction": swapped}):
        found = run(model, changed, grads)
        assert all(error(found[name], one[name]) > 1e-2 for name in grads)


def test_a_padded_batch_equals_single_runs(model: Meter, make_inputs: Callable[..., Inputs]) -> None:
    # In float64: what is shown is that padding takes no part, not how float32 rounds.
    model = copy.deepcopy(model).double()
    inputs = {name: x.double() if x.is_floating_point() else x for name, x in make_inputs(3, 8, 11, padded=True).items()}
    names = [name for name in all_names(model) if name != "logits"]
    batch = run(model, inputs, ["logits", *names])
    for b in range(3):
        tokens, patches = int(inputs["text_mask"][b].sum()), int(inputs["image_mask"][b].sum())
        length = {"text_mask": tokens, "text_embeddings": tokens, "image_mask": patches, "image_tokens": patches}
        single = {name: x[b : b + 1, : length[name]] if name in length else x[b : b + 1] for name, x in inputs.items()}
        found = run(model, single, ["logits", *names])
        assert error(batch["logits"][b], found["logits"][0]) <= 1e-12
        for name in names:
            cut = tuple(slice(side) for side in found[name].shape[1:])
            assert error(batch[name][b][cut], found[name][0]) <= (1e-9 if name.endswith(CANCELS) else 1e-11), name


def test_masked_tokens_have_no_gradient(model: Meter, make_inputs: Callable[..., Inputs]) -> None:
    inputs = make_inputs(2, 8, 11, padded=True)
    real = {"text": inputs["text_mask"][1], "image": inputs["image_mask"][1]}
    for name, gradient in run(model, inputs, [name for name in map_names(describe(model.config)) if name.endswith("grad")]).items():
        own, other = ("image", "text") if name.startswith("image") else ("text", "image")
        queries, keys = real[own], real[own if "/self/" in name else other]
        assert not gradient[1][:, ~queries].any()
        assert not gradient[1][:, :, ~keys].any()


def test_the_model_is_left_as_it_was(model: Meter, make_inputs: Callable[..., Inputs]) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    attributes = {name: set(vars(module)) for name, module in model.named_modules()}
    run(model, make_inputs(2, 6, 9), ["logits", *feature_names(describe(model.config))])
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert attributes == {name: set(vars(module)) for name, module in model.named_modules()}


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_the_derived_gradient_equals_the_hand_written_one(
    padded: bool, shape: tuple[int, int, int], dtype: torch.dtype, tolerance: float, model: Meter, make_inputs: Callable[..., Inputs]
) -> None:
    model = copy.deepcopy(model).to(dtype)
    inputs = {name: x.to(dtype) if x.is_floating_point() else x for name, x in make_inputs(*shape, padded).items()}
    expected = run(model, inputs, all_names(model))
    found = dict(zip(expected, DerivedGraph(MeterFamily(model), list(expected))(**inputs), strict=True))
    for name in found:
        assert error(found[name], expected[name]) <= tolerance * (100 if name.endswith(CANCELS) else 1), name
