"""Folders as transformers' `save_pretrained` writes them: what is in one, and its network with every weight."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from transformers import AutoConfig, PreTrainedModel
from transformers.utils import logging as library_logging

from xai.base.errors import XaiError
from xai.base.reading import read_json

M = TypeVar("M", bound=PreTrainedModel)


def read_architecture(folder: Path, foreign: Collection[str] = ()) -> str:
    """The class of the network that a folder holds; `foreign` are types of networks that transformers does not know.

    Raises `XaiError` where it says none.
    """
    if not (folder / "config.json").is_file():
        raise XaiError(f"{folder} has no config.json: a model is a folder as transformers' save_pretrained writes it")
    config = read_json(folder / "config.json")
    try:
        if isinstance(config, dict) and config.get("model_type") in foreign:
            names = config.get("architectures")
        else:
            names = AutoConfig.from_pretrained(folder, local_files_only=True).architectures
    except (ValueError, OSError, KeyError, TypeError) as error:
        raise XaiError(f"{folder / 'config.json'} is of no network that transformers knows: {_first_line(error)}") from error
    if not names or not isinstance(names, list) or not isinstance(names[0], str):
        raise XaiError(f"{folder / 'config.json'} does not say which network it describes: it has no 'architectures'")
    return names[0]


def load_pretrained(kind: type[M], folder: Path) -> M:
    """The network of a folder in float32, with plain attention, whose probabilities can be read. Nothing is downloaded or unpickled.

    Raises `XaiError` where a weight is missing, does not fit, or is not finite.
    """
    try:
        with _quiet():
            loaded: Any = kind.from_pretrained(
                folder, local_files_only=True, attn_implementation="eager", dtype=torch.float32, output_loading_info=True
            )
    except Exception as error:  # a damaged file may end in any
        raise XaiError(f"{folder} is not a readable {kind.__name__}: {_first_line(error)}") from error
    model: M = loaded[0]
    report: dict[str, Any] = loaded[1]
    if lacking := sorted(report["missing_keys"]):
        raise XaiError(f"{folder} is not a complete {kind.__name__}: it lacks {lacking[0]} and {len(lacking) - 1} more")
    if broken := [name for name, tensor in model.state_dict().items() if not torch.isfinite(tensor).all()]:
        raise XaiError(f"{folder} has weights that are NaN or infinite: {broken[0]}; download it again")
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the library's progress bar and its report of weights, which is read here."""
    level = library_logging.get_verbosity()
    bars = library_logging.is_progress_bar_enabled()
    library_logging.set_verbosity(logging.CRITICAL)
    library_logging.disable_progress_bar()
    try:
        yield
    finally:
        library_logging.set_verbosity(level)
        if bars:
            library_logging.enable_progress_bar()


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
