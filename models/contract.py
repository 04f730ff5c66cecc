"""What a network must be able to do to be explained. To add one, write an adapter and give it a row in `xai.models.families`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from xai.base.description import Heads
from xai.runtime.description import IMAGE, TEXT, Description


class Fused(NamedTuple):
    """What a network makes of an encoded picture and question."""

    logits: Tensor
    """(B, answers)"""
    attention: list[Tensor]
    """(B, H, Nq, Nk) for each of the description's sites, in their order: the probabilities that values were mixed with."""
    features: dict[str, Tensor]
    """(B, N, width) by layer: its output."""


class Family(nn.Module):
    """A network, cut in three where the perturbation test needs it: tokens of either modality may be left out before `fuse`.

    Masks are true where a token is real; padding stands behind it and takes no part. Shares its weights with the network it adapts.
    """

    description: Description
    answer_names: Sequence[str] | None = None
    """What the answers are called, where the network's kind says it and no list is needed."""
    sorts_answers: bool = False
    """Whether answers stand in the order of their names, whatever the order of a list."""

    def encode_image(self, *picture: Tensor) -> Tensor:
        """The picture's tensors, in the order of `picture_inputs` -> image tokens (B, N, image width)."""
        raise NotImplementedError

    def embed_text(self, ids: Tensor) -> Tensor:
        """Token ids (B, T), padded on the right -> text embeddings (B, T, text width)."""
        raise NotImplementedError

    def fuse(self, image_tokens: Tensor, image_mask: Tensor, text_embeddings: Tensor, text_mask: Tensor, record: bool) -> Fused:
        """Answer; unless `record`, attention and features may be left empty. Neither N nor T is 0: no token at all is a masked one."""
        raise NotImplementedError

    def example(self) -> tuple[Tensor, ...]:
        """A small picture, batch 1, as `encode_image` takes it."""
        raise NotImplementedError

    def run_library(self, picture: tuple[Tensor, ...], ids: Tensor) -> Tensor:
        """The logits of the network's own forward pass, which knows nothing of the cut."""
        raise NotImplementedError

    def without_lrp(self) -> Family:
        """The same network, described as one that gives no layer-wise relevance propagation: its tokens are float32 then."""
        other = copy.copy(self)
        other.description = replace(self.description, published=self.description.published._replace(lrp=False))
        return other

    @property
    def heads(self) -> Heads:
        """How many heads attend across modalities, and who says so."""
        return Heads(self.description.sites[-1].heads, "checkpoint")

    @property
    def dtype(self) -> torch.dtype:
        """The type that the network computes in."""
        return next(self.parameters()).dtype


def stream_masks(description: Description, image_mask: Tensor, text_mask: Tensor) -> dict[str, Tensor]:
    """The mask (B, N) of each stream's tokens, from those of the modalities in it."""
    masks = {TEXT: text_mask, IMAGE: image_mask}
    return {stream.name: torch.cat([masks[part] for part in stream.parts], 1) for stream in description.streams}


def choose(logits: Tensor, direction: Tensor) -> Tensor:
    """What is explained, in the space of answers (B, answers): the direction asked for, or that of the top answer where it is all 0."""
    # Not by `arange`: a traced graph would keep the device that it was traced on.
    top = torch.zeros_like(logits).scatter(-1, logits.argmax(-1, keepdim=True), 1.0)
    return torch.where((direction != 0).any(-1, keepdim=True), direction, top)


@contextmanager
def recorded(modules: Iterable[nn.Module], change: Callable[[int, Tensor], Tensor] | None = None) -> Iterator[list[Tensor]]:
    """What leaves these modules while the block runs, in the order of the calls; of the dropout within an attention, which does
    nothing at inference, the probabilities. `change` puts another tensor in place of the n-th one.
    """
    found: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, out: Tensor) -> Tensor:
        found.append(out if change is None else change(len(found), out))
        return found[-1]

    hooks = [module.register_forward_hook(keep) for module in modules]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
