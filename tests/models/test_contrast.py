"""Contrasts against their formulas, and against what they must equal, in the eager session."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from xai.models.contract import Family
from xai.models.eager import EagerSession
from xai.runtime.engine import Answered, explain_tokens
from xai.runtime.inputs.encode import encode_images
from xai.runtime.target import Contrast
from xai.tests.contrasts import DEPENDENT, by_formula, check_relevances
from xai.tests.families import FamilyGolden


def explain(family: Family, golden: FamilyGolden, case: int, target: int | Contrast) -> Answered:
    session = EagerSession(family)
    tokens, ids = encode_images(session, *golden.picture(case).values()), np.array(golden.cases[case]["ids"])
    return explain_tokens(session, tokens, [ids], [target], DEPENDENT)[0]


def constant(family: Family, answer: int) -> Family:
    """The same network, which gives that answer one score whatever it sees."""
    changed = copy.deepcopy(family)
    heads = [m for m in changed.modules() if isinstance(m, torch.nn.Linear) and m.out_features == family.description.answers]
    heads[-1].weight.data[answer] = 0
    return changed


@pytest.mark.parametrize("target", [Contrast(4, 7), Contrast(0, 9)], ids=str)
def test_contrasts_are_those_of_autograd_in_double_precision(family_golden: FamilyGolden, target: Contrast) -> None:
    family, session = family_golden.family, EagerSession(family_golden.family)
    for c, case in enumerate(family_golden.cases):
        tokens, ids = encode_images(session, *family_golden.picture(c).values()), np.array(case["ids"])
        check_relevances(explain(family, family_golden, c, target).relevances, by_formula(family, tokens, ids, target))


def test_an_answer_of_constant_score_takes_nothing_away(family_golden: FamilyGolden) -> None:
    """Without signs nothing changes; with signs grad-cam's positive part is the answer's own, and the rest its two clamped sides."""
    family = constant(family_golden.family, 7)
    contrast, alone = (explain(family, family_golden, 1, target) for target in (Contrast(4, 7), 4))
    assert contrast.target == alone.target == 4
    for method, ours, own in zip(DEPENDENT, contrast.relevances, alone.relevances, strict=True):
        for a, b in zip(ours, own, strict=True):
            largest = max(abs(a).max(), abs(b).max())
            if method.dependence == "clamped":
                assert_allclose(a, b, rtol=0, atol=1e-5 * largest)
            else:
                assert (a <= b + 1e-5 * largest).all()
            if method.name == "grad-cam":
                assert_allclose(np.maximum(a, 0), b, rtol=0, atol=1e-5 * largest)
                assert largest > 0


def test_contrasts_add_up(family_golden: FamilyGolden) -> None:
    """With signs A versus B and B versus C give A versus C."""
    one, two, both = (explain(family_golden.family, family_golden, 2, Contrast(*pair)) for pair in ((1, 5), (5, 8), (1, 8)))
    for number, method in enumerate(DEPENDENT):
        if method.dependence == "linear":
            for a, b, c in zip(one.relevances[number], two.relevances[number], both.relevances[number], strict=True):
                assert_allclose(a + b, c, rtol=0, atol=1e-5 * max(abs(a).max(), abs(b).max(), abs(c).max()), err_msg=method.name)
