"""A METER of random weights, small, with another width in every part, and inputs for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

import xai.export.bundle
from xai.export.bundle import export_bundle
from xai.export.modules import Graph
from xai.export.torchscript import trace_graphs
from xai.meter.config import MeterConfig
from xai.meter.model import Meter
from xai.models.meter import MeterFamily
from xai.runtime.answers import numbered_answers
from xai.runtime.bundle.manifest import FORMATS, Bundle
from xai.runtime.sessions.open import open_session
from xai.runtime.sessions.protocol import Session

CONFIG = MeterConfig(
    image_size=32,
    patch_size=8,
    vision_width=64,
    vision_layers=2,
    vision_mlp=96,
    vocab_size=50,
    max_positions=60,
    text_width=128,
    text_layers=2,
    text_mlp=80,
    hidden=48,
    heads=3,
    layers=3,
    mlp=72,
    answers=11,
)

Inputs = dict[str, Tensor]


def make_model(config: MeterConfig, seed: int) -> Meter:
    generator = torch.Generator().manual_seed(seed)
    model = Meter(config)
    for name, parameter in model.named_parameters():
        values = torch.randn(parameter.shape, generator=generator)
        if "embedding" in name or name.endswith("bias"):
            parameter.data = 0.2 * values
        elif parameter.dim() == 1:
            parameter.data = 1 + 0.2 * values
        else:
            peaked = 2 if "query" in name or "key" in name else 1  # so that gradients differ from token to token
            parameter.data = peaked * values * parameter[0].numel() ** -0.5
    return model.requires_grad_(False).eval()


@pytest.fixture(scope="session")
def model() -> Meter:
    return make_model(CONFIG, seed=0)


@pytest.fixture(scope="session")
def deeper_model() -> Meter:
    """One cross-modal layer, which is first and last at once, and more text layers than cross-modal ones."""
    return make_model(MeterConfig(**{**vars(CONFIG), "layers": 1, "text_layers": 3}), seed=1)


def make_directions(targets: Tensor) -> Tensor:
    """Answers (B,), -1 for the top one -> directions (B, answers)."""
    return (torch.arange(CONFIG.answers) == targets[:, None]).float()


@pytest.fixture(scope="session")
def make_inputs() -> Callable[..., Inputs]:
    """Inputs of the evidence graph; `padded` masks the last tokens of every question but the first, and of its image."""

    def make(batch: int, tokens: int, patches: int, padded: bool = False, seed: int = 0) -> Inputs:
        generator = torch.Generator().manual_seed(seed)
        text_mask, image_mask = torch.ones(batch, tokens, dtype=torch.bool), torch.ones(batch, patches, dtype=torch.bool)
        for b in range(batch if padded else 0):
            text_mask[b, max(1, tokens - b) :] = False
            image_mask[b, max(1, patches - 2 * b) :] = False
        return {
            "image_tokens": torch.randn(batch, patches, CONFIG.vision_width, generator=generator),
            "image_mask": image_mask,
            "text_embeddings": torch.randn(batch, tokens, CONFIG.text_width, generator=generator),
            "text_mask": text_mask,
            "direction": make_directions(torch.randint(-1, CONFIG.answers, (batch,), generator=generator)),
        }

    return make


@pytest.fixture(scope="session")
def bundle(tiny_bundle: Bundle) -> Bundle:
    """The tiny golden model's."""
    return tiny_bundle


class Small(NamedTuple):
    """The TorchScript bundle of the random model, and the module that its graphs were traced to."""

    bundle: Bundle
    traced: torch.jit.ScriptModule


@pytest.fixture(scope="session")
def small(model: Meter, goldens: Callable[[str], Any], tmp_path_factory: pytest.TempPathFactory) -> Small:
    """Made once: tracing takes seconds, and few tests are about it."""
    kept: list[torch.jit.ScriptModule] = []

    def trace(graphs: list[Graph]) -> torch.jit.ScriptModule:
        kept.append(trace_graphs(graphs))
        return kept[0]

    parts = goldens("tiny").explainer.encoder.tokenizer, numbered_answers(model.config.answers)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(xai.export.bundle, "trace_graphs", trace)
        made = export_bundle(MeterFamily(model), *parts, tmp_path_factory.mktemp("small") / "bundle", formats=("torchscript",))
    return Small(made.bundle, kept[0])


@pytest.fixture(scope="session", params=FORMATS)
def exported_session(request: pytest.FixtureRequest, bundle: Bundle) -> Session:
    """Each session that runs the tiny bundle."""
    return open_session(bundle, request.param, trust=True, threads=1)
