"""What the graphs of a bundle compute in: the model in a narrower type. 8-bit graphs are made of float32 ones (`export.quantise`)."""

from __future__ import annotations

import copy

from torch import nn

from xai.base.errors import XaiError
from xai.meter.vision import VisionAttention
from xai.models.contract import Family
from xai.models.meter import MeterFamily


def lower(family: Family, precision: str) -> Family:
    """The network in the type that its graphs compute in; of bfloat16, products only, and not those of the answer's one token.

    Raises `XaiError` where the network cannot be lowered so.
    """
    if precision == "float16":
        return copy.deepcopy(family).half()
    if precision == "bfloat16":
        if not isinstance(family, MeterFamily) or not family.written_out:
            raise XaiError(
                f"precision bfloat16 exists for METER with CLIP's encoder and a VQA or SNLI-VE head only, not for this "
                f"{family.description.family}: choose another"
            )
        lowered = copy.deepcopy(family)
        model = lowered.model
        for part in (
            model.vit_model,
            model.text_transformer,
            model.cross_modal_text_transform,
            model.cross_modal_image_transform,
            model.cross_modal_text_layers,
            model.cross_modal_image_layers,
        ):
            for module in part.modules():
                if isinstance(module, nn.Linear | nn.Conv2d | VisionAttention):
                    module.bfloat16()
        return lowered
    return family
