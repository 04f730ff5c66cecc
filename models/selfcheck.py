"""Whether an adapter says the truth about its network: run on a small example whenever one is loaded."""

from __future__ import annotations

import torch

from xai.base.errors import XaiError
from xai.models.contract import Family, stream_masks
from xai.models.eager import Explained, differentiate

TOLERANCE = 1e-4
"""Of logits relative to the largest one, and of a row's sum: what float32 gives with a wide margin."""
TOKENS = 5


def check_family(family: Family) -> None:
    """Raise `XaiError` where the cut does not give what the network's own forward pass gives, where rows of an attention do not sum
    to 1, or where the answer depends on an attention that the description calls not reached, or the other way round.
    """
    description = family.description
    with torch.no_grad():
        picture = family.example()
        ids = torch.arange(TOKENS)[None] % description.vocab_size
        image_tokens, text_embeddings = family.encode_image(*picture), family.embed_text(ids)
        masks = [torch.ones(x.shape[:2], dtype=torch.bool) for x in (image_tokens, text_embeddings)]
        direction = torch.zeros(1, description.answers, dtype=image_tokens.dtype)
        explained = differentiate(family, image_tokens, masks[0], text_embeddings, masks[1], direction)
        expected = family.run_library(picture, ids)
        lengths = {name: mask.shape[1] for name, mask in stream_masks(description, masks[0], masks[1]).items()}
    error = float((explained.logits - expected).abs().max() / expected.abs().max())
    if not error <= TOLERANCE:
        raise XaiError(
            f"the adapter of {description.family} does not give what the network gives (logits differ by {error:.1e}): "
            "install the version of transformers that constraints.txt names"
        )
    if wrong := _first_wrong(family, explained, lengths):
        raise XaiError(f"the adapter of {description.family} does not fit the network: {wrong}")


def _first_wrong(family: Family, explained: Explained, lengths: dict[str, int]) -> str | None:
    """What is wrong with the first attention that is not as described, if one is not."""
    description = family.description
    if len(explained.attention) != len(description.sites):
        return f"it has {len(explained.attention)} attentions, not {len(description.sites)}"
    for site, attention, gradient in zip(description.sites, explained.attention, explained.gradients, strict=True):
        shape = (1, site.heads, lengths[site.queries], lengths[site.keys])
        if tuple(attention.shape) != shape:
            return f"attention {site.name} has the shape {tuple(attention.shape)}, not {shape}"
        if not float((attention.sum(-1) - 1).abs().max()) <= TOLERANCE:
            return f"rows of attention {site.name} do not sum to 1"
        if (gradient is not None) != site.reached:
            return f"the answer {'depends' if gradient is not None else 'does not depend'} on attention {site.name}"
    if missing := [layer for stream in description.streams for layer in stream.layers if layer not in explained.features]:
        return f"it gives no features of {missing[0]}"
    return None
