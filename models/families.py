"""Which networks of transformers xai can explain: one row for each, by the name of its class.

To add one, write a `xai.models.contract.Family` and its row. METER, which transformers does not have, is `xai.models.meter`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from xai.base.errors import BadInput, XaiError
from xai.meter import hub
from xai.meter.config import LayerOrder
from xai.models import lxmert, meter, vilt
from xai.models.contract import Family
from xai.models.pretrained import read_architecture
from xai.models.selfcheck import check_family

GENERATE = ("ForConditionalGeneration", "ForCausalLM", "LMHeadModel")
"""How classes end whose answer is a text, word by word."""


class FamilyRow(NamedTuple):
    """How a family is loaded from a folder, and its answers' names, where the folder holds them."""

    load: Callable[[Path], Family]
    answers: Callable[[Path], list[str]] | None
    tokenizer: Callable[[Path], str | Path] | None = None
    """Where the tokenizer is that a folder lacks, None where it must have its own."""
    load_in_order: Callable[[Path, LayerOrder], Family] | None = None
    """The same with an order of layers, where a folder does not say which."""


FAMILIES: dict[str, FamilyRow] = {
    "ViltForQuestionAnswering": FamilyRow(vilt.load_vilt, vilt.read_answers),
    "LxmertForQuestionAnswering": FamilyRow(lxmert.load_lxmert, None),
    "MeterForQuestionAnswering": FamilyRow(meter.load_hub_family, None, hub.find_tokenizer, meter.load_hub_family),
}


def find_family(folder: Path) -> FamilyRow:
    """The row of the network in a folder. Raises `XaiError`, with what is supported, where it has none."""
    architecture = read_architecture(folder, (hub.MODEL_TYPE,))
    if architecture.startswith("MeterFor"):  # the head is found by its weights
        architecture = "MeterForQuestionAnswering"
    if architecture in FAMILIES:
        return FAMILIES[architecture]
    if architecture.endswith(GENERATE):
        raise XaiError(f"{folder} holds a {architecture}, which generates text: not supported; supported are {', '.join(FAMILIES)}")
    raise XaiError(f"{folder} holds a {architecture}: not supported; supported are {', '.join(FAMILIES)}")


def read_answers(folder: Path) -> list[str] | None:
    """The names of a network's answers, None where its folder does not hold them."""
    row = find_family(folder)
    return row.answers(folder) if row.answers else None


def find_tokenizer(folder: Path) -> str | Path:
    """Where the tokenizer of a network is: in its folder, or where the folder says."""
    row = find_family(folder)
    return row.tokenizer(folder) if row.tokenizer else folder


def load_family(folder: Path, order: LayerOrder | None = None) -> Family:
    """The network of a folder as `save_pretrained` writes it, its adapter checked; `order` of its layers, where it does not say.

    Raises `XaiError` where it cannot be used, and `BadInput` where there is no order to choose.
    """
    row = find_family(folder)
    if order is not None and row.load_in_order is None:
        raise BadInput(f"--layer-order is for a METER in the layout of Hugging Face: the network in {folder} has one order")
    family = row.load_in_order(folder, order) if order is not None and row.load_in_order is not None else row.load(folder)
    check_family(family)
    return family
