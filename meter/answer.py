"""METER's answer alone, by fewer operations than `Meter.fuse` (docs/design.md, The way of the data).

Two savings, both exact but for rounding:

- Only token 0 of each stream is pooled, so the last pair of layers computes that row and no other.
- A product of three matrices costs least where the smallest is multiplied first. Scores are `X Wq Wk^T Y^T`: with few queries X or
  few keys Y, such as a question's tokens beside an image's, both projections go to the short side, and the long one is multiplied
  as it is. The same holds for `P Y Wv Wo`. It pays while the short side has fewer tokens than a head has channels.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor

from xai.meter.attention import key_bias, merge_heads, split_heads
from xai.meter.layer import Attention, Stream, TransformerLayer
from xai.meter.model import Meter


def answer(model: Meter, image_tokens: Tensor, image_mask: Tensor, text_embeddings: Tensor, text_mask: Tensor) -> Tensor:
    """The logits (B, answers) of `Meter.fuse`, which says what the inputs are."""
    text_bias, image_bias = key_bias(text_mask, text_embeddings.dtype), key_bias(image_mask, image_tokens.dtype)
    projected = model.project(model.encode_text(text_embeddings, text_bias, with_maps=False)[-1].x, image_tokens)
    x, y = Stream(projected[0], text_bias), Stream(projected[1], image_bias)
    text_layers, image_layers = (
        cast(list[TransformerLayer], list(stack)) for stack in (model.cross_modal_text_layers, model.cross_modal_image_layers)
    )
    for text_layer, image_layer in zip(text_layers[:-1], image_layers[:-1], strict=True):
        own_text, _ = text_layer.attention(x.x, x, with_maps=False)
        own_image, _ = image_layer.attention(y.x, y, with_maps=False)
        next_text = text_layer.feed_forward(attend_from_few(text_layer.crossattention, own_text, y))
        next_image = image_layer.feed_forward(attend_to_few(image_layer.crossattention, own_image, x))
        x, y = Stream(next_text, text_bias), Stream(next_image, image_bias)
    return model.classify(first_token(text_layers[-1], x, y), first_token(image_layers[-1], y, x))


def first_token(layer: TransformerLayer, stream: Stream, other: Stream) -> Tensor:
    """Row 0 of the layer's output, (B, 1, width)."""
    x = attend_from_few(layer.attention, stream.x[:, :1], stream)
    return layer.feed_forward(attend_from_few(layer.crossattention, x, other))


def attend_from_few(block: Attention, x: Tensor, keys: Stream) -> Tensor:
    """`Attention.forward` without maps, where queries `x` (B, Nq, width) are few: keys and values are not projected."""
    heads, width = block.heads, x.shape[-1] // block.heads
    batch, queries, count = x.shape[0], x.shape[1], keys.x.shape[1]
    q = split_heads(block.self.query(x), heads) * width**-0.5
    # The key's bias adds the same to every score of a query, which the softmax takes away again.
    q = multiply_heads(q, block.self.key.weight.reshape(heads, width, -1))
    scores = (q.reshape(batch, heads * queries, -1) @ keys.x.transpose(-1, -2)).reshape(batch, heads, queries, count)
    if keys.bias is not None:
        scores = scores + keys.bias
    mixed = scores.softmax(-1).reshape(batch, heads * queries, count).to(keys.x.dtype) @ keys.x
    values = block.self.value.weight.reshape(heads, width, -1).transpose(1, 2)
    mixed = merge_heads(multiply_heads(mixed.reshape(batch, heads, queries, -1), values)) + block.self.value.bias
    return block.output(mixed, x)


def attend_to_few(block: Attention, x: Tensor, keys: Stream) -> Tensor:
    """`Attention.forward` without maps, where `keys` (B, Nk, width) are few: queries and what is mixed are not projected."""
    heads, width = block.heads, x.shape[-1] // block.heads
    batch, queries, count = x.shape[0], x.shape[1], keys.x.shape[1]
    k = split_heads(block.self.key(keys.x), heads) * width**-0.5
    shift = (k @ block.self.query.bias.reshape(heads, width, 1)).reshape(batch, 1, heads, count)
    if keys.bias is not None:
        shift = shift + keys.bias
    k = multiply_heads(k, block.self.query.weight.reshape(heads, width, -1)).reshape(batch, heads * count, -1)
    scores = (x @ k.transpose(-1, -2)).reshape(batch, queries, heads, count) + shift
    v = split_heads(block.self.value(keys.x), heads)
    v = multiply_heads(v, block.output.dense.weight.reshape(-1, heads, width).permute(1, 2, 0)).reshape(batch, heads * count, -1)
    mixed = scores.softmax(-1).reshape(batch, queries, heads * count).to(v.dtype) @ v
    return block.output.LayerNorm(mixed + block.output.dense.bias + x)


def multiply_heads(x: Tensor, weight: Tensor) -> Tensor:
    """(B, H, T, i) and (H, i, o) -> (B, H, T, o): one product per head for the whole batch."""
    heads, inner, outer = weight.shape
    batch, count = x.shape[0], x.shape[2]
    y = x.transpose(0, 1).reshape(heads, batch * count, inner) @ weight
    return y.reshape(heads, batch, count, outer).transpose(0, 1)
