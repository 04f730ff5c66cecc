"""The grammar of evidence names against what the reference sessions give."""

from __future__ import annotations

import numpy as np
import pytest

from xai.models.reduce import LRP, REDUCTIONS, WHOLE
from xai.runtime.bundle.signatures import REDUCED, evidence_names, map_names, relevance_names
from xai.runtime.bundle.signatures import WHOLE as WHOLE_NAMES
from xai.runtime.description import Description
from xai.runtime.evidence import LRP as LRP_NAMES
from xai.runtime.evidence import fiedler_name, from_model, graph_name, solved_graphs, token_axes, without_padding
from xai.runtime.methods import METHODS
from xai.runtime.sessions.protocol import Session
from xai.tests.families import FamilyGolden


@pytest.fixture(params=["meter", "vilt_tiny", "lxmert_tiny", "visualbert_tiny"])
def session(request, tiny, family_goldens) -> Session:
    from xai.models.eager import EagerSession

    if request.param == "meter":
        return tiny.explainer.session
    golden: FamilyGolden = family_goldens(request.param)
    return EagerSession(golden.family)


def test_names_and_axes_are_the_sessions_own(session: Session) -> None:
    model = session.description
    tokens, patches = 5, 37
    rng = np.random.default_rng(0)
    inputs = {
        "image_tokens": rng.standard_normal((1, patches, model.image_width), dtype=np.float32),
        "image_mask": np.ones((1, patches), bool),
        "text_embeddings": rng.standard_normal((1, tokens, model.text_width), dtype=np.float32),
        "text_mask": np.ones((1, tokens), bool),
        "direction": np.zeros((1, model.answers), np.float32),
    }
    found = session.run("evidence", inputs)
    assert set(found) == set(evidence_names(model))
    assert set(session.run("maps", inputs)) == set(map_names(model))
    padded = {"text": tokens, "image": patches}
    for name in set(found) - {"logits"}:
        streams = [model.stream(stream) for stream in token_axes(name, model)]
        shape = tuple(sum(padded[part] for part in stream.parts) for stream in streams)
        assert found[name].shape[1 : 1 + len(shape)] == shape, name


def test_of_a_stream_of_both_the_padding_between_and_behind_is_0(family_goldens) -> None:
    model: Description = family_goldens("vilt_tiny").family.description
    padded = 1 + np.arange(9.0)[:, None] * 10 + np.arange(9)  # 4 text and 5 image tokens
    given = {"joint0/self/product": np.stack([padded, padded]), "joint0/features": np.ones((2, 9, 3))}
    masks = {"text": np.arange(4) < np.array([[2], [4]]), "image": np.arange(5) < np.array([[3], [5]])}
    found = without_padding(given, model, masks)
    kept = [0, 1, 4, 5, 6]
    matrix = found["joint0/self/product"]
    assert np.array_equal(matrix[0][np.ix_(kept, kept)], padded[np.ix_(kept, kept)])
    assert np.count_nonzero(matrix[0]) == len(kept) ** 2 and np.array_equal(matrix[1], padded)
    assert np.array_equal(np.flatnonzero(found["joint0/features"][0].any(1)), kept)
    assert without_padding(given, model, {name: mask | True for name, mask in masks.items()}) == given


def test_whatever_a_method_needs_is_an_output_or_solved_from_one(session: Session) -> None:
    model = session.description
    for method in METHODS.values():
        if not method.offered(model):
            continue
        needs = method.needs(model)
        assert set(from_model(needs)) <= {*evidence_names(model), *(relevance_names(model) if model.published.lrp else ())}
        assert all(fiedler_name(graph) in needs for graph in solved_graphs(needs))
    graphs = {graph_name(model, stream.layers[0], part) for stream in model.streams for part in stream.parts}
    assert len(graphs) == 2


def test_kinds_of_evidence_are_called_the_same_where_they_are_made_and_where_they_are_described() -> None:
    assert tuple(REDUCTIONS) == REDUCED
    assert tuple(WHOLE) == WHOLE_NAMES
    assert tuple(LRP) == LRP_NAMES
