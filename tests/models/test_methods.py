"""Every method on ViLT, VisualBERT and LXMERT against the golden relevances, through the engine and the eager session."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest

from xai.base.description import TOP_ANSWER
from xai.models.eager import EagerSession
from xai.runtime.description import Description
from xai.runtime.engine import Answered, explain_tokens
from xai.runtime.inputs.encode import encode_images, pad_tokens
from xai.runtime.methods import AS_PUBLISHED, METHODS
from xai.runtime.target import EVERY_ANSWER, Target
from xai.tests.families import FamilyGolden, error

MIN_GAP = 1e-3
TOLERANCE = 1e-4
CHOSEN = [METHODS[name] for name in AS_PUBLISHED if name != "random"]

# Where the golden key is not the reference name, with what was differentiated; and what a reference has no value of its own for.
LXMERT = {
    ("dsmi", TOP_ANSWER): "dsm",
    ("dsmi-grad", TOP_ANSWER): "dsm_grad@top",
    ("dsmi-grad", EVERY_ANSWER): "dsm_grad",
    ("dsmi-grad-attn", TOP_ANSWER): "dsm_grad_cam@boxes+top",
    ("dsmi-grad-attn", EVERY_ANSWER): "dsm_grad_cam@boxes",
    ("relevance-maps", TOP_ANSWER): "rm",
    ("transformer-attribution", TOP_ANSWER): "transformer_attr_no_lrp",
    ("raw-attention", TOP_ANSWER): "raw_attn",
    ("grad-cam", TOP_ANSWER): "attn_gradcam",
    ("rollout", TOP_ANSWER): "rollout",
}


def run(golden: FamilyGolden, cases: list[int], layers: Literal["first", "all"], target: Target) -> list[Answered]:
    """These cases in one batch, padded, as if methods had been published with those layers."""
    session = EagerSession(golden.family)
    published = golden.family.description.published._replace(layers=layers)
    session.description = Description(**{**vars(session.description), "published": published})
    rows = [encode_images(session, *golden.picture(c).values())[0] for c in cases]
    tokens, mask = pad_tokens(rows)
    ids = [np.array(golden.cases[c]["ids"]) for c in cases]
    return explain_tokens(session, tokens, ids, [target] * len(cases), CHOSEN, image_mask=mask)


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
@pytest.mark.parametrize("layers", ["first", "all"])
@pytest.mark.parametrize("name", ["vilt_tiny", "visualbert_tiny"])
def test_one_stream(family_goldens, name: str, layers: Literal["first", "all"], together: bool) -> None:
    golden = family_goldens(name)
    cases = list(range(len(golden.cases)))
    found = run(golden, cases, layers, TOP_ANSWER) if together else [run(golden, [c], layers, TOP_ANSWER)[0] for c in cases]
    for c in cases:
        assert found[c].target == golden.cases[c]["answer_id"]
        compared = 0
        for number, method in enumerate(CHOSEN):
            key = method.reference_name + ("@all" if method.layers and layers == "all" else "")
            compared += check(golden, c, key, found[c], number)
        assert compared >= 2 * len(CHOSEN) - 3


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("target", [TOP_ANSWER, EVERY_ANSWER])
def test_lxmert(family_goldens, target: Target, together: bool) -> None:
    golden = family_goldens("lxmert_tiny")
    cases = list(range(len(golden.cases)))
    found = run(golden, cases, "all", target) if together else [run(golden, [c], "all", target)[0] for c in cases]
    for c in cases:
        assert found[c].target == golden.cases[c]["answer_id"]
        compared = 0
        for number, method in enumerate(CHOSEN):
            if (method.name, target) in LXMERT:
                compared += check(golden, c, LXMERT[method.name, target], found[c], number)
        assert compared >= (13 if target == TOP_ANSWER else 2)
