"""METER's variants: their golden cases, as files that a user would have, with weights rebuilt from names and shapes."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

import xai
from xai.runtime.explainer import Explainer
from xai.runtime.explanation import Explanation
from xai.runtime.methods import METHODS

SWIN, SNLI, MATCHING, HUB = VARIANTS = ("meter_swin_tiny", "meter_snli_tiny", "meter_itm_tiny", "meter_hub_tiny")
MIN_GAP = 1e-3
TOLERANCE = 1e-4
FIRST = [name for name, method in METHODS.items() if name != "random" and method.layers != "all" and not method.lrp]
EVERY = [name for name, method in METHODS.items() if method.layers == "all"]


def hub_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a METER as PuMer's code saves them, and no others."""
    found = {}
    for name, tensor in state.items():
        if name.startswith("vit_model.visual."):
            found[f"meter.vit_model.{name.removeprefix('vit_model.visual.')}"] = tensor
        elif name.startswith(("vqa_classifier.", "itm_score.")):
            found[name] = tensor
        elif not name.startswith(("vit_model.", "text_transformer.pooler.")):
            found[f"meter.{name}"] = tensor
    return found


@dataclass(frozen=True)
class Variant:
    """A tiny network, and what its reference gives for its cases."""

    name: str
    folder: Path
    model: Path
    """A checkpoint, or a folder of Hugging Face."""

    @cached_property
    def content(self) -> dict[str, Any]:
        return json.loads((self.folder / "cases.json").read_text())

    @property
    def cases(self) -> list[dict[str, Any]]:
        return self.content["cases"]

    @cached_property
    def expected(self) -> dict[str, NDArray]:
        with np.load(self.folder / "expected.npz") as arrays:
            return dict(arrays)

    @property
    def options(self) -> dict[str, Any]:
        """What `xai.load` needs besides the model."""
        found: dict[str, Any] = {"tokenizer": self.folder / "tokenizer.json"}
        if self.content["head"] == "vqa":
            found["answers"] = self.model.with_name("answers.json")
        return found | ({"layer_order": "sequential"} if self.name == HUB else {})

    @property
    def cli_options(self) -> list[str]:
        typed = [part for name, value in self.options.items() for part in (f"--{name.replace('_', '-')}", str(value))]
        return ["--model", str(self.model), *typed]

    @cached_property
    def explainer(self) -> Explainer:
        return self.load()

    def load(self, **options: Any) -> Explainer:
        """The explainer, with other options."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*left out")
            return xai.load(self.model, **self.options | options)

    def image(self, case: int) -> Path:
        return self.folder / self.cases[case]["image"]

    def wanted(self, case: int, key: str, stream: str) -> NDArray | None:
        """The reference's relevance; of Swin without the identity's share, which is the same for every patch and hides the rest."""
        name = f"{case}/{key}/{stream}"
        return self.expected.get(f"{name}_minus_identity", self.expected.get(name))


def explain(explainer: Explainer, variant: Variant, case: int, target: int | None = None) -> list[Explanation]:
    """One case by every method in every form."""
    asked = variant.image(case), variant.cases[case]["question"]
    return [e for methods in (FIRST, EVERY) for e in explainer.explain_methods(*asked, methods, target)]


def compare(variant: Variant, case: int, explanations: list[Explanation], prefix: str = "") -> int:
    """Compare with the reference; how many vectors there were."""
    compared = 0
    for e in explanations:
        key = prefix + METHODS[e.full_name].reference_name
        for stream, found in (("text", e.text_relevance), ("image", e.image_relevance.ravel())):
            wanted = variant.wanted(case, key, stream)
            if wanted is None or any(r.gap is not None and r.gap <= MIN_GAP for r in e.solver if r.graph.startswith(stream)):
                continue
            assert wanted.shape == found.shape
            assert abs(found - wanted).max() <= TOLERANCE * abs(wanted).max(), (variant.name, case, key, stream)
            compared += 1
    return compared
