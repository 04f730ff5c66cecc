"""Methods against plain formulas with N x N matrices, on random evidence."""

from __future__ import annotations

import numpy as np
import pytest

from xai.base.errors import BadInput, XaiError
from xai.runtime.evidence import Depth, Evidence
from xai.runtime.methods import AS_PUBLISHED, METHODS, find_method, find_methods

ENCODER, LAYERS = DEPTH = Depth(2, 3)


@pytest.fixture(params=[(4, 7), (9, 26), (3, 2)])
def evidence(request) -> Evidence:
    """Random evidence of T text tokens and N image tokens, float64."""
    t, n = request.param
    rng = np.random.default_rng(t * n)
    arrays = {}
    for kind in ("attention", "gradient", "product"):
        for i in range(ENCODER):
            arrays[f"encoder{i}/self/{kind}"] = rng.random((t, t)) / t
        for i in range(LAYERS):
            for site, shape in {"text self": (t, t), "text cross": (t, n), "image self": (n, n), "image cross": (n, t)}.items():
                stream, where = site.split()
                arrays[f"{stream}{i}/{where}/{kind}"] = rng.random(shape) / shape[1]
    for i in range(LAYERS):
        arrays[f"text{i}/fiedler"], arrays[f"image{i}/fiedler"] = rng.random(t - 2), rng.random(n - 1)
        arrays[f"text{i}/self/grad-cam"], arrays[f"text{i}/cross/grad-cam"] = rng.random(t), rng.random(n)
    return Evidence(arrays, DEPTH)


def dropped(relevance: np.ndarray, stream: str) -> np.ndarray:
    """A row as docs/methods.md says: text with entry 0 set to 0, image without the class token."""
    return np.concatenate([[0], relevance[1:]]) if stream == "text" else relevance[1:]


def check(found, text_row, image_row) -> None:
    assert np.allclose(found.text, dropped(text_row, "text"), rtol=1e-12, atol=0)
    assert np.allclose(found.image, dropped(image_row, "image"), rtol=1e-12, atol=0)


def test_relevance_maps_equal_the_recurrence_with_full_matrices(evidence) -> None:
    t, n = evidence["text0/cross/product"].shape
    r_tt, r_ii, r_ti, r_it = np.eye(t), np.eye(n), np.zeros((t, n)), np.zeros((n, t))
    for i in range(ENCODER):
        c = evidence[f"encoder{i}/self/product"]
        r_ti, r_tt = r_ti + c @ r_ti, r_tt + c @ r_tt
    for i in range(LAYERS):
        c, x = evidence[f"image{i}/self/product"], evidence[f"image{i}/cross/product"]
        r_ii, r_it = r_ii + c @ r_ii, r_it + c @ r_it
        r_it, r_ii = r_it + r_ii.T @ (x @ r_tt), r_ii + x @ r_ti
        c, x = evidence[f"text{i}/self/product"], evidence[f"text{i}/cross/product"]
        r_tt, r_ti = r_tt + c @ r_tt, r_ti + c @ r_ti
        r_ti, r_tt = r_ti + r_tt.T @ (x @ r_ii), r_tt + x @ r_it
    check(METHODS["relevance-maps"].relevance(evidence), r_tt[0], r_ii[0])


@pytest.mark.parametrize(("name", "kind", "normalised"), [("rollout", "attention", True), ("transformer-attribution", "product", False)])
def test_chains_equal_products_of_full_matrices(evidence, name, kind, normalised) -> None:
    def product(names):
        r = np.eye(len(evidence[names[0]]))
        for matrix in (evidence[n] + np.eye(len(r)) for n in names):
            r = (matrix / matrix.sum(-1, keepdims=True) if normalised else matrix) @ r
        return r[0]

    encoder = [f"encoder{i}/self/{kind}" for i in range(ENCODER)]
    text, image = ([f"{stream}{i}/self/{kind}" for i in range(LAYERS)] for stream in ("text", "image"))
    check(METHODS[name].relevance(evidence), product(encoder + text), product(image))


@pytest.mark.parametrize(("name", "kind"), [("dsmi-grad", "gradient"), ("dsmi-grad-attn", "product")])
def test_weighted_spectral_methods_sum_the_layers_asked_for(evidence, name, kind) -> None:
    def layer(i):
        text = np.abs(evidence[f"text{i}/self/{kind}"][1:-1, 1:-1] @ evidence[f"text{i}/fiedler"])
        return text, np.abs(evidence[f"image{i}/self/{kind}"][1:, 1:] @ evidence[f"image{i}/fiedler"])

    for row, used in ((name, [0]), (f"{name}@all", range(LAYERS))):
        found = METHODS[row].relevance(evidence)
        text, image = (sum(parts) for parts in zip(*(layer(i) for i in used), strict=True))
        assert np.allclose(found.text, [0, *text, 0])
        assert np.allclose(found.image, image)


def test_methods_read_what_they_say_they_need_and_no_more(evidence) -> None:
    for method in METHODS.values():
        needs = method.needs(DEPTH)
        assert len(needs) == len(set(needs))
        some = Evidence({name: evidence[name] for name in needs}, DEPTH)
        found, full = method.relevance(some), method.relevance(evidence)
        assert np.array_equal(found.text, full.text)
        assert np.array_equal(found.image, full.image)
        for name in needs:
            missing = Evidence({n: a for n, a in some.arrays.items() if n != name}, DEPTH)
            with pytest.raises(KeyError):
                method.relevance(missing)


def test_every_method_gives_finite_relevance_of_the_right_shape_and_changes_nothing(evidence) -> None:
    t, n = evidence["text0/cross/product"].shape
    before = {name: array.copy() for name, array in evidence.arrays.items()}
    for method in METHODS.values():
        text, image = method.relevance(evidence)
        assert text.shape == (t,)
        assert image.shape == (n - 1,)
        assert text[0] == 0
        assert (text >= 0).all() and (image >= 0).all()
    assert all(np.array_equal(before[name], array) for name, array in evidence.arrays.items())


def test_random_depends_on_the_seed_alone(evidence) -> None:
    three, again, four = (METHODS["random"].relevance(Evidence(evidence.arrays, DEPTH, seed)).image for seed in (3, 3, 4))
    assert np.array_equal(three, again)
    assert not np.array_equal(three, four)


def test_reference_names_are_aliases_and_others_are_refused() -> None:
    for method in METHODS.values():
        assert find_method(method.name) is find_method(method.reference_name) is method
    with pytest.raises(XaiError, match="unknown method 'gradcam': choose from dsmi, dsmi-grad"):
        find_method("gradcam")


def test_all_stands_for_the_nine_as_published_and_each_comes_once() -> None:
    assert len(AS_PUBLISHED) == 9 and set(METHODS) - set(AS_PUBLISHED) == {"dsmi-grad@all", "dsmi-grad-attn@all"}
    names = [method.name for method in find_methods(["rm", "all", "dsm_grad@all", "relevance-maps"])]
    assert names == ["relevance-maps", *(name for name in AS_PUBLISHED if name != "relevance-maps"), "dsmi-grad@all"]
    assert find_methods("rollout") == find_methods(["rollout"]) == (METHODS["rollout"],)
    assert [method.name for method in find_methods("all")] == list(AS_PUBLISHED)
    for name in ("rollout@all", "dsmi-grad@last", "dsmi-grad@first"):
        with pytest.raises(BadInput, match=f"unknown method '{name}': choose from dsmi, .*dsmi-grad@all"):
            find_methods([name])
    with pytest.raises(BadInput, match="no method is named"):
        find_methods([])
