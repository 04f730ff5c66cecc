"""Weights of exported graphs, drawn anew: all of them, in every graph alike, as the same network in PyTorch has them, and put back."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from safetensors.numpy import load_file

from xai.base.errors import XaiError
from xai.bench.sanity.asking import Asked
from xai.bench.sanity.randomise import check_agreement
from xai.bench.sanity.redrawn import INITIAL, RedrawnBundle, draw
from xai.bench.sanity.weights import Place, Stored, check_bundle, content_digest, find_network, layer_name, load_graphs, network_name
from xai.meter import demo
from xai.models.contract import Family
from xai.models.eager import EagerSession
from xai.models.families import load_family
from xai.models.load import load
from xai.models.meter import load_meter_family
from xai.runtime.bundle.manifest import MANIFEST, Bundle, onnx_file
from xai.runtime.bundle.reader import read_bundle
from xai.runtime.explainer import Explainer
from xai.runtime.sessions.onnx import OnnxSession
from xai.tests.families import error, make_inputs

FAMILIES = ("vilt_tiny", "lxmert_tiny", "visualbert_tiny")
TOLERANCE = 1e-4
"""As of a certificate: float32 on either side."""


@pytest.fixture(scope="module")
def demo_bundle() -> Bundle:
    return read_bundle(demo.BUNDLE, packaged=True)


def constants(bundle: Bundle, folder: Path) -> dict[str, np.ndarray]:
    """Every constant of floating-point numbers of a folder's graphs, by GRAPH/NAME."""
    found = {}
    for graph in bundle.manifest.graphs:
        for tensor in onnx.load(folder / onnx_file(graph)).graph.initializer:
            values = numpy_helper.to_array(tensor)
            if values.dtype.kind == "f":
                found[f"{graph}/{tensor.name}"] = values
    return found


def check_all_is_drawn(bundle: Bundle, folder: Path) -> None:
    copy = RedrawnBundle(bundle, folder, seed=7)
    copy.redraw(copy.network.layers)
    before, after = constants(bundle, bundle.folder), constants(bundle, folder)
    assert before.keys() == after.keys()
    alike = {name for name, values in before.items() if np.array_equal(values, after[name])}
    assert alike == set(copy.network.constants)
    assert all(before[name].size == 1 or np.ptp(before[name]) == 0 or name.endswith(".attn_mask") for name in alike)
    assert all(np.isfinite(values).all() and values.dtype == before[name].dtype for name, values in after.items())


def test_every_weight_of_the_demo_is_drawn_and_nothing_else(demo_bundle: Bundle, tmp_path) -> None:
    check_all_is_drawn(demo_bundle, tmp_path)


def test_every_weight_of_a_tiny_meter_is_drawn_and_nothing_else(tiny_bundle: Bundle, tmp_path) -> None:
    """So small that the exporter could compute with many of its weights ahead."""
    check_all_is_drawn(tiny_bundle, tmp_path)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_weight_of_other_families_is_drawn_and_nothing_else(name: str, family_bundles, tmp_path) -> None:
    check_all_is_drawn(family_bundles(name), tmp_path)


def test_the_weights_found_are_those_of_the_checkpoint(demo_bundle: Bundle) -> None:
    network = find_network(Stored(demo_bundle, load_graphs(demo_bundle)))
    # What a key's bias adds to the scores is the same for all image tokens, so that softmax, and the graphs, leave it out.
    state = {
        name: x for name, x in load_file(demo.WEIGHTS).items() if not re.search(r"text_layers\.\d\.crossattention\.self\.key\.bias", name)
    }
    assert {weight.digest for weight in network.weights} == {content_digest(values) for values in state.values()}
    assert sum(weight.size for weight in network.weights) == sum(values.size for values in state.values())
    fused = [weight for weight in network.weights if weight.name.endswith("in_proj_weight")]
    assert len(fused) == 4  # which hold three matrices each
    assert {weight.places[0].shape for weight in fused} == {(384, 128)}


def test_layers_come_from_the_answer_down(demo_bundle: Bundle) -> None:
    network = find_network(Stored(demo_bundle, load_graphs(demo_bundle)))
    names = [layer.name for layer in network.layers]
    assert len(set(names)) == len(names)
    assert names[0] == "vqa_classifier"
    assert names[-1] == "vit_model.visual"
    across = [name for name in names if name.startswith(("cross_modal_image_layers", "cross_modal_text_layers"))]
    assert [name[-1] for name in across] == ["2", "2", "1", "1", "0", "0"]
    blocks = [name for name in names if "resblocks" in name]
    assert [name[-1] for name in blocks] == ["3", "2", "1", "0"]
    assert names.index(across[-1]) < names.index("text_transformer.encoder.layer.1") < names.index(blocks[0])
    unnamed = [weight.name.partition("(")[0] for weight in network.weights if "(" in weight.name]
    assert sorted(unnamed) == ["cross_modal_image_layers.0.", "cross_modal_image_layers.1.", "text_transformer.embeddings."]


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("vit_model.visual.transformer.resblocks.3.attn.in_proj_weight", "vit_model.visual.transformer.resblocks.3"),
        ("vit_model.visual.class_embedding", "vit_model.visual"),
        ("vit_model.visual.conv1.weight", "vit_model.visual"),
        ("vit_model.layers.0.blocks.1.attn.qkv.weight", "vit_model.layers.0.blocks.1"),
        ("vit_model.layers.0.downsample.reduction.weight", "vit_model.layers.0"),
        ("vqa_classifier.0.weight", "vqa_classifier"),
        ("token_type_embeddings.weight", "token_type_embeddings"),
        ("text_transformer.embeddings.(embed_text/select)", "text_transformer.embeddings"),
    ],
)
def test_a_weight_belongs_to_the_layer_in_its_name(name: str, layer: str) -> None:
    assert layer_name(name) == layer
    assert network_name(f"family.model.{name}") == network_name(f"model.{name}") == name


