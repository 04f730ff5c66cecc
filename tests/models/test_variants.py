"""METER's variants (Swin, other heads, the layout of Hugging Face, BERT) against the reference's own outputs, and their identities."""

from __future__ import annotations

import copy
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import xai
from xai.base.errors import BadInput, XaiError
from xai.meter.checkpoint import load_meter, read_checkpoint, save_meter
from xai.meter.layer import Stream
from xai.meter.swin import fit_swin, resize_table, window_of
from xai.models.eager import EagerSession
from xai.models.selfcheck import check_family
from xai.runtime.inputs.encode import pad_ids
from xai.runtime.target import directions
from xai.tests.variants import HUB, MATCHING, SNLI, SWIN, Variant, compare, explain

Make = Callable[[str], Variant]
pytestmark = pytest.mark.filterwarnings("ignore:.*left out")


def inputs(variant: Variant, case: int) -> dict[str, Any]:
    """Inputs of the graph `maps` for a case and its top answer."""
    session, explainer = variant.explainer.session, variant.explainer
    pixels = explainer.prepare(variant.image(case)).pixels[None]
    ids, mask = pad_ids([explainer.check(variant.cases[case]["question"]).ids])
    tokens = session.run("encode_image", {"pixels": pixels})["image_tokens"]
    return {
        "image_tokens": tokens,
        "image_mask": np.ones(tokens.shape[:2], bool),
        "text_embeddings": session.run("embed_text", {"ids": ids})["text_embeddings"],
        "text_mask": mask,
        "direction": directions([-1], session.description.answers),
    }


def test_pixels_logits_attention_gradients_and_features_equal_the_reference(variant: Variant) -> None:
    """Ours and the stored ones are both as near to what float64 gives: which way each rounds depends on the machine."""
    family = copy.deepcopy(variant.explainer.session.family)
    family.model.double()
    exactly = EagerSession(family, "in float64", "cpu")
    for c in range(len(variant.cases)):
        given = inputs(variant, c)
        found = variant.explainer.session.run("maps", given)
        exact = exactly.run("maps", {name: x.astype(np.float64) if x.dtype.kind == "f" else x for name, x in given.items()})
        stored = {key.partition("/")[2]: value for key, value in variant.expected.items() if key.startswith(f"{c}/")}
        assert abs(found["logits"][0] - stored["logits"]).max() < 1e-4
        for name in (n for n in found if n in stored and n != "logits"):
            for one in (found[name][0], stored[name]):
                assert abs(one - exact[name][0]).max() < 1e-5 * abs(stored[name]).max(), (c, name)
        assert {n for n in stored if n.endswith(("/attn", "/grad", "/features"))} <= set(found)
        if "pixels" in stored:
            assert np.array_equal(variant.explainer.prepare(variant.image(c)).pixels, stored["pixels"][0])


def test_relevances_equal_the_reference(variant: Variant) -> None:
    for c, case in enumerate(variant.cases):
        found = explain(variant.explainer, variant, c)
        assert {e.answer.text for e in found} == {case["answer"]}
        assert compare(variant, c, found) == 20


@pytest.mark.parametrize("name", [SNLI, MATCHING])
def test_another_answer_is_explained_as_the_reference_does(variants: Make, name: str) -> None:
    variant = variants(name)
    assert variant.explainer.answers.names == tuple(variant.content["labels"])
    for c, case in enumerate(variant.cases):
        found = explain(variant.explainer, variant, c, case["other_answer_id"])
        assert {e.target.text for e in found} == {case["other_answer"]}
        assert compare(variant, c, found, "other/") == 20


def test_the_adapters_say_the_truth(variant: Variant) -> None:
    check_family(variant.explainer.session.family)


# The layout of Hugging Face


