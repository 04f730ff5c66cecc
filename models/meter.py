"""METER (Dou et al. 2022), by the network of `xai.meter`."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from xai.base.description import Heads
from xai.meter.answer import answer
from xai.meter.checkpoint import load_meter
from xai.meter.config import LayerOrder, MeterConfig
from xai.meter.heads import HEADS
from xai.meter.hub import load_hub_meter
from xai.meter.layer import LayerOutput
from xai.meter.model import Meter
from xai.models.contract import Family, Fused
from xai.runtime.description import Description, Published, Site, Special, Square, Stream

ORDERS: tuple[LayerOrder, ...] = ("parallel", "sequential")


def describe(config: MeterConfig) -> Description:
    """What the runtime must know of a METER; sites in the order of the reference's relevance maps.

    A Swin encoder has no class token: its image stream is read by the mean of all its tokens.
    """
    classed = config.swin is None
    sites = [Site(f"encoder{i}", "self", "text", "text", config.text_heads) for i in range(config.text_layers)]
    for i in range(config.layers):
        sites += [
            Site(f"{own}{i}", kind, own, own if kind == "self" else other, config.heads)
            for own, other in (("image", "text"), ("text", "image"))
            for kind in ("self", "cross")
        ]
    return Description(
        family=family_name(config.order),
        sites=tuple(sites),
        streams=tuple(
            Stream(name, (name,), "first" if classed or name == "text" else "mean", tuple(f"{name}{i}" for i in range(config.layers)))
            for name in ("text", "image")
        ),
        special={"text": Special(1, 1), "image": Special(int(classed), 0)},
        picture=Square(config.image_size, config.patch_size, config.fit, config.image_mean, config.image_std),
        max_text_tokens=config.max_text_tokens,
        vocab_size=config.vocab_size,
        answers=config.answers,
        image_width=config.vision_width,
        text_width=config.text_width,
        width=config.hidden,
        published=Published(layers="first", target="answer", normalised=False, lrp=False),
        shown="score" if HEADS[config.head].score else None,
    )


def find_order(description: Description) -> LayerOrder | None:
    """The order of layers of a description that `describe` made, None of another family's."""
    orders: dict[str, LayerOrder] = {family_name(order): order for order in ORDERS}
    return orders.get(description.family)


def family_name(order: LayerOrder) -> str:
    """What a METER is called whose pairs run in that order."""
    return "meter" if order == "parallel" else f"meter ({order} layers)"


class MeterFamily(Family):
    """METER, cut behind its vision encoder: patches that are left out were seen by those that stay, as in the published test."""

    def __init__(self, model: Meter) -> None:
        super().__init__()
        self.model = model
        self.description = describe(model.config)
        self.answer_names = HEADS[model.config.head].answers

    def encode_image(self, *picture: Tensor) -> Tensor:
        """Normalised pixels (B, 3, S, S) -> (B, 1 + patches, vision width), class token first; of Swin the patches alone."""
        return self.model.encode_image(*picture)

    def embed_text(self, ids: Tensor) -> Tensor:
        return self.model.embed_text(ids)

    def fuse(self, image_tokens: Tensor, image_mask: Tensor, text_embeddings: Tensor, text_mask: Tensor, record: bool) -> Fused:
        if not record and self.written_out:
            return Fused(answer(self.model, image_tokens, image_mask, text_embeddings, text_mask), [], {})
        fusion = self.model.fuse(image_tokens, image_mask, text_embeddings, text_mask, with_maps=record)
        if not record:
            return Fused(fusion.logits, [], {})
        layers: dict[str, LayerOutput] = {}
        for name, outputs in (("encoder", fusion.encoder), ("text", fusion.text), ("image", fusion.image)):
            layers |= {f"{name}{i}": output for i, output in enumerate(outputs)}
        attention = []
        for site in self.description.sites:
            output = layers[site.layer]
            found = output.self_attention if site.kind == "self" else output.cross_attention
            assert found is not None
            attention.append(found)
        return Fused(fusion.logits, attention, {name: output.x for name, output in layers.items() if not name.startswith("encoder")})

    @property
    def written_out(self) -> bool:
        """Whether this is the METER whose answer (`meter/answer.py`) and gradient (`export/meter_evidence.py`) are written out by hand;
        those of the other variants are derived."""
        config = self.model.config
        return config.swin is None and config.order == "parallel" and HEADS[config.head].is_classifier

    @property
    def heads(self) -> Heads:
        return self.model.config.head_count

    def example(self) -> tuple[Tensor, ...]:
        side = self.model.config.image_size
        return (torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0)).to(self.dtype),)

    def run_library(self, picture: tuple[Tensor, ...], ids: Tensor) -> Tensor:
        return self.model(picture[0], ids)


def load_meter_family(path: Path, image_size: int | None = None, heads: int | None = None) -> MeterFamily:
    """The network of a checkpoint (`xai.meter.checkpoint.load_meter`)."""
    return MeterFamily(load_meter(path, image_size, heads))


def load_hub_family(folder: Path, order: LayerOrder | None = None) -> MeterFamily:
    """The network of a folder of Hugging Face (`xai.meter.hub.load_hub_meter`)."""
    family = MeterFamily(load_hub_meter(folder, order))
    family.sorts_answers = True
    return family
