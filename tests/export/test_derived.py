"""Derived gradients of every family against autograd, in double and single precision."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from xai.export.derived import DerivedGraph
from xai.models.contract import Family
from xai.models.eager import differentiate, find_sites
from xai.models.reduce import REDUCTIONS, WHOLE
from xai.tests.families import FamilyGolden, Inputs, error, make_inputs

SHAPES = [(2, 7, 10), (1, 3, 37), (3, 12, 2), (1, 1, 1), (1, 30, 5), (2, 5, 1)]  # (B, T, N)
CANCELS = "grad-cam"
"""Sums gradients of both signs: its error is relative to what is summed, not to the sum."""


def run_autograd(family: Family, inputs: Inputs) -> dict[str, Tensor]:
    explained = differentiate(family, **inputs)
    found = {"logits": explained.logits}
    found |= {f"{layer}/features": x for layer, x in explained.features.items()}
    for name, site in find_sites(family, explained, inputs["image_mask"], inputs["text_mask"]).items():
        found |= {f"{name}/{kind}": reduce(site) for kind, reduce in (REDUCTIONS | WHOLE).items()}
    return found


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_equals_autograd(
    family_golden: FamilyGolden, padded: bool, shape: tuple[int, int, int], dtype: torch.dtype, tolerance: float
) -> None:
    family = copy.deepcopy(family_golden.family).to(dtype)
    inputs = {name: x.to(dtype) if x.is_floating_point() else x for name, x in make_inputs(family, shape, padded).items()}
    expected = run_autograd(family, inputs)
    found = dict(zip(expected, DerivedGraph(family, list(expected))(**inputs), strict=True))
    for name, value in found.items():
        assert error(value, expected[name]) <= tolerance * (100 if name.endswith(CANCELS) else 1), name


def test_golden_gradients_in_one_padded_batch(family_golden: FamilyGolden) -> None:
    cases = range(len(family_golden.cases))
    inputs = family_golden.inputs(cases)
    description = family_golden.family.description
    names = ["logits", *(f"{site.name}/grad" for site in description.sites)]
    found = dict(zip(names, DerivedGraph(family_golden.family, names)(**inputs), strict=True))
    lengths = {"text": inputs["text_mask"].sum(1), "image": inputs["image_mask"].sum(1)}
    start = {"text": 0, "image": inputs["text_mask"].shape[1] if len(description.streams) == 1 else 0}
    parts = {stream.name: stream.parts for stream in description.streams}
    for c in cases:
        assert error(found["logits"][c].numpy(), family_golden.expected[f"{c}/logits"]) < 1e-5
        for site in description.sites:
            rows, columns = (
                torch.cat([start[part] + torch.arange(int(lengths[part][c])) for part in parts[stream]])
                for stream in (site.queries, site.keys)
            )
            gradient = found[f"{site.name}/grad"][c]
            expected = family_golden.expected[f"{c}/{site.name}/grad"]
            assert error(gradient[:, rows][:, :, columns].numpy(), expected) < 1e-5
            gradient = gradient.clone()
            gradient[:, rows[:, None], columns] = 0
            assert not gradient.any()


def test_a_padded_batch_equals_single_runs(family_golden: FamilyGolden) -> None:
    family = copy.deepcopy(family_golden.family).double()
    inputs = {name: x.double() if x.is_floating_point() else x for name, x in make_inputs(family, (3, 8, 11), padded=True).items()}
    found = DerivedGraph(family, ["logits"])(**inputs)[0]
    for b in range(3):
        tokens, patches = int(inputs["text_mask"][b].sum()), int(inputs["image_mask"][b].sum())
        length = {"text_mask": tokens, "text_embeddings": tokens, "image_mask": patches, "image_tokens": patches}
        single = {name: x[b : b + 1, : length[name]] if name in length else x[b : b + 1] for name, x in inputs.items()}
        assert error(found[b : b + 1], DerivedGraph(family, ["logits"])(**single)[0]) <= 1e-12


def test_only_the_outputs_named_are_returned_and_the_network_is_left_as_it_was(family_golden: FamilyGolden) -> None:
    family = family_golden.family
    before = {name: set(vars(module)) for name, module in family.named_modules()}
    hooks = [len(module._forward_hooks) for module in family.modules()]
    some = [f"{family.description.sites[-1].name}/product", "logits", f"{family.description.sites[0].name}/attention"]
    found = DerivedGraph(family, some)(**make_inputs(family, (2, 4, 5)))
    assert len(found) == 3 and found[1].shape == (2, family.description.answers)
    assert before == {name: set(vars(module)) for name, module in family.named_modules()}
    assert hooks == [len(module._forward_hooks) for module in family.modules()]