def test_the_other_layer_order_is_another_network(variants: Make) -> None:
    variant = variants(HUB)
    other = variant.load(layer_order="parallel")
    assert (other.session.description.family, variant.explainer.session.description.family) == ("meter", "meter (sequential layers)")
    for c in range(len(variant.cases)):
        assert compare(variant, c, explain(other, variant, c), "parallel_order/") == 20
        logits = other.session.run("answer", {k: v for k, v in inputs(variant, c).items() if k != "direction"})["logits"][0]
        assert abs(logits - variant.expected[f"{c}/parallel_order/logits"]).max() < 1e-4
        assert abs(logits - variant.expected[f"{c}/logits"]).max() > 1e-2


def test_an_order_that_nobody_says_is_assumed_aloud(variants: Make) -> None:
    variant = variants(HUB)
    options = {name: value for name, value in variant.options.items() if name != "layer_order"}
    with pytest.warns(UserWarning, match="does not say in which order .* --layer-order sequential or parallel"):
        found = xai.load(variant.model, **options)
    assert found.session.description == variant.explainer.session.description


def test_an_order_is_for_that_layout_only(variants: Make) -> None:
    for name, message in ((SNLI, "layout of Hugging Face"), (HUB, "choose from sequential, parallel")):
        with pytest.raises(BadInput, match=message):
            variants(name).load(layer_order="parallel" if name == SNLI else "both")
    vilt = variants(HUB).folder.parent / "vilt_tiny"
    with pytest.raises(BadInput, match="has one order"):
        xai.load(vilt, layer_order="parallel")


def test_pictures_are_squashed(variants: Make) -> None:
    variant = variants(HUB)
    prepared = variant.explainer.prepare(Image.new("RGB", (300, 100)))
    assert prepared.crop.box == (0, 0, 300, 100)


def test_answers_stand_in_the_order_of_their_names(variants: Make, tmp_path: Path) -> None:
    variant = variants(HUB)
    path = tmp_path / "vqa_dict.json"
    path.write_text(json.dumps({str(i): f"answer{i}" for i in range(17)}))  # METER's ids
    assert variant.load(answers=path).answers.names == tuple(variant.content["labels"]) == tuple(sorted(variant.content["labels"]))


@pytest.fixture
def hub(variants: Make, tmp_path: Path) -> Path:
    return Path(shutil.copytree(variants(HUB).model, tmp_path / "hub"))


def change(folder: Path, **fields: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


@pytest.mark.parametrize(
    "fields", [{"prune_r": 0.3, "reduce_layers": [2, 5, 8]}, {"merge_text": 0.2, "reduce_layers": "2,5"}, {"prune_layers": [1]}]
)
def test_siblings_that_leave_tokens_out_are_refused(hub: Path, fields: dict[str, object]) -> None:
    change(hub, **fields)
    with pytest.raises(XaiError, match=r"prunes or merges tokens as it runs, another network"):
        xai.load(hub, tokenizer="t")


def test_folders_that_lack_something_are_one_line(hub: Path, variants: Make) -> None:
    with pytest.raises(XaiError, match=r"tokenizer 'roberta-base' is neither a file nor in the local Hugging Face cache"):
        xai.load(hub, layer_order="parallel")
    change(hub, tokenizer=None)
    with pytest.raises(XaiError, match=r"has no tokenizer\.json, and its configuration names no tokenizer"):
        xai.load(hub, layer_order="parallel")
    shutil.copy(variants(HUB).folder / "tokenizer.json", hub)
    assert xai.load(hub, layer_order="parallel").answers.names[0] == "answer_0"
    change(hub, num_heads=3)
    with pytest.raises(XaiError, match="hidden width 64 does not divide into 3"):
        xai.load(hub, layer_order="parallel")
    (hub / "pytorch_model.bin").unlink()
    with pytest.raises(XaiError, match=r"holds no weights: it has neither model\.safetensors nor pytorch_model\.bin"):
        xai.load(hub)
    change(hub, architectures=None)
    with pytest.raises(XaiError, match="does not say which network it describes"):
        xai.load(hub)


# Heads


@pytest.fixture
def write(tmp_path: Path, variants: Make) -> Callable[..., Path]:
    """Writes the tensors of a variant's checkpoint, changed, with what METER's configuration says."""

    def made(name: str, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]], **config: object) -> Path:
        path = tmp_path / "changed.ckpt"
        state = change(dict(read_checkpoint(variants(name).model).tensors))
        torch.save({"state_dict": state, "hyper_parameters": {"config": {"num_heads": 4, **config}}}, path)
        return path

    return made


