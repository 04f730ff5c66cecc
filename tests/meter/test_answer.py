"""The answer alone, by fewer operations, against the whole computation."""

from __future__ import annotations

import copy

import pytest
import torch

from xai.meter.answer import answer, attend_from_few, attend_to_few
from xai.meter.layer import Stream


def inputs(model, batch: int, tokens: int, patches: int, padded: bool) -> tuple[torch.Tensor, ...]:
    """Image tokens and text embeddings with their masks."""
    generator = torch.Generator().manual_seed(batch + tokens + patches)
    dtype = model.token_type_embeddings.weight.dtype
    image = torch.randn(batch, patches, model.config.vision_width, generator=generator).to(dtype)
    text = torch.randn(batch, tokens, model.config.text_width, generator=generator).to(dtype)
    image_mask, text_mask = torch.ones(batch, patches, dtype=torch.bool), torch.ones(batch, tokens, dtype=torch.bool)
    if padded:
        text_mask[0, max(1, tokens - 2) :] = False
        image_mask[-1, max(1, patches - 3) :] = False
    return image, image_mask, text, text_mask


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 2, 1), (3, 1, 37), (2, 7, 2), (2, 12, 100), (1, 80, 5), (2, 70, 90)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-14)])
@pytest.mark.parametrize("layers", [3, 1])
def test_equals_the_whole_computation(tiny, shape, padded, dtype, tolerance, layers) -> None:
    """With one pair of layers too, which is then first and last at once, and with questions longer than a head is wide."""
    model = copy.deepcopy(tiny.explainer.session.model).to(dtype)
    del model.cross_modal_text_layers[layers:], model.cross_modal_image_layers[layers:]
    given = inputs(model, *shape, padded)
    with torch.no_grad():
        expected = model.fuse(*given).logits
        assert (answer(model, *given) - expected).abs().max() <= tolerance * expected.abs().max()


@pytest.mark.parametrize("queries", [1, 9])
@pytest.mark.parametrize("keys", [1, 5])
def test_each_order_of_products_is_the_same_attention(tiny, queries, keys) -> None:
    block = copy.deepcopy(tiny.explainer.session.model.cross_modal_text_layers[0].crossattention).double()
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(2, n, block.output.dense.out_features, generator=generator, dtype=torch.float64) for n in (queries, keys))
    bias = torch.zeros(2, 1, 1, keys, dtype=torch.float64)
    bias[0, 0, 0, keys // 2] = -3
    for stream in (Stream(y, None), Stream(y, bias)):
        with torch.no_grad():
            expected, _ = block(x, stream, with_maps=False)
            for order in (attend_from_few, attend_to_few):
                assert torch.allclose(order(block, x, stream), expected, rtol=0, atol=1e-13)


def test_tokens_that_are_masked_change_nothing(tiny) -> None:
    model = tiny.explainer.session.model
    image, image_mask, text, text_mask = inputs(model, 2, 8, 20, padded=True)
    with torch.no_grad():
        expected = answer(model, image, image_mask, text, text_mask)
        changed = answer(model, image.where(image_mask[..., None], 9), image_mask, text.where(text_mask[..., None], -9), text_mask)
    assert torch.equal(changed, expected)
