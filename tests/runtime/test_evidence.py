"""The grammar of evidence names against what the reference session gives."""

from __future__ import annotations

import numpy as np
import pytest

from xai.runtime.evidence import (
    Depth,
    depth_of,
    entry,
    features_name,
    fiedler_name,
    from_model,
    graph_names,
    site_names,
    solved_graphs,
    token_axes,
    unpad,
)
from xai.runtime.methods import METHODS

KINDS = ("attention", "gradient", "product", "grad-cam")


def test_names_axes_and_order_are_the_sessions_own(tiny) -> None:
    session = tiny.explainer.session
    tokens, patches = 5, 37
    rng = np.random.default_rng(0)
    inputs = {
        "image_tokens": rng.standard_normal((1, patches, session.model.config.vision_width), dtype=np.float32),
        "image_mask": np.ones((1, patches), bool),
        "text_embeddings": rng.standard_normal((1, tokens, session.model.config.text_width), dtype=np.float32),
        "text_mask": np.ones((1, tokens), bool),
        "target": np.array([3]),
    }
    found = session.run("evidence", inputs)
    depth = depth_of(session.description)
    features = [features_name(graph) for graph in graph_names(depth)]
    assert list(found) == ["logits", "target", *features, *(f"{site}/{kind}" for site in site_names(depth) for kind in KINDS)]
    sizes = {"text": tokens, "image": patches}
    for name in list(found)[2:]:
        shape = tuple(sizes[axis] for axis in token_axes(name))
        assert found[name].shape[1 : 1 + len(shape)] == shape, name
        cut = unpad(name, found[name][0], 3)
        assert cut.shape[: len(shape)] == tuple(min(size, 3) if size == tokens else size for size in shape), name


def test_whatever_a_method_needs_is_an_output_or_solved_from_one() -> None:
    depth = Depth(2, 3)
    outputs = {f"{site}/{kind}" for site in site_names(depth) for kind in KINDS} | {features_name(g) for g in graph_names(depth)}
    for method in METHODS.values():
        needs = method.needs(depth)
        assert set(from_model(needs)) <= outputs
        assert len(from_model(needs)) == len(needs)
        assert all(fiedler_name(graph) in needs for graph in solved_graphs(needs))
    assert entry("text", 3, "self", "product") == "text3/self/product"


@pytest.mark.parametrize("name", ["text0", "text0/fiedler", "text0/self", "image1/outer/product", "logits"])
def test_what_no_model_gives_has_no_axes(name) -> None:
    with pytest.raises(ValueError, match="no evidence is called"):
        token_axes(name)