def test_a_file_that_compares_two_pictures_is_refused(write) -> None:
    def two_pictures(state):
        rest = {name: t for name, t in state.items() if not name.startswith("snli_classifier")}
        return rest | {"nlvr2_classifier.3.weight": torch.zeros(2, 8), "itm_score.fc.weight": torch.zeros(2, 128)}

    with pytest.raises(XaiError, match="NLVR2, which asks about two pictures at once: not supported; supported are visual question"):
        load_meter(write(SNLI, two_pictures))
    with pytest.raises(XaiError, match=r"lacks vqa_classifier\.3\.weight, and any other head"):
        load_meter(write(MATCHING, lambda state: {n: t for n, t in state.items() if not n.startswith("itm_score")}))


def test_a_fine_tuned_head_comes_before_that_of_the_pre_training(write) -> None:
    path = write(SNLI, lambda state: state | {"itm_score.fc.weight": torch.ones(2, 128), "itm_score.fc.bias": torch.ones(2)})
    assert load_meter(path).config.head == "snli-ve"


@pytest.fixture
def retrieval(write, variants: Make) -> Callable[..., Any]:
    """METER's retrieval is row 1 of its matching head: the same score, of the same gradients."""

    def ranked(state):
        weight, bias = state.pop("itm_score.fc.weight"), state.pop("itm_score.fc.bias")
        return state | {"rank_output.weight": weight[1:], "rank_output.bias": bias[1:]}

    variant = variants(MATCHING)
    return lambda: xai.load(write(MATCHING, ranked), **variant.options)


def test_retrieval_gives_a_score_and_no_probability(retrieval, variants: Make) -> None:
    variant, found = variants(MATCHING), retrieval()
    for c, case in enumerate(variant.cases):
        explanations = explain(found, variant, c)
        assert compare(variant, c, explanations, "" if case["answer_id"] == 1 else "other/") == 20
        one = explanations[0]
        assert (one.answer.text, one.answer.probability) == ("match", None)
        assert abs(one.answer.logit - variant.expected[f"{c}/logits"][1]) < 1e-4
        assert one.answer.shown == f"score {one.answer.logit:.3f}"
        assert any("it is no probability" in note for note in one.notes)
        assert one.to_json()["answer"]["probability"] is None
        assert "%" not in repr(one)


# Swin


def test_masking_a_patch_equals_leaving_it_out_and_no_patch_is_none(variants: Make) -> None:
    variant = variants(SWIN)
    session = variant.explainer.session
    given = {name: value for name, value in inputs(variant, 0).items() if name != "direction"}
    keep = np.array([0, 3, 4, 9, 17, 24])
    masked = given | {"image_mask": np.isin(np.arange(25), keep)[None]}
    dropped = given | {"image_tokens": given["image_tokens"][:, keep], "image_mask": np.ones((1, len(keep)), bool)}
    assert np.allclose(session.run("answer", masked)["logits"], session.run("answer", dropped)["logits"], atol=1e-5)
    nothing = given | {"image_mask": np.zeros((1, 25), bool)}
    other = nothing | {"image_tokens": given["image_tokens"][:, ::5] * 3, "image_mask": np.zeros((1, 5), bool)}
    first, second = (session.run("answer", each)["logits"] for each in (nothing, other))
    assert np.isfinite(first).all()
    assert np.allclose(first, second, atol=1e-6)  # whatever stands behind the mask


