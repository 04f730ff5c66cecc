"""The eager reference session against the reference's own outputs, and its identities."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from xai.base.description import TOP_ANSWER
from xai.meter.attention import merge_heads, split_heads
from xai.meter.layer import Stream
from xai.models.eager import EagerSession
from xai.models.meter import MeterFamily
from xai.models.selfcheck import check_family
from xai.runtime.inputs.decode import open_image
from xai.runtime.inputs.encode import pad_ids
from xai.runtime.inputs.resize import preprocess
from xai.runtime.target import directions


def fuse_inputs(golden, cases, targets=None):
    """Inputs of the graphs `evidence` and `maps` for a padded batch of golden cases."""
    session = golden.explainer.session
    pixels = np.stack([preprocess(open_image(golden.image(c)), session.description)[0] for c in cases])
    ids, mask = pad_ids([np.array(golden.cases[c]["ids"]) for c in cases])
    tokens = session.run("encode_image", {"pixels": pixels})["image_tokens"]
    return {
        "image_tokens": tokens,
        "image_mask": np.ones(tokens.shape[:2], bool),
        "text_embeddings": session.run("embed_text", {"ids": ids})["text_embeddings"],
        "text_mask": mask,
        "direction": directions(targets or [TOP_ANSWER] * len(cases), session.description.answers),
    }


def test_pixels_logits_attention_gradients_and_features_equal_the_reference(tiny) -> None:
    for c in range(len(tiny.cases)):
        inputs = fuse_inputs(tiny, [c])
        found = tiny.explainer.session.run("maps", inputs)
        stored = {key.partition("/")[2]: value for key, value in tiny.expected.items() if key.startswith(f"{c}/")}
        assert np.abs(found["logits"][0] - stored["logits"]).max() < 1e-4
        for name in (n for n in found if n in stored and n != "logits"):
            assert np.abs(found[name][0] - stored[name]).max() < 1e-5 * np.abs(stored[name]).max(), name
        if c < 2:
            # Every attention and gradient that the reference stored was compared, and so were all features.
            assert {n for n in stored if n.endswith(("/attn", "/grad", "/features"))} <= set(found)
            pixels, _ = preprocess(open_image(tiny.image(c)), tiny.explainer.session.description)
            assert np.array_equal(pixels, stored["pixels"][0])


def test_reduced_evidence_is_the_full_maps_reduced(tiny) -> None:
    inputs = fuse_inputs(tiny, [0, 4, 1])
    session = tiny.explainer.session
    maps, evidence = session.run("maps", inputs), session.run("evidence", inputs)
    sites = [name.removesuffix("/attn") for name in maps if name.endswith("/attn")]
    assert len(sites) == 2 + 3 * 2 * 2
    for site in sites:
        a, g = maps[f"{site}/attn"], maps[f"{site}/grad"]
        assert np.allclose(evidence[f"{site}/attention"], a.mean(1), atol=1e-7)
        assert np.allclose(evidence[f"{site}/gradient"], np.maximum(g, 0).mean(1), atol=1e-7)
        assert np.allclose(evidence[f"{site}/product"], np.maximum(a * g, 0).mean(1), atol=1e-7)
    # Grad-CAM's mean counts real queries and keys alone: compare with the question by itself.
    alone = session.run("maps", fuse_inputs(tiny, [1]))
    a, g = alone["text2/cross/attn"][0], alone["text2/cross/grad"][0]
    row = np.maximum((a * g.mean((1, 2), keepdims=True)).mean(0), 0)[0]
    assert np.allclose(evidence["text2/cross/grad-cam"][2], row, atol=1e-7 + 1e-5 * row.max())


def test_padding_and_masked_image_tokens_have_no_evidence(tiny) -> None:
    inputs = fuse_inputs(tiny, [0, 1])
    inputs["image_mask"][:, 20:] = False
    found = tiny.explainer.session.run("maps", inputs)
    length = len(tiny.cases[1]["ids"])
    for name in ("text0/self/attn", "text1/self/grad", "encoder0/self/attn", "encoder1/self/grad"):
        assert not found[name][1, :, :length, length:].any(), name
    for name in ("image0/self/attn", "image1/self/grad", "text0/cross/attn", "text2/cross/grad"):
        assert not found[name][:, :, :2, 20:].any(), name


def test_masking_an_image_token_equals_leaving_it_out(tiny) -> None:
    inputs = fuse_inputs(tiny, [0])
    keep = np.array([0, 3, 4, 9, 17, 36])
    masked = inputs | {"image_mask": np.isin(np.arange(37), keep)[None]}
    dropped = inputs | {"image_tokens": inputs["image_tokens"][:, keep], "image_mask": np.ones((1, len(keep)), bool)}
    del masked["direction"], dropped["direction"]
    session = tiny.explainer.session
    assert np.allclose(session.run("answer", masked)["logits"], session.run("answer", dropped)["logits"], atol=1e-5)


def test_gradients_are_those_of_finite_differences(tiny) -> None:
    """dz/dA of one attention probability of the last image layer, in float64."""
    inputs = fuse_inputs(tiny, [5])
    inputs |= {name: inputs[name].astype(np.float64) for name in ("image_tokens", "text_embeddings", "direction")}
    model = copy.deepcopy(tiny.explainer.session.family.model).double()
    found = EagerSession(MeterFamily(model)).run("maps", inputs)
    target = int(found["logits"][0].argmax())
    with torch.no_grad():
        fusion = model.fuse(torch.from_numpy(inputs["image_tokens"]), None, torch.from_numpy(inputs["text_embeddings"]), None, True)
    text, image = Stream(fusion.text[-2].x, None), fusion.image[-2].x  # what the last pair of layers reads
    layer = model.cross_modal_image_layers[-1]

    def score(h: int, q: int, k: int, change: float) -> float:
        """The target's logit with that probability changed."""
        probabilities = fusion.image[-1].self_attention.clone()
        probabilities[0, h, q, k] += change
        values = split_heads(layer.attention.self.value(image), layer.attention.heads)
        x = layer.attention.output(merge_heads(probabilities @ values), image)
        x, _ = layer.crossattention(x, text, False)
        x = layer.output(layer.intermediate(x), x)
        pooled = torch.cat([model.cross_modal_text_pooler(fusion.text[-1].x), model.cross_modal_image_pooler(x)], -1)
        return model.vqa_classifier(pooled)[0, target].item()

    gradient = found["image2/self/grad"][0]
    for h, q, k in ((0, 0, 0), (1, 0, 7), (3, 0, 36)):
        slope = (score(h, q, k, 1e-5) - score(h, q, k, -1e-5)) / 2e-5
        assert slope == pytest.approx(gradient[h, q, k], rel=1e-6)