def redrawn_network(family: Family, copy: RedrawnBundle) -> tuple[Family, int]:
    """The network with every tensor that the bundle has as the copy has it now, and how many those are. Of a small table of types, the
    exporter keeps the one row that is read."""
    drawn = {weight.digest: weight for layer in copy.drawn.values() for weight in layer.weights}
    state, found = family.state_dict(), set()
    for tensor in state.values():
        rows = tensor if tensor.ndim == 2 and len(tensor) <= 2 else ()
        for part in (tensor, *rows) if tensor.is_floating_point() else ():
            weight = drawn.get(content_digest(part.numpy()))
            if weight is not None:
                part.copy_(torch.from_numpy(copy.redrawn(weight).reshape(part.shape).copy()))
                found.add(weight.digest)
    family.load_state_dict(state)
    return family, len(found)


def check_same_network(bundle: Bundle, family: Family, folder: Path, layers: slice) -> None:
    """The bundle's graphs, forward and backward, give what PyTorch gives of the network with the same weights."""
    copy = RedrawnBundle(bundle, folder, seed=5)
    copy.redraw(copy.network.layers[layers])
    found, count = redrawn_network(family, copy)
    assert count == len([weight for layer in copy.drawn.values() for weight in layer.weights])
    eager, session = EagerSession(found, "redrawn"), OnnxSession(copy.bundle, threads=1)
    inputs = {name: values.numpy() for name, values in make_inputs(family, (2, 7, 10), padded=True).items()}
    for graph, outputs in (("evidence", list(bundle.manifest.graphs["evidence_all"].outputs)), ("answer", ["logits"])):
        given = {name: inputs[name].astype(spec.dtype) for name, spec in bundle.manifest.graphs[graph].inputs.items()}
        wanted, got = eager.run(graph, given, outputs), session.run(graph, given, outputs)
        floor = max(float(np.abs(wanted[name]).max()) for name in outputs if name.endswith("/gradient")) if graph == "evidence" else 0.0
        for name in outputs:
            largest = max(float(np.abs(wanted[name]).max()), 5e-3 * floor)
            assert float(np.abs(wanted[name] - got[name]).max()) <= TOLERANCE * largest, name
    ids = {"ids": np.arange(8, dtype=np.int64).reshape(2, 4) % family.description.vocab_size}
    assert error(session.run("embed_text", ids)["text_embeddings"], eager.run("embed_text", ids)["text_embeddings"]) <= TOLERANCE
    lengths = {"batch": 2, "image": 7, "16*rows": 48, "16*columns": 32}
    rng = np.random.default_rng(0)
    axes = {name: [lengths.get(axis, axis) for axis in spec.axes] for name, spec in bundle.manifest.graphs["encode_image"].inputs.items()}
    assert all(isinstance(length, int) for shape in axes.values() for length in shape), axes
    picture = {name: rng.random(shape, dtype=np.float32) for name, shape in axes.items()}
    assert error(session.run("encode_image", picture)["image_tokens"], eager.run("encode_image", picture)["image_tokens"]) <= TOLERANCE


PARTS = [slice(None), slice(0, 5), slice(3, 4), slice(-1, None)]


@pytest.mark.parametrize("layers", PARTS, ids=str)
def test_the_demo_drawn_anew_is_one_network_forward_and_backward(demo_bundle: Bundle, layers: slice, tmp_path) -> None:
    check_same_network(demo_bundle, load_meter_family(demo.WEIGHTS, None), tmp_path, layers)


def test_a_tiny_meter_drawn_anew_is_one_network_forward_and_backward(tiny, tiny_bundle: Bundle, tmp_path) -> None:
    with pytest.warns(UserWarning, match="left out"):
        family = load_meter_family(tiny.checkpoint, tiny.image_size)
    check_same_network(tiny_bundle, family, tmp_path, slice(None))


@pytest.mark.parametrize("name", FAMILIES)
def test_other_families_drawn_anew_are_one_network_forward_and_backward(name: str, family_goldens, family_bundles, tmp_path) -> None:
    check_same_network(family_bundles(name), load_family(family_goldens(name).folder).without_lrp(), tmp_path, slice(None))