def test_swin_runs_at_another_resolution_and_under_timms_present_names(variants: Make, write, tmp_path: Path) -> None:
    variant = variants(SWIN)
    larger = load_meter(variant.model, image_size=224)
    with torch.no_grad():
        assert larger.encode_image(torch.zeros(1, 3, 224, 224)).shape == (1, 49, 128)
    with pytest.raises(XaiError, match="image size 200 is not a multiple of the patch size 32"):
        load_meter(variant.model, image_size=200)
    with pytest.raises(XaiError, match="gives 40 patches a side; 1024 is the largest"):
        load_meter(variant.model, image_size=1280)
    model = variant.explainer.session.model
    save_meter(model, tmp_path / "present.safetensors")
    again = load_meter(tmp_path / "present.safetensors").state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in model.state_dict().items())


def test_tables_of_positions_are_resized() -> None:
    table = torch.randn(81, 3)
    assert window_of(table) == 5
    assert torch.equal(resize_table(table, 5), table)
    assert resize_table(table, 7).shape == (169, 3)
    assert torch.allclose(resize_table(torch.ones(81, 2), 12), torch.ones(23 * 23, 2), atol=1e-6)
    assert [window_of(torch.zeros(n, 1)) for n in (0, 1, 4, 9, 80)] == [0, 1, 0, 2, 0]
    # A stage's downsampling stood at its end; timm's stands at the beginning of the next.
    old = {f"vit_model.layers.{i}.downsample.reduction.weight": torch.full((1,), float(i)) for i in range(3)}
    moved = fit_swin({**old, "vit_model.layers.0.blocks.1.attn_mask": torch.zeros(1)}, 5)
    assert {name: float(t) for name, t in moved.items()} == {f"vit_model.layers.{i + 1}.downsample.reduction.weight": i for i in range(3)}


@pytest.mark.parametrize(
    ("module", "message"), [("timm", "needs timm: pip install"), ("broken", "needs timm, which cannot be loaded: nms")]
)
def test_without_timm_one_line_says_what_to_install(variants: Make, monkeypatch, module: str, message: str) -> None:
    variant = variants(SWIN)

    class Finder:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] == "timm":
                raise ModuleNotFoundError("No module named 'timm'", name="timm") if module == "timm" else RuntimeError("nms does not exist")

    for name in [name for name in sys.modules if name.partition(".")[0] == "timm"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    with pytest.raises(XaiError, match=message):
        load_meter(variant.model)


def test_pictures_are_normalised_as_the_file_says(variants: Make, write) -> None:
    assert variants(SWIN).explainer.session.description.square.mean == (0.485, 0.456, 0.406)
    assert load_meter(write(SNLI, dict, val_transform_keys=["imagenet"])).config.image_mean == (0.485, 0.456, 0.406)
    assert load_meter(write(SNLI, dict)).config.image_mean[0] == 0.48145466
    with pytest.raises(XaiError, match="normalised by 'vit': supported are clip and imagenet"):
        load_meter(write(SNLI, dict, val_transform_keys=["vit"]))


# BERT


def test_a_text_encoder_with_two_types_is_berts(write) -> None:
    from transformers import BertConfig, BertModel

    kind = "text_transformer.embeddings.token_type_embeddings.weight"
    model = load_meter(write(SNLI, lambda state: state | {kind: torch.cat([state[kind], state[kind] + 1])}))
    size = model.config
    assert size.bert and size.max_text_tokens == size.max_positions
    oracle = BertModel(
        BertConfig(
            vocab_size=size.vocab_size,
            hidden_size=size.text_width,
            num_hidden_layers=size.text_layers,
            num_attention_heads=size.text_heads,
            intermediate_size=size.text_mlp,
            max_position_embeddings=size.max_positions,
        ),
        add_pooling_layer=False,
    ).eval()
    state = {n.removeprefix("text_transformer."): t for n, t in model.state_dict().items() if n.startswith("text_transformer.")}
    assert not oracle.load_state_dict(state, strict=False).missing_keys
    ids = torch.tensor([[101, 5, 17, 40, 99, 102]])
    with torch.no_grad():
        x = model.embed_text(ids)
        for layer in model.text_transformer.encoder.layer:
            x = layer(Stream(x, None), None, True).x
        assert torch.allclose(x, oracle(ids).last_hidden_state, atol=1e-5)