def test_a_padded_batch_equals_single_runs(tiny) -> None:
    cases = range(len(tiny.cases))
    session = tiny.explainer.session
    batch = session.run("evidence", fuse_inputs(tiny, cases))
    for c in cases:
        single = session.run("evidence", fuse_inputs(tiny, [c]))
        for name, value in single.items():
            part = batch[name][c][tuple(slice(n) for n in value[0].shape)]
            assert np.abs(part - value[0]).max() <= max(1e-5 * np.abs(value).max(), 1e-7), (name, c)


def test_the_target_changes_the_gradients_and_nothing_before_them(tiny) -> None:
    session = tiny.explainer.session
    top = session.run("maps", fuse_inputs(tiny, [0]))
    other = session.run("maps", fuse_inputs(tiny, [0], [3]))
    for name in top:
        same = np.array_equal(top[name], other[name])
        assert same is not name.endswith("/grad"), name


def test_nothing_is_left_on_the_model_and_no_parameter_has_a_gradient(tiny) -> None:
    model = tiny.explainer.session.family.model
    attributes = {name: set(vars(module)) for name, module in model.named_modules()}
    tiny.explainer.session.run("evidence", fuse_inputs(tiny, [0]))
    assert attributes == {name: set(vars(module)) for name, module in model.named_modules()}
    assert all(p.grad is None and not p.requires_grad for p in model.parameters())
    assert not any(module._forward_hooks or module._backward_hooks for module in model.modules())


def test_the_adapter_says_the_truth(golden) -> None:
    check_family(golden.explainer.session.family)


def test_only_the_outputs_asked_for_come_back(tiny) -> None:
    found = tiny.explainer.session.run("evidence", fuse_inputs(tiny, [0]), ["logits", "image0/self/product"])
    assert list(found) == ["logits", "image0/self/product"]
    with pytest.raises(ValueError, match="no graph is called"):
        tiny.explainer.session.run("nothing", {})
