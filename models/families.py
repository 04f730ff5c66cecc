"""Which networks of transformers xai can explain: one row for each, by the name of its class.

To add one, write a `xai.models.contract.Family` and its row. METER, which transformers does not have, is `xai.models.meter`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from xai.base.errors import XaiError
from xai.models import lxmert, vilt
from xai.models.contract import Family
from xai.models.pretrained import read_architecture
from xai.models.selfcheck import check_family

GENERATE = ("ForConditionalGeneration", "ForCausalLM", "LMHeadModel")
"""How classes end whose answer is a text, word by word."""


class FamilyRow(NamedTuple):
    """How a family is loaded from a folder, and its answers' names, where the folder holds them."""

    load: Callable[[Path], Family]
    answers: Callable[[Path], list[str]] | None


FAMILIES: dict[str, FamilyRow] = {
    "ViltForQuestionAnswering": FamilyRow(vilt.load_vilt, vilt.read_answers),
    "LxmertForQuestionAnswering": FamilyRow(lxmert.load_lxmert, None),
}


def find_family(folder: Path) -> FamilyRow:
    """The row of the network in a folder. Raises `XaiError`, with what is supported, where it has none."""
    architecture = read_architecture(folder)
    if architecture in FAMILIES:
        return FAMILIES[architecture]
    if architecture.endswith(GENERATE):
        raise XaiError(f"{folder} holds a {architecture}, which generates text: not supported; supported are {', '.join(FAMILIES)}")
    raise XaiError(f"{folder} holds a {architecture}: not supported; supported are {', '.join(FAMILIES)}")


def read_answers(folder: Path) -> list[str] | None:
    """The names of a network's answers, None where its folder does not hold them."""
    row = find_family(folder)
    return row.answers(folder) if row.answers else None


def load_family(folder: Path) -> Family:
    """The network of a folder as `save_pretrained` writes it, its adapter checked. Raises `XaiError` where it cannot be used."""
    family = find_family(folder).load(folder)
    check_family(family)
    return family
