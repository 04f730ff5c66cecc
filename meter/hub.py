"""METER as a folder of Hugging Face (`csarron/meter-vqa2-ft`, by the code of `csarron/PuMer`): its configuration, and its weights under
METER's own names (docs/methods.md, Variants of METER).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from xai.base.errors import XaiError
from xai.base.reading import read_json
from xai.meter.checkpoint import build_meter, read_checkpoint
from xai.meter.config import LayerOrder
from xai.meter.model import Meter
from xai.meter.sizes import Checkpoint, read_config

MODEL_TYPE = "meter"
"""What the configuration calls the network; transformers does not know it."""
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
RENAMED = (("meter.vit_model.", "vit_model.visual."), ("meter.", ""), ("ve_classifier.", "snli_classifier."))
"""Beginnings of names here, and in METER's own files; the first that fits counts."""
COMPUTED = "text_transformer.embeddings.position_ids"
"""Written by older releases of transformers, and no weight."""
PUBLISHED_ORDER: LayerOrder = "sequential"
"""That of the released code. Which one the published weights were trained with is not known."""


def load_hub_meter(folder: Path, order: LayerOrder | None = None) -> Meter:
    """The network of a folder with `config.json` and its weights, in float32, for inference.

    `order` says how the two layers of a pair run; where nobody says it, as in the released code, with a warning. Raises `XaiError` where
    a part is missing or damaged, and where the network leaves tokens out as it runs: its siblings that were pruned do.
    """
    config = read_hub_config(folder)
    path = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if path is None:
        raise XaiError(f"{folder} holds no weights: it has neither {' nor '.join(WEIGHTS)}")
    checkpoint = Checkpoint(rename(read_checkpoint(path).tensors), config.get("num_heads"))
    sizes = read_config(checkpoint, path, order=order or PUBLISHED_ORDER, squash=True)
    if order is None:
        warnings.warn(
            f"{folder} does not say in which order a pair's layers run: the text layer first and then the image layer, as in the released "
            "code, is assumed; --layer-order sequential or parallel (METER's own) says it",
            stacklevel=3,
        )
    if sizes.head == "snli-ve":
        warnings.warn(f"{folder} does not say how its pictures were normalised: as for METER's other tasks is assumed", stacklevel=3)
    return build_meter(checkpoint, sizes, path)


def read_hub_config(folder: Path) -> Mapping[str, Any]:
    """The configuration of a folder. Raises `XaiError` where it is none, and where it asks for tokens to be left out."""
    config = read_json(folder / "config.json")
    if not isinstance(config, dict):
        raise XaiError(f"{folder / 'config.json'} is no configuration but a {type(config).__name__}")
    ratios = [config.get(name) for name in ("prune_r", "merge_r", "merge_text")]
    reduces = config.get("reduce_layers") is not None and any(isinstance(r, int | float) and r > 0 for r in ratios)
    if reduces or config.get("prune_layers") is not None:
        raise XaiError(f"{folder} holds a METER that prunes or merges tokens as it runs, another network: name one that was not pruned")
    return config


def rename(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under the names of METER's own files."""
    found = {}
    for name, tensor in tensors.items():
        old, new = next((pair for pair in RENAMED if name.startswith(pair[0])), ("", ""))
        found[new + name[len(old) :]] = tensor
    return {name: tensor for name, tensor in found.items() if name != COMPUTED}


def find_tokenizer(folder: Path) -> str | Path:
    """Where the tokenizer of a folder is: in it, or where it holds none, under the name in its configuration.

    Raises `XaiError` where neither is there.
    """
    if any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json")):
        return folder
    name = read_hub_config(folder).get("tokenizer")
    if not isinstance(name, str) or not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
        raise XaiError(f"{folder} has no tokenizer.json, and its configuration names no tokenizer: give one with --tokenizer")
    return name
