"""Methods against plain formulas with N x N matrices, on random evidence of each kind of network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest

from xai.base.errors import BadInput, XaiError
from xai.runtime.description import IMAGE, TEXT, Boxes, Description, Published, Site, Special, Stream
from xai.runtime.evidence import Evidence, fiedler_name, graph_name, part, token_axes, without_padding
from xai.runtime.methods import AS_PUBLISHED, METHODS, find_method, find_methods
from xai.runtime.relevance import Relevance

ENCODER, LAYERS = 2, 3
OURS = {"joint-rollout", "joint-relevance-maps"}
BY_LRP = ["transformer-attribution-lrp", "partial-lrp"]


def describe(streams: tuple[Stream, ...], sites: list[Site], image: Special, published: Published) -> Description:
    special = {TEXT: Special(1, 1), IMAGE: image}
    return Description("made up", tuple(sites), streams, special, Boxes(2), 99, 99, 5, 4, 4, 4, published)


def two_streams(read: str | None, image: Special, normalised: bool) -> Description:
    """As METER (each pair: image self, image cross, text self, text cross) or, where the image is not read, as LXMERT."""
    names = {stream: tuple(f"{stream}{i}" for i in range(LAYERS - (read is None and stream == IMAGE))) for stream in (TEXT, IMAGE)}
    streams = Stream(TEXT, (TEXT,), "first", names[TEXT]), Stream(IMAGE, (IMAGE,), read, names[IMAGE])
    sites = [Site(f"encoder{i}", "self", TEXT, TEXT, 1) for i in range(ENCODER)]
    if read is None:
        sites += [Site("vision0", "self", IMAGE, IMAGE, 1)]
    for i in range(LAYERS):
        own = {
            "image self": Site(f"image{i}", "self", IMAGE, IMAGE, 1, read is not None or i < LAYERS - 1),
            "image cross": Site(f"image{i}", "cross", IMAGE, TEXT, 1, read is not None or i < LAYERS - 1),
            "text self": Site(f"text{i}", "self", TEXT, TEXT, 1),
            "text cross": Site(f"text{i}", "cross", TEXT, IMAGE, 1),
        }
        order = list(own) if read else ["text cross", "image cross", "text self", "image self"]
        sites += [own[name] for name in order]
    return describe(streams, sites, image, Published("first" if read else "all", "answer", normalised, read is None))


JOINT = describe(
    (Stream("joint", (TEXT, IMAGE), "first", tuple(f"joint{i}" for i in range(LAYERS))),),
    [Site(f"joint{i}", "self", "joint", "joint", 1) for i in range(LAYERS)],
    Special(1, 0),
    Published("all", "answer", False, False),
)
DESCRIPTIONS = {
    "meter": two_streams("first", Special(1, 0), False),
    "swin": two_streams("mean", Special(0, 0), False),
    "lxmert": two_streams(None, Special(0, 0), True),
    "vilt": JOINT,
}


@dataclass(frozen=True)
class Question:
    """The evidence of one question, without padding."""

    arrays: Mapping[str, np.ndarray]
    description: Description
    lengths: Mapping[str, int]
    seed: int = 0

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[name]

    def length(self, stream: str) -> int:
        return sum(self.lengths[modality] for modality in self.description.stream(stream).parts)


def batch(questions: Sequence[Question]) -> Evidence:
    """Questions of one description, padded; there the network gave something that is no number."""
    description, most = questions[0].description, {m: max(one.lengths[m] for one in questions) for m in (TEXT, IMAGE)}
    masks = {m: np.arange(most[m]) < np.array([one.lengths[m] for one in questions])[:, None] for m in (TEXT, IMAGE)}
    whole = make(description, *most.values()).arrays
    arrays = {name: np.full((len(questions), *whole[name].shape), np.nan) for name in questions[0].arrays}
    for b, one in enumerate(questions):
        at = {
            s.name: np.concatenate([part(description, m, most).start + np.arange(one.lengths[m]) for m in s.parts])
            for s in description.streams
        }
        for name, array in one.arrays.items():
            if name.endswith("/fiedler"):
                arrays[name][b] = 0  # as the solver leaves it
                arrays[name][b, : len(array)] = array
            else:
                arrays[name][(b, *np.ix_(*(at[stream] for stream in token_axes(name, description))))] = array
    given = {name: array for name, array in arrays.items() if not name.endswith("/fiedler")}
    return Evidence(arrays | without_padding(given, description, masks), description, masks, [one.seed for one in questions])


def explain(name: str, *questions: Question) -> list[Relevance]:
    """By one method, as a batch."""
    found = METHODS[name].relevance(batch(questions))
    around = sum(questions[0].description.special[IMAGE])
    return [found.one(b, one.lengths[TEXT], one.lengths[IMAGE] - around) for b, one in enumerate(questions)]


def make(description: Description, tokens: int, patches: int) -> Question:
    """Random evidence of T text tokens and N image tokens, float64."""
    rng = np.random.default_rng(tokens * patches)
    lengths = {TEXT: tokens, IMAGE: patches}
    empty = Question({}, description, lengths)
    arrays = {}
    for site in description.sites:
        shape = empty.length(site.queries), empty.length(site.keys)
        for kind in ("attention", "gradient", "product"):
            arrays[f"{site.name}/{kind}"] = rng.random(shape) / shape[1]
        arrays[f"{site.name}/lrp-product"] = rng.random(shape) / shape[1]
        arrays[f"{site.name}/lrp"] = rng.random(shape) - 0.3
        arrays[f"{site.name}/grad-cam"] = rng.random(shape[1])
    for modality in (TEXT, IMAGE):
        for layer in description.stream_of(modality).layers:
            nodes = lengths[modality] - sum(description.special[modality])
            arrays[fiedler_name(graph_name(description, layer, modality))] = rng.random(nodes)
    return Question(arrays, description, lengths)


@pytest.fixture(params=[(4, 7), (9, 26), (3, 2)])
def lengths(request) -> tuple[int, int]:
    return request.param


@pytest.fixture(params=DESCRIPTIONS)
def evidence(request, lengths) -> Question:
    return make(DESCRIPTIONS[request.param], *lengths)


def check(found, evidence: Question, text_row, image_row) -> None:
    """Rows with every token: of the text what stands before the words counts 0, of the image the special tokens are dropped."""
    before, behind = evidence.description.special[IMAGE]
    assert np.allclose(found.text, [0, *text_row[1:]], rtol=1e-12, atol=1e-15)
    assert np.allclose(found.image, image_row[before : len(image_row) - behind], rtol=1e-12, atol=1e-15)


def test_relevance_maps_of_meter_equal_the_recurrence_with_full_matrices(lengths) -> None:
    evidence = make(DESCRIPTIONS["meter"], *lengths)
    t, n = lengths
    r_tt, r_ii, r_ti, r_it = meter_maps(evidence, t, n)
    check(explain("relevance-maps", evidence)[0], evidence, r_tt[0], r_ii[0])
    assert r_ti.shape == r_it.T.shape


def meter_maps(evidence, t, n):
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
    return r_tt, r_ii, r_ti, r_it


def test_where_the_mean_is_read_it_is_the_mean_of_all_rows_without_the_identity(lengths) -> None:
    evidence = make(DESCRIPTIONS["swin"], *lengths)
    r_tt, r_ii, _, _ = meter_maps(evidence, *lengths)
    check(explain("relevance-maps", evidence)[0], evidence, r_tt[0], (r_ii - np.eye(lengths[1])).mean(0))
    attention = evidence[f"image{LAYERS - 1}/self/attention"]
    found = explain("raw-attention", evidence)[0]
    check(found, evidence, evidence[f"text{LAYERS - 1}/self/attention"][0], attention.mean(0))


def test_normalised_relevance_maps_equal_the_recurrence_of_the_paper(lengths) -> None:
    """Chefer et al. 2021, eq. 5 to 11, with both cross-attentions of a layer from the values before it."""
    evidence = make(DESCRIPTIONS["lxmert"], *lengths)
    t, n = lengths

    def normalise(r):
        difference = r - np.eye(len(r))
        sums = difference.sum(-1, keepdims=True)
        return difference / np.where(sums == 0, 1, sums) + np.eye(len(r))

    r_tt, r_ii, r_ti, r_it = np.eye(t), np.eye(n), np.zeros((t, n)), np.zeros((n, t))
    for i in range(ENCODER):
        r_tt = r_tt + evidence[f"encoder{i}/self/product"] @ r_tt
    r_ii = r_ii + evidence["vision0/self/product"] @ r_ii
    for i in range(LAYERS):
        last = i == LAYERS - 1
        x, y = evidence[f"text{i}/cross/product"], evidence[f"image{i}/cross/product"]
        n_tt, n_ii = normalise(r_tt), normalise(r_ii)
        new_ti, new_tt = r_ti + n_tt.T @ (x @ n_ii), r_tt + x @ r_it
        new_it, new_ii = (r_it, r_ii) if last else (r_it + n_ii.T @ (y @ n_tt), r_ii + y @ r_ti)
        r_ti, r_tt, r_it, r_ii = new_ti, new_tt, new_it, new_ii
        c = evidence[f"text{i}/self/product"]
        r_tt, r_ti = r_tt + c @ r_tt, r_ti + c @ r_ti
        if not last:
            c = evidence[f"image{i}/self/product"]
            r_ii, r_it = r_ii + c @ r_ii, r_it + c @ r_it
    found = explain("relevance-maps", evidence)[0]
    assert np.allclose(found.text, [0, *r_tt[0, 1:]], rtol=1e-9, atol=1e-12)
    assert np.allclose(found.image, r_ti[0], rtol=1e-9, atol=1e-12)


def product(evidence: Question, names: list[str], kind: str, length: int) -> np.ndarray:
    """Of matrices with later ones on the left: rownorm(A + I) of attention, C + I of products."""
    r = np.eye(length)
    for name in names:
        matrix = evidence[f"{name}/{kind}"] + np.eye(length)
        r = (matrix / matrix.sum(-1, keepdims=True) if kind == "attention" else matrix) @ r
    return r


@pytest.mark.parametrize(
    ("name", "kind"), [("rollout", "attention"), ("transformer-attribution", "product"), ("transformer-attribution-lrp", "lrp-product")]
)
def test_chains_equal_products_of_full_matrices(evidence, name, kind) -> None:
    t, n = evidence.lengths.values()
    encoder = [f"encoder{i}/self" for i in range(ENCODER)]
    texts, images = ([f"{stream}{i}/self" for i in range(LAYERS)] for stream in (TEXT, IMAGE))
    found = explain(name, evidence)[0]
    if evidence.description is JOINT:
        row = product(evidence, [f"joint{i}/self" for i in range(LAYERS)], kind, t + n)[0]
        check(found, evidence, row[:t], row[t:])
        return
    text = product(evidence, encoder + texts, kind, t)[0]
    if evidence.description is DESCRIPTIONS["lxmert"]:
        between = evidence[f"text{LAYERS - 1}/cross/{kind}"]
        before = product(evidence, encoder + texts[:-1], kind, t)
        inside = product(evidence, ["vision0/self", *images[:-1]], kind, n)
        check(found, evidence, text, (before.T @ between @ inside)[0] if kind == "attention" else between[0])
        return
    image = product(evidence, images, kind, n)
    if evidence.description is DESCRIPTIONS["swin"]:
        check(found, evidence, text, (image - np.eye(n) * (kind != "attention")).mean(0))
    else:
        check(found, evidence, text, image[0])


def joint_matrix(evidence: Question, kind: str) -> np.ndarray:
    """Over the text's tokens and behind them the image's: of each layer the blocks of all its attentions, later layers on the left;
    (A + I) / row sums of attention, I + C of products."""
    t, n = evidence.lengths.values()
    place = {TEXT: slice(t), IMAGE: slice(t, t + n), "joint": slice(t + n)}
    layers = [[f"encoder{i}"] for i in range(ENCODER)] + [["vision0"]]
    layers += [[f"{stream}{i}" for stream in (TEXT, IMAGE, "joint")] for i in range(LAYERS)]
    r = np.eye(t + n)
    for names in layers:
        matrix = np.zeros((t + n, t + n))
        for site in evidence.description.sites:
            if site.layer in names and site.reached:
                matrix[place[site.queries], place[site.keys]] = evidence[f"{site.name}/{kind}"]
        matrix += np.eye(t + n)
        r = (matrix / matrix.sum(-1, keepdims=True) if kind == "attention" else matrix) @ r
    return r - np.eye(t + n) * (kind == "product")


@pytest.mark.parametrize(("name", "kind"), [("joint-rollout", "attention"), ("joint-relevance-maps", "product")])
def test_joint_forms_equal_rows_of_the_one_full_matrix(evidence, name, kind) -> None:
    """One row for each token that the answer pools; of LXMERT it pools the text's alone, of a Swin's image the mean of all."""
    t = evidence.lengths[TEXT]
    full = joint_matrix(evidence, kind)
    row = full[0]
    if evidence.description is DESCRIPTIONS["meter"]:
        row = full[0] + full[t]
    if evidence.description is DESCRIPTIONS["swin"]:
        row = full[0] + full[t:].mean(0)
    check(explain(name, evidence)[0], evidence, row[:t], row[t:])


def test_joint_rollout_hands_on_all_that_the_answer_reads(evidence) -> None:
    """Rows of A + I over their sums add up to 1, so a row of the product does: one for each stream that is read."""
    t = evidence.lengths[TEXT]
    row = joint_matrix(evidence, "attention")[0]
    assert row.sum() == pytest.approx(1)
    found = explain("joint-rollout", evidence)[0]
    read = sum(stream.read is not None for stream in evidence.description.streams)
    assert found.text.sum() + found.image.sum() <= read + 1e-12
    if evidence.description is DESCRIPTIONS["lxmert"]:  # no class token, one row
        assert found.text.sum() + found.image.sum() + row[0] == pytest.approx(1)
    assert (found.image > 0).all() and len(found.text) == t


def test_of_one_stream_the_joint_forms_are_the_published_ones(lengths) -> None:
    evidence = make(JOINT, *lengths)
    for joint, published in (("joint-rollout", "rollout"), ("joint-relevance-maps", "relevance-maps")):
        for ours, theirs in zip(explain(joint, evidence)[0], explain(published, evidence)[0], strict=True):
            assert np.allclose(ours, theirs, rtol=1e-12, atol=0)


def test_without_attention_between_the_streams_joint_relevance_maps_are_the_attributions_of_each(lengths) -> None:
    """No relevance crosses then; the two streams of METER are read by themselves."""
    evidence = make(DESCRIPTIONS["meter"], *lengths)
    apart = {name: array * (0 if "/cross/" in name else 1) for name, array in evidence.arrays.items()}
    evidence = replace(evidence, arrays=apart)
    for ours, theirs in zip(*(explain(name, evidence)[0] for name in ("joint-relevance-maps", "transformer-attribution")), strict=True):
        assert np.allclose(ours, theirs, rtol=1e-12, atol=1e-15)


def test_grad_cam_reads_the_last_attention_of_the_text(evidence) -> None:
    found = explain("grad-cam", evidence)[0]
    t = evidence.lengths[TEXT]
    if evidence.description is JOINT:
        row = evidence[f"joint{LAYERS - 1}/self/grad-cam"]
        check(found, evidence, row[:t], row[t:])
    else:
        check(found, evidence, *(evidence[f"text{LAYERS - 1}/{kind}/grad-cam"] for kind in ("self", "cross")))


def test_raw_attention_reads_the_last_attention_to_what_the_answer_does_not_read(lengths) -> None:
    evidence = make(DESCRIPTIONS["lxmert"], *lengths)
    found = explain("raw-attention", evidence)[0]
    check(found, evidence, *(evidence[f"text{LAYERS - 1}/{kind}/attention"][0] for kind in ("self", "cross")))


@pytest.mark.parametrize(("name", "kind"), [("dsmi-grad", "gradient"), ("dsmi-grad-attn", "product")])
def test_weighted_spectral_methods_sum_their_layers(evidence, name, kind) -> None:
    description = evidence.description

    def over(modality: str, layers: str):
        start = evidence.lengths[TEXT] if description is JOINT and modality == IMAGE else 0
        before, behind = description.special[modality]
        inner = slice(start + before, start + evidence.lengths[modality] - behind)
        names = description.stream_of(modality).layers
        return sum(
            np.abs(evidence[f"{layer}/self/{kind}"][inner, inner] @ evidence[fiedler_name(graph_name(description, layer, modality))])
            for layer in (names[:1] if layers == "first" else names)
        )

    for suffix, used in (("", description.published.layers), ("@all", "all")):
        method = METHODS[name + suffix]
        found = explain(name + suffix, evidence)[0]
        assert method.summed(description) == used
        assert np.allclose(found.text, [0, *over(TEXT, used), 0])
        assert np.allclose(found.image, over(IMAGE, used))


def test_methods_read_what_they_say_they_need_and_no_more(evidence) -> None:
    for method in METHODS.values():
        needs = method.needs(evidence.description)
        assert len(needs) == len(set(needs))
        some = replace(evidence, arrays={name: evidence[name] for name in needs})
        found, full = explain(method.name, some)[0], explain(method.name, evidence)[0]
        assert np.array_equal(found.text, full.text)
        assert np.array_equal(found.image, full.image)
        for name in needs:
            missing = replace(some, arrays={n: a for n, a in some.arrays.items() if n != name})
            with pytest.raises(KeyError):
                explain(method.name, missing)


def test_every_method_gives_finite_relevance_of_the_right_shape_and_changes_nothing(evidence) -> None:
    t, n = evidence.lengths.values()
    given = batch([evidence])
    before = {name: array.copy() for name, array in given.arrays.items()}
    for method in METHODS.values():
        text, image = method.relevance(given).one(0, t, n)
        assert text.shape == (t,)
        assert image.shape == (n - sum(evidence.description.special[IMAGE]),)
        assert text[0] == 0
        assert (text >= 0).all() and (image >= 0).all()
    assert all(np.array_equal(before[name], array) for name, array in given.arrays.items())


@pytest.mark.parametrize("description", DESCRIPTIONS.values(), ids=DESCRIPTIONS)
@pytest.mark.parametrize("name", METHODS)
def test_a_question_in_a_padded_batch_is_explained_as_alone(description, name) -> None:
    """Words and pictures of several lengths, the longest of either in different questions."""
    last = tuple(stream._replace(read="last") if stream.parts[0] == TEXT else stream for stream in description.streams)
    for each in (description, replace(description, streams=last)):
        questions = [replace(make(each, *lengths), seed=lengths[0]) for lengths in ((4, 26), (9, 7), (3, 2))]
        for question, found in zip(questions, explain(name, *questions), strict=True):
            for ours, alone in zip(found, explain(name, question)[0], strict=True):
                assert ours.shape == alone.shape
                assert np.allclose(ours, alone, rtol=1e-12, atol=1e-15)


def test_partial_lrp_scales_the_whole_matrix_before_a_row_is_read(evidence) -> None:
    found = explain("partial-lrp", evidence)[0]
    if evidence.description is not DESCRIPTIONS["lxmert"]:
        return
    for row, kind in ((found.text, "self"), (found.image, "cross")):
        matrix = evidence[f"text{LAYERS - 1}/{kind}/lrp"]
        scaled = (matrix[0] - matrix.min()) / (matrix.max() - matrix.min())
        assert np.allclose(row, [0, *scaled[1:]] if kind == "self" else scaled)
    constant = replace(evidence, arrays={name: x * 0 - 1 for name, x in evidence.arrays.items()})
    assert not any(part.any() for part in explain("partial-lrp", constant)[0])


def test_relevance_propagation_is_offered_where_a_model_has_it_and_refused_by_name_elsewhere() -> None:
    for family, description in DESCRIPTIONS.items():
        offered = [method.name for method in find_methods("all", description)]
        if family == "lxmert":
            assert sorted(offered) == sorted([*AS_PUBLISHED, *OURS, *BY_LRP])
            assert [method.name for method in find_methods(BY_LRP, description)] == BY_LRP
            continue
        assert sorted(offered) == sorted([*AS_PUBLISHED, *OURS])
        for name in (*BY_LRP, "transformer_att", "partial_lrp"):
            with pytest.raises(BadInput, match="needs layer-wise relevance propagation, which this model does not give"):
                find_methods(["rollout", name], description)
        every = [method.name for method in find_methods("all@all", description)]
        assert every == [f"{name}@all" if name.startswith("dsmi-grad") else name for name in offered]


def test_random_depends_on_the_seed_alone(evidence) -> None:
    three, again, four = (one.image for one in explain("random", *(replace(evidence, seed=seed) for seed in (3, 3, 4))))
    assert np.array_equal(three, again)
    assert not np.array_equal(three, four)


def test_reference_names_are_aliases_and_others_are_refused() -> None:
    for method in METHODS.values():
        assert find_method(method.name) is find_method(method.reference_name) is method
    with pytest.raises(XaiError, match="unknown method 'gradcam': choose from dsmi, dsmi-grad"):
        find_method("gradcam")


def test_all_stands_for_every_method_once_with_the_published_layers() -> None:
    everywhere = [method.name for method in find_methods("all")]
    assert len(AS_PUBLISHED) == 9 and set(everywhere) - set(AS_PUBLISHED) == OURS
    assert set(METHODS) - set(everywhere) == {"dsmi-grad@all", "dsmi-grad-attn@all", *BY_LRP}
    names = [method.name for method in find_methods(["rm", "all", "dsm_grad@all", "relevance-maps"])]
    assert names == ["relevance-maps", *(name for name in everywhere if name != "relevance-maps"), "dsmi-grad@all"]
    assert find_methods("rollout") == find_methods(["rollout"]) == (METHODS["rollout"],)
    for name in ("rollout@all", "dsmi-grad@last", "dsmi-grad@first"):
        with pytest.raises(BadInput, match=f"unknown method '{name}': choose from dsmi, .*dsmi-grad@all"):
            find_methods([name])
    with pytest.raises(BadInput, match="no method is named"):
        find_methods([])