def test_what_was_drawn_is_put_back_byte_by_byte(demo_bundle: Bundle, tmp_path) -> None:
    copy = RedrawnBundle(demo_bundle, tmp_path, seed=1)
    copy.redraw(copy.network.layers[:3])
    copy.redraw(copy.network.layers)
    copy.restore()
    files = [name for name in demo_bundle.manifest.files if not name.endswith(".onnx")]
    assert all((tmp_path / name).read_bytes() == (demo_bundle.folder / name).read_bytes() for name in (MANIFEST, *files))
    before, after = constants(demo_bundle, demo_bundle.folder), constants(demo_bundle, tmp_path)
    assert all(np.array_equal(values, after[name]) for name, values in before.items())


def test_one_layer_leaves_all_others_alone(demo_bundle: Bundle, tmp_path) -> None:
    copy = RedrawnBundle(demo_bundle, tmp_path, seed=1)
    layer = copy.network.layers[4]
    copy.redraw([layer])
    own = {f"{place.graph}/{place.name}" for weight in layer.weights for place in weight.places}
    before, after = constants(demo_bundle, demo_bundle.folder), constants(demo_bundle, tmp_path)
    assert {name for name, values in before.items() if not np.array_equal(values, after[name])} == own


def test_numbers_are_drawn_with_the_weights_own_mean_and_spread() -> None:
    values = np.random.default_rng(0).normal(3, 0.5, (300, 400)).astype(np.float32)
    drawn = draw(values, b"12345678", 1)
    assert drawn.shape == values.shape and drawn.dtype == values.dtype
    assert drawn.mean() == pytest.approx(3, abs=0.01) and drawn.std() == pytest.approx(0.5, rel=0.02)
    assert abs(np.corrcoef(drawn.ravel(), values.ravel())[0, 1]) < 0.02
    assert np.array_equal(drawn, draw(values, b"12345678", 1))
    for other in (draw(values, b"12345678", 2), draw(values, b"87654321", 1)):
        assert not np.array_equal(drawn, other)
    zeros = draw(np.zeros(10_000, np.float16), b"12345678", 1)
    assert zeros.dtype == np.float16 and zeros.std() == pytest.approx(INITIAL, rel=0.05)


def test_a_copy_lies_as_its_tensor_does() -> None:
    weight = np.arange(24, dtype=np.float32).reshape(6, 4)
    assert np.array_equal(Place("g", "n", (4, 6), np.dtype(np.float64), None, "first").lay(weight), weight.T)
    assert np.array_equal(Place("g", "n", (4, 2, 3), np.dtype(np.float32), None, "first").lay(weight), weight.T.reshape(4, 2, 3))
    assert np.array_equal(Place("g", "n", (2, 2, 6), np.dtype(np.float32), None, "last").lay(weight), weight.T.reshape(2, 2, 6))
    assert np.array_equal(Place("g", "n", (2, 12), np.dtype(np.float32), None).lay(weight), weight.reshape(2, 12))


def test_equal_numbers_are_told_whatever_their_shape_and_width() -> None:
    values = np.random.default_rng(0).random((4, 6), dtype=np.float32)
    assert content_digest(values) == content_digest(values.reshape(2, 12)) == content_digest(values.astype(np.float64))
    assert content_digest(values.astype(np.float16)) == content_digest(values.astype(np.float16).astype(np.float32))
    assert content_digest(values) != content_digest(values.T)
    assert content_digest(values.astype(np.float64) / 3) != content_digest((values.astype(np.float64) / 3).astype(np.float32))


@pytest.mark.parametrize(
    ("changed", "said"), [({"formats": ("torchscript",)}, "no ONNX graphs.*--format onnx"), ({"precision": "int8"}, "8-bit.*float32")]
)
def test_what_cannot_be_drawn_is_refused_in_one_line(demo_bundle: Bundle, changed: dict[str, object], said: str) -> None:
    with pytest.raises(XaiError, match=said) as caught:
        check_bundle(replace(demo_bundle, manifest=replace(demo_bundle.manifest, **changed)))
    assert "\n" not in str(caught.value)


def test_graphs_of_two_networks_are_noticed(demo_bundle: Bundle, tmp_path) -> None:
    explainer = load("demo", threads=1)
    image, question = explainer.prepare(np.full((96, 96, 3), 200, np.uint8)), explainer.check("What color is the circle?")
    asked = Asked(image, question, 0, 0, 0)
    copy = RedrawnBundle(demo_bundle, tmp_path, seed=1)
    copy.redraw(copy.network.layers)
    changed = Explainer(OnnxSession(copy.bundle, threads=1), explainer.encoder, explainer.answers)
    check_agreement(changed, asked)
    graph = onnx.load(tmp_path / "answer.onnx", load_external_data=False)
    bias = next(t for t in graph.graph.initializer if t.name.endswith("vqa_classifier.3.bias"))
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + np.arange(24, dtype=np.float32), bias.name))
    (tmp_path / "answer.onnx").write_bytes(graph.SerializeToString())
    with pytest.raises(XaiError, match="differ by"):
        check_agreement(Explainer(OnnxSession(copy.bundle, threads=1), explainer.encoder, explainer.answers), asked)
