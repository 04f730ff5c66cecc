"""What the graphs of a bundle compute in: the model in a narrower type. 8-bit graphs are made of float32 ones (`export.quantise`)."""

from __future__ import annotations

import copy

from torch import nn

from xai.meter.model import Meter
from xai.meter.vision import VisionAttention


def lower(model: Meter, precision: str) -> Meter:
    """The model in the type that its graphs compute in; of bfloat16, products only, and not those of the answer's one token."""
    if precision == "float16":
        return copy.deepcopy(model).half()
    if precision == "bfloat16":
        lowered = copy.deepcopy(model)
        for part in (
            lowered.vit_model,
            lowered.text_transformer,
            lowered.cross_modal_text_transform,
            lowered.cross_modal_image_transform,
            lowered.cross_modal_text_layers,
            lowered.cross_modal_image_layers,
        ):
            for module in part.modules():
                if isinstance(module, nn.Linear | nn.Conv2d | VisionAttention):
                    module.bfloat16()
        return lowered
    return model
