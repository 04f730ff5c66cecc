"""Every method on ViLT and LXMERT against the golden relevances, through the engine and the eager session."""

from __future__ import annotations

import numpy as np
import pytest

from xai.models.eager import EagerSession
from xai.runtime.engine import Answered, encode_images, explain
from xai.runtime.inputs.encode import pad_tokens
from xai.runtime.methods import LAYERS, METHODS, Options
from xai.runtime.target import EVERY, TOP, Target
from xai.tests.families import FamilyGolden, error

MIN_GAP = 1e-3
TOLERANCE = 1e-4
CHOSEN = [method for method in METHODS.values() if method.name != "random"]

# Where the golden key is not the reference name, with what was differentiated; and what a reference has no value of its own for.
LXMERT = {
    ("dsmi", TOP): "dsm",
    ("dsmi-grad", TOP): "dsm_grad@top",
    ("dsmi-grad", EVERY): "dsm_grad",
    ("dsmi-grad-attn", TOP): "dsm_grad_cam@boxes+top",
    ("dsmi-grad-attn", EVERY): "dsm_grad_cam@boxes",
    ("relevance-maps", TOP): "rm",
    ("transformer-attribution", TOP): "transformer_attr_no_lrp",
    ("raw-attention", TOP): "raw_attn",
    ("grad-cam", TOP): "attn_gradcam",
    ("rollout", TOP): "rollout",
}


def run(golden: FamilyGolden, cases: list[int], layers: str | None, target: Target) -> list[Answered]:
    """These cases in one batch, padded."""
    session = EagerSession(golden.family)
    rows = [encode_images(session, list(golden.picture(c).values()))[0] for c in cases]
    tokens, mask = pad_tokens(rows)
    ids = [np.array(golden.cases[c]["ids"]) for c in cases]
    return explain(session, tokens, ids, [target] * len(cases), CHOSEN, Options(layers), image_mask=mask)


def check(golden: FamilyGolden, case: int, key: str, answered: Answered, number: int) -> int:
    """Compare the streams for which there is a value; how many there were."""
    compared = 0
    for stream, found in answered.relevances[number]._asdict().items():
        wanted = golden.expected.get(f"{case}/{key}/{stream}")
        if wanted is None:
            continue
        reports = [r for r in answered.solver if stream in (r.graph.rstrip("0123456789"), r.graph.split("/")[-1])]
        if key.startswith("dsm"):
            assert reports
            if any(not r.gap > MIN_GAP for r in reports):
                continue
        if not abs(wanted).max() > 0:
            assert not found.any()
        else:
            assert error(found, wanted) < TOLERANCE, (case, key, stream)
        compared += 1
    return compared


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("layers", LAYERS)
def test_vilt(family_goldens, layers: str, together: bool) -> None:
    golden = family_goldens("vilt_tiny")
    cases = list(range(len(golden.cases)))
    found = run(golden, cases, layers, TOP) if together else [run(golden, [c], layers, TOP)[0] for c in cases]
    for c in cases:
        assert found[c].target == golden.cases[c]["answer_id"]
        compared = 0
        for number, method in enumerate(CHOSEN):
            key = method.reference_name + ("@all" if method.layered and layers == "all" else "")
            compared += check(golden, c, key, found[c], number)
        assert compared >= 2 * len(CHOSEN) - 3


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("target", [TOP, EVERY])
def test_lxmert(family_goldens, target: Target, together: bool) -> None:
    golden = family_goldens("lxmert_tiny")
    cases = list(range(len(golden.cases)))
    found = run(golden, cases, None, target) if together else [run(golden, [c], None, target)[0] for c in cases]
    for c in cases:
        assert found[c].target == golden.cases[c]["answer_id"]
        compared = 0
        for number, method in enumerate(CHOSEN):
            if (method.name, target) in LXMERT:
                compared += check(golden, c, LXMERT[method.name, target], found[c], number)
        assert compared >= (13 if target == TOP else 2)
