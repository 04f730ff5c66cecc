"""Relevance through a whole network: golden values, conservation, padding and batches, one answer or a difference of two."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor

from xai.models.derive.propagate import propagate
from xai.models.derive.relevance import RELEVANCE
from xai.models.derive.rules import NoRule
from xai.models.derive.tape import Tape
from xai.models.derive.wide import embed_text, encode_image
from xai.models.eager import EagerSession, differentiate
from xai.runtime.bundle.signatures import relevance_names
from xai.runtime.engine import explain_tokens
from xai.runtime.inputs.encode import encode_images, pad_tokens
from xai.runtime.methods import METHODS
from xai.runtime.target import Contrast
from xai.tests.families import FamilyGolden, Inputs, error, make_inputs


@pytest.fixture
def golden(family_goldens) -> FamilyGolden:
    return family_goldens("lxmert_tiny")


def read(golden: FamilyGolden, case: int) -> Inputs:
    """A case, its tokens in float64."""
    with torch.no_grad():
        image = encode_image(golden.family, *map(torch.from_numpy, golden.picture(case).values()))
        text = embed_text(golden.family, torch.tensor([golden.cases[case]["ids"]]))
    masks = [torch.ones(x.shape[:2], dtype=torch.bool) for x in (image, text)]
    direction = torch.zeros(1, golden.family.description.answers)
    return dict(image_tokens=image, image_mask=masks[0], text_embeddings=text, text_mask=masks[1], direction=direction)


@pytest.mark.parametrize("case", range(6))
def test_relevance_and_gradients_are_the_references_own_in_float64(golden: FamilyGolden, case: int) -> None:
    logits, sites = propagate(golden.family, **read(golden, case))
    assert error(logits[0].numpy(), golden.expected[f"{case}/logits"]) < 1e-5
    assert list(sites) == [site.name for site in golden.family.description.sites if site.reached]
    for name, site in sites.items():
        assert error(site.relevance[0].numpy(), golden.expected[f"{case}/{name}/cam64"]) < 1e-5
        assert error(site.gradient[0].numpy(), golden.expected[f"{case}/{name}/grad"]) < 1e-5


def test_tokens_and_weights_are_widened_exactly(golden: FamilyGolden) -> None:
    wide, inputs = copy.deepcopy(golden.family).double(), read(golden, 3)
    features, boxes = (torch.from_numpy(x).double() for x in golden.picture(3).values())
    assert torch.equal(inputs["image_tokens"], wide.encode_image(features, boxes))
    assert torch.equal(inputs["text_embeddings"], wide.embed_text(torch.tensor([golden.cases[3]["ids"]])))
    for name, site in propagate(golden.family, **inputs)[1].items():
        twin = propagate(wide, **inputs)[1][name]
        assert torch.equal(site.relevance, twin.relevance) and torch.equal(site.gradient, twin.gradient)
    assert {x.dtype for x in golden.family.parameters()} == {torch.float32}


def test_relevance_is_conserved_down_to_the_tokens(golden: FamilyGolden) -> None:
    family, inputs = copy.deepcopy(golden.family).double(), read(golden, 4)
    tape, direction = Tape(RELEVANCE), torch.zeros_like(inputs.pop("direction")).double()
    direction[0, 3] = 1
    with torch.no_grad():
        with tape:
            tape.watch(inputs["image_tokens"], inputs["text_embeddings"])
            fused = family.fuse(**inputs, record=True)
        found = tape.gradients(fused.logits, direction, [inputs["image_tokens"], inputs["text_embeddings"]])
    assert sum(float(x.sum()) for x in found if x is not None) == pytest.approx(1, abs=1e-4)


def test_padding_gets_nothing_and_a_batch_is_its_questions_alone(golden: FamilyGolden) -> None:
    family = golden.family
    inputs = make_inputs(family, (3, 8, 11), padded=True)
    logits, sites = propagate(family, **inputs)
    for b in range(3):
        tokens, boxes = int(inputs["text_mask"][b].sum()), int(inputs["image_mask"][b].sum())
        length = {"text_mask": tokens, "text_embeddings": tokens, "image_mask": boxes, "image_tokens": boxes}
        single = {name: x[b : b + 1, : length[name]] if name in length else x[b : b + 1] for name, x in inputs.items()}
        alone = propagate(family, **single)
        assert error(logits[b], alone[0][0]) < 1e-12
        for name, site in alone[1].items():
            whole = sites[name].relevance[b].clone()
            queries, keys = site.relevance.shape[2:]
            assert error(whole[:, :queries, :keys], site.relevance[0]) < 1e-9
            whole[:, :queries, :keys] = 0
            assert not whole.any()


def test_gradients_are_autograds_and_relevance_starts_where_the_direction_is_above_0(golden: FamilyGolden) -> None:
    family, inputs = copy.deepcopy(golden.family).double(), make_inputs(golden.family, (1, 5, 7))
    inputs = {name: x.double() if x.is_floating_point() else x for name, x in inputs.items()}
    one, both = torch.zeros_like(inputs["direction"]), torch.zeros_like(inputs["direction"])
    one[0, 4], both[0, 4], both[0, 7] = 1, 1, -1
    _, alone = propagate(family, **{**inputs, "direction": one})
    _, contrast = propagate(family, **{**inputs, "direction": both})
    explained = differentiate(family, **{**inputs, "direction": both})
    gradients: dict[str, Tensor | None] = {site.name: g for site, g in zip(family.description.sites, explained.gradients, strict=True)}
    for name, site in contrast.items():
        assert torch.equal(site.relevance, alone[name].relevance)
        wanted = gradients[name]
        assert wanted is not None and error(site.gradient, wanted) < 1e-12


@pytest.mark.parametrize("together", [False, True])
def test_methods_are_the_references_own_in_float64(golden: FamilyGolden, together: bool) -> None:
    session, methods = EagerSession(golden.family), [METHODS["transformer-attribution-lrp"], METHODS["partial-lrp"]]
    cases = list(range(len(golden.cases)))
    rows = [encode_images(session, *golden.picture(c).values())[0] for c in cases]
    ids = [np.array(golden.cases[c]["ids"]) for c in cases]
    for some in [cases] if together else [[c] for c in cases]:
        tokens, mask = pad_tokens([rows[c] for c in some])
        found = explain_tokens(session, tokens, [ids[c] for c in some], [-1] * len(some), methods, image_mask=mask)
        for c, answered in zip(some, found, strict=True):
            for method, relevance in zip(methods, answered.relevances, strict=True):
                for stream, values in relevance._asdict().items():
                    assert error(values, golden.expected[f"{c}/{method.reference_name}@float64/{stream}"]) < 1e-5
                    assert error(values, golden.expected[f"{c}/{method.reference_name}/{stream}"]) < 5e-2


def test_a_contrast_reaches_the_methods(golden: FamilyGolden) -> None:
    session, method = EagerSession(golden.family), METHODS["transformer-attribution-lrp"]
    tokens, ids = encode_images(session, *golden.picture(0).values()), [np.array(golden.cases[0]["ids"])]
    one, other, named = (
        explain_tokens(session, tokens, ids, [target], [method])[0].relevances[0]
        for target in (-1, Contrast(4, 7), golden.cases[0]["answer_id"])
    )
    assert np.array_equal(one.image, named.image) and not np.allclose(one.image, other.image)


def test_no_box_at_all_is_finite(golden: FamilyGolden) -> None:
    inputs = make_inputs(golden.family, (1, 5, 1))
    inputs["image_mask"][:] = False
    assert all(bool(x.isfinite().all()) for site in propagate(golden.family, **inputs)[1].values() for x in site)


def test_the_session_gives_what_it_is_said_to_and_other_families_have_no_such_graph(golden: FamilyGolden, family_goldens) -> None:
    inputs = {name: x.numpy() for name, x in read(golden, 0).items()}
    found = EagerSession(golden.family).run("lrp", inputs)
    assert list(found) == relevance_names(golden.family.description)
    assert {str(x.dtype) for x in found.values()} == {"float32"}
    vilt = family_goldens("vilt_tiny").family
    with pytest.raises(ValueError, match="no graph is called lrp"):
        EagerSession(vilt).run("lrp", {name: x.numpy() for name, x in make_inputs(vilt, (1, 4, 5)).items()})
    with pytest.raises(NoRule, match="no relevance rule for cat: write one in models/derive/relevance"):
        propagate(vilt, **make_inputs(vilt, (1, 4, 5)))
