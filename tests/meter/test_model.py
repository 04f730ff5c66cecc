"""The network's parts against independent implementations of the same published models."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch

from xai.meter.config import MeterConfig
from xai.meter.layer import Stream
from xai.tests.torchvision_standin import import_timm


def test_text_encoder_equals_transformers_roberta(tiny) -> None:
    from transformers import RobertaConfig, RobertaModel

    model = tiny.explainer.session.model
    size = model.config
    oracle = RobertaModel(
        RobertaConfig(
            vocab_size=size.vocab_size,
            hidden_size=size.text_width,
            num_hidden_layers=size.text_layers,
            num_attention_heads=size.text_heads,
            intermediate_size=size.text_mlp,
            max_position_embeddings=size.max_positions,
            type_vocab_size=1,
            layer_norm_eps=1e-5,
        ),
        add_pooling_layer=False,
    ).eval()
    state = {n.removeprefix("text_transformer."): t for n, t in model.state_dict().items() if n.startswith("text_transformer.")}
    oracle.load_state_dict(state, strict=False)
    ids = torch.tensor([[0, 5, 17, 40, 99, 2], [0, 8, 3, 2, 1, 1]])
    mask = ids != 1
    with torch.no_grad():
        expected = oracle(ids, attention_mask=mask).last_hidden_state
        x = model.embed_text(ids)
        bias = (~mask).float()[:, None, None] * -1e4
        for layer in model.text_transformer.encoder.layer:
            x = layer(Stream(x, bias), None, True).x
    assert torch.allclose(x[mask], expected[mask], atol=1e-5)


def test_vision_encoder_equals_transformers_clip_without_its_last_block(tiny) -> None:
    from transformers import CLIPVisionConfig, CLIPVisionModel

    model = tiny.explainer.session.model
    size, visual = model.config, model.vit_model.visual
    oracle = CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=size.vision_width,
            intermediate_size=size.vision_mlp,
            num_hidden_layers=size.vision_layers + 1,
            num_attention_heads=size.vision_heads,
            image_size=size.image_size,
            patch_size=size.patch_size,
            hidden_act="quick_gelu",
        )
    ).eval()
    body = getattr(oracle, "vision_model", oracle)
    with torch.no_grad():
        body.embeddings.class_embedding.copy_(visual.class_embedding)
        body.embeddings.patch_embedding.weight.copy_(visual.conv1.weight)
        body.embeddings.position_embedding.weight.copy_(visual.positional_embedding)
        body.pre_layrnorm.load_state_dict(visual.ln_pre.state_dict())
        for theirs, ours in zip(body.encoder.layers, visual.transformer.resblocks, strict=False):
            projections = (theirs.self_attn.q_proj, theirs.self_attn.k_proj, theirs.self_attn.v_proj)
            for i, projection in enumerate(projections):
                rows = slice(i * size.vision_width, (i + 1) * size.vision_width)
                projection.weight.copy_(ours.attn.in_proj_weight[rows])
                projection.bias.copy_(ours.attn.in_proj_bias[rows])
            theirs.self_attn.out_proj.load_state_dict(ours.attn.out_proj.state_dict())
            theirs.layer_norm1.load_state_dict(ours.ln_1.state_dict())
            theirs.layer_norm2.load_state_dict(ours.ln_2.state_dict())
            theirs.mlp.fc1.load_state_dict(ours.mlp.c_fc.state_dict())
            theirs.mlp.fc2.load_state_dict(ours.mlp.c_proj.state_dict())
        pixels = torch.randn(2, 3, size.image_size, size.image_size)
        hidden = oracle(pixels, output_hidden_states=True).hidden_states[size.vision_layers]
        assert torch.allclose(model.encode_image(pixels), visual.ln_post(hidden), atol=1e-5)


def test_vision_encoder_equals_timms_vit_without_its_last_block(tiny) -> None:
    import_timm()
    from timm.models.vision_transformer import VisionTransformer

    model = tiny.explainer.session.model
    size, visual = model.config, model.vit_model.visual
    oracle = VisionTransformer(
        img_size=size.image_size,
        patch_size=size.patch_size,
        embed_dim=size.vision_width,
        depth=size.vision_layers,
        num_heads=size.vision_heads,
        mlp_ratio=size.vision_mlp / size.vision_width,
        num_classes=0,
        global_pool="",
        pre_norm=True,
        norm_layer=functools.partial(torch.nn.LayerNorm, eps=1e-5),
        act_layer="quick_gelu",
    ).eval()
    names = {"ln_1": "norm1", "ln_2": "norm2", "attn.in_proj_": "attn.qkv.", "attn.out_proj": "attn.proj", "c_fc": "fc1", "c_proj": "fc2"}
    names |= {"transformer.resblocks": "blocks", "ln_pre": "norm_pre", "ln_post": "norm", "conv1": "patch_embed.proj"}
    state = {}
    for name, tensor in visual.state_dict().items():
        for ours, theirs in names.items():
            name = name.replace(ours, theirs)
        state[name] = tensor
    state["cls_token"] = state.pop("class_embedding")[None, None]
    state["pos_embed"] = state.pop("positional_embedding")[None]
    oracle.load_state_dict(state)
    pixels = torch.randn(2, 3, size.image_size, size.image_size)
    with torch.no_grad():
        assert torch.allclose(model.encode_image(pixels), oracle(pixels), atol=1e-5)


def test_attention_with_and_without_maps_agree(tiny) -> None:
    model = tiny.explainer.session.model
    rng = torch.Generator().manual_seed(0)
    tokens = torch.randn(2, 9, model.config.vision_width, generator=rng)
    text = torch.randn(2, 5, model.config.text_width, generator=rng)
    text_mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    image_mask = torch.ones(2, 9, dtype=torch.bool)
    plain, mapped = (model.fuse(tokens, image_mask, text, text_mask, with_maps) for with_maps in (False, True))
    assert torch.allclose(plain.logits, mapped.logits, atol=1e-5)
    for layer in mapped.text + mapped.image:
        assert torch.allclose(layer.self_attention.sum(-1), torch.ones(()), atol=1e-5)
    assert all(layer.self_attention is None for layer in plain.encoder + plain.text + plain.image)


def test_sizes_that_do_not_fit_are_refused(tiny) -> None:
    size = vars(tiny.explainer.session.model.config)
    with pytest.raises(ValueError, match="hidden width 64 does not divide into 5"):
        MeterConfig(**size | {"heads": 5})
    with pytest.raises(ValueError, match="multiple of the patch size"):
        MeterConfig(**size | {"image_size": 97})
    assert np.prod([MeterConfig(**size).grid] * 2) == (size["image_size"] // size["patch_size"]) ** 2
