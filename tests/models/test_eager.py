"""The networks, their cut and their gradients by autograd against the reference's outputs."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from xai.models.eager import EagerSession, differentiate
from xai.runtime.masked.masking import Kept, answer_kept, kept_places
from xai.tests.families import FamilyGolden, error, make_inputs

TOLERANCES = {"logits": 1e-5, "features": 1e-5, "attn": 1e-5, "grad": 1e-5}


def session_inputs(golden: FamilyGolden, session: EagerSession, case: int) -> dict[str, np.ndarray]:
    image_tokens = session.run("encode_image", golden.picture(case))["image_tokens"]
    text_embeddings = session.run("embed_text", {"ids": np.array([golden.cases[case]["ids"]])})["text_embeddings"]
    return {
        "image_tokens": image_tokens,
        "image_mask": np.ones(image_tokens.shape[:2], dtype=bool),
        "text_embeddings": text_embeddings,
        "text_mask": np.ones(text_embeddings.shape[:2], dtype=bool),
        "direction": np.zeros((1, session.description.answers), dtype=np.float32),
    }


def test_logits_features_attention_and_gradients_are_the_references(family_golden: FamilyGolden) -> None:
    session = EagerSession(family_golden.family)
    for c, case in enumerate(family_golden.cases):
        inputs = session_inputs(family_golden, session, c)
        found = session.run("maps", inputs)
        assert found["logits"][0].argmax() == case["answer_id"]
        compared = set()
        for name, value in found.items():
            if (wanted := family_golden.expected.get(f"{c}/{name}")) is not None:
                kind = name.rsplit("/")[-1]
                assert error(value[0], wanted) < TOLERANCES[kind], name
                compared.add(kind)
        assert compared == set(TOLERANCES)
        del inputs["direction"]
        assert error(session.run("answer", inputs)["logits"][0], family_golden.expected[f"{c}/logits"]) < 1e-5


def test_the_gradient_of_the_sum_of_all_logits_is_the_references(family_goldens) -> None:
    golden = family_goldens("lxmert_tiny")
    session = EagerSession(golden.family)
    for c in range(len(golden.cases)):
        found = session.run("maps", {**session_inputs(golden, session, c), "direction": np.ones((1, 30), dtype=np.float32)})
        for site in golden.family.description.sites:
            if site.reached:
                assert error(found[f"{site.name}/grad"][0], golden.expected[f"{c}/{site.name}/grad_sum"]) < 1e-5


def test_a_direction_is_the_difference_of_the_gradients_of_two_answers(family_golden: FamilyGolden) -> None:
    family = copy.deepcopy(family_golden.family).double()
    inputs = {n: x.double() if x.is_floating_point() else x for n, x in make_inputs(family, (2, 6, 9)).items()}
    one_hot = torch.eye(family.description.answers, dtype=torch.float64)

    def gradients(direction):
        found = differentiate(family, **{**inputs, "direction": direction.expand(2, -1)}).gradients
        return [g for g in found if g is not None]

    for both, first, second in zip(gradients(one_hot[4] - one_hot[7]), gradients(one_hot[4]), gradients(one_hot[7]), strict=True):
        assert torch.allclose(both, first - second, rtol=0, atol=1e-12 * float(first.abs().max()))


def test_sites_that_no_answer_reads_are_those_without_gradient(family_golden: FamilyGolden) -> None:
    zero = set(family_golden.cases[0].get("zero_gradient", ()))
    description = family_golden.family.description
    assert {site.name for site in description.sites if not site.reached} == zero
    assert {site.name for site in description.sites} - description.depended_on() == zero


def test_one_image_of_another_grid_is_encoded_alone_as_in_a_batch(family_goldens) -> None:
    golden = family_goldens("vilt_tiny")
    session = EagerSession(golden.family)
    pixels = golden.picture(1)["pixels"]
    both = session.run("encode_image", {"pixels": np.concatenate([pixels, pixels[..., ::-1]])})["image_tokens"]
    assert both.shape == (2, 1 + 6 * 9, 64)
    assert error(both[:1], session.run("encode_image", {"pixels": pixels})["image_tokens"]) < 1e-6


def test_attention_to_no_box_gives_nothing(family_goldens) -> None:
    """A masked box, whatever it holds, stands for none: the text then attends to a zero vector, as the reference's deletion gives."""
    golden = family_goldens("lxmert_tiny")
    inputs = {name: x for name, x in golden.inputs([3]).items() if name != "direction"}
    logits = []
    for value in (0.0, 3.0):
        token, mask = torch.full((1, 1, 64), value), torch.zeros(1, 1, dtype=torch.bool)
        with torch.no_grad():
            logits.append(golden.family.fuse(**{**inputs, "image_tokens": token, "image_mask": mask}, record=False).logits[0].numpy())
    assert error(logits[0], logits[1]) < 1e-6
    none_kept = np.flatnonzero(~golden.expected["3/rm/perturb/image/positive/kept"].any(1))
    assert len(none_kept)
    assert error(logits[0], golden.expected["3/rm/perturb/image/positive/logits"][none_kept[0]]) < 1e-5


@pytest.mark.parametrize("method", ["rm", "raw_attn"])
def test_the_last_word_that_stays_is_read(family_goldens, method: str) -> None:
    """Words left out behind it, down to none at all, where the first token is read: as the library's own forward pass gives."""
    golden = family_goldens("visualbert_tiny")
    session = EagerSession(golden.family)
    for c, case in enumerate(golden.cases):
        inputs = {name: x.numpy() for name, x in golden.inputs([c]).items()}
        image = Kept(inputs["image_tokens"], np.array([0]), np.arange(case["boxes"])[None])
        stored = golden.expected[f"{c}/{method}/perturb/text/positive/kept"]
        for kept, wanted in zip(stored, golden.expected[f"{c}/{method}/perturb/text/positive/logits"], strict=True):
            places = kept_places(np.flatnonzero(kept), golden.family.description.special["text"], len(case["ids"]))
            found = answer_kept(session, image, Kept(inputs["text_embeddings"], np.array([0]), places[None]))
            assert error(found[0], wanted) < 1e-5


@pytest.mark.parametrize("method", ["rm", "raw_attn"])
def test_the_cut_answers_without_image_tokens_as_the_reference_does(family_golden: FamilyGolden, method: str) -> None:
    before = family_golden.family.description.special["image"].before
    for c in range(len(family_golden.cases)):
        inputs = {name: x for name, x in family_golden.inputs([c]).items() if name != "direction"}
        kept = family_golden.expected[f"{c}/{method}/perturb/image/positive/kept"]
        wanted = family_golden.expected[f"{c}/{method}/perturb/image/positive/logits"]
        for step, some in enumerate(kept):
            mask = torch.cat([torch.ones(1, before, dtype=torch.bool), torch.from_numpy(some)[None]], 1)
            with torch.no_grad():
                found = family_golden.family.fuse(**{**inputs, "image_mask": mask}, record=False).logits[0].numpy()
            assert abs(found - wanted[step]).max() < 1e-4
