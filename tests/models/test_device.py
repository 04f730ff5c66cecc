"""The eager session on a device. No GPU is needed: PyTorch's device `meta`, which has shapes and no numbers, refuses what lies elsewhere.

What this cannot show: that CuPy and PyTorch do their part on a GPU.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

import xai
from xai.base.errors import XaiError
from xai.models.contract import Family
from xai.models.eager import EagerSession, differentiate, find_sites
from xai.models.reduce import REDUCTIONS, WHOLE
from xai.runtime.sessions.tensors import to_array, to_tensor
from xai.tests.families import FamilyGolden, make_inputs
from xai.tests.variants import Variant

ELSEWHERE = torch.device("meta")


def run_elsewhere(family: Family) -> None:
    """Every graph of the eager session on a device that is not the CPU; each result must lie there."""
    moved = copy.deepcopy(family).to(ELSEWHERE)
    inputs = {name: x.to(ELSEWHERE) for name, x in make_inputs(family, (2, 5, 7), padded=True).items()}
    picture = [x.to(ELSEWHERE) for x in family.example()]
    with torch.no_grad():
        found = [moved.encode_image(*picture), moved.embed_text(torch.zeros(1, 4, dtype=torch.int64, device=ELSEWHERE))]
        direction = inputs.pop("direction")
        found.append(moved.fuse(**inputs, record=False).logits)
    explained = differentiate(moved, **inputs, direction=direction)
    for site in find_sites(moved, explained, inputs["image_mask"], inputs["text_mask"]).values():
        found += [reduce(site) for reduce in (REDUCTIONS | WHOLE).values()]
    found += [explained.logits, *explained.features.values()]
    assert {x.device for x in found} == {ELSEWHERE}


def test_no_family_computes_elsewhere_than_it_lies(family_golden: FamilyGolden) -> None:
    run_elsewhere(family_golden.family)


def test_no_variant_of_meter_does(variant: Variant) -> None:
    run_elsewhere(variant.explainer.session.family)


def test_without_a_gpu_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(XaiError, match="this PyTorch has no GPU to run on: see `xai doctor`, or ask for --provider cpu"):
        xai.load("demo", session="eager", provider="cuda")
    with pytest.raises(XaiError, match="the session eager runs on cpu or cuda, not on 'rocm'"):
        xai.load("demo", session="eager", provider="rocm")


def test_a_gpu_without_cupy_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("xai.runtime.sessions.protocol.gpu_state", lambda: "CuPy is not installed")
    with pytest.raises(XaiError, match="provider cuda needs CuPy"):
        xai.load("demo", session="eager", provider="cuda")


def test_the_session_says_where_it_runs() -> None:
    session = xai.load("demo", session="eager").session
    assert isinstance(session, EagerSession)
    assert (session.device, session.provider) == ("cpu", "cpu")


def test_arrays_come_back_as_they_were_given() -> None:
    given: list[Any] = [np.arange(6.0).reshape(2, 3)[:, ::-1], np.ones(2, bool)]
    tensors = [to_tensor(value, "cpu") for value in given]
    assert [type(to_array(x, given)) for x in tensors] == [np.ndarray, np.ndarray]
    assert all((to_array(x, given) == value).all() for x, value in zip(tensors, given, strict=True))
