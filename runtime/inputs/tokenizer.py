"""Tokenizer files -> tokenizers."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from xai.base.errors import BadInput, XaiError, first_line
from xai.base.reading import read_json


def load_tokenizer(name: str | Path) -> Tokenizer:
    """A `tokenizer.json`, a folder that holds one (or RoBERTa's `vocab.json` and `merges.txt`, or BERT's `vocab.txt`), or the name of a
    model whose tokenizer is in the local Hugging Face cache. Nothing is downloaded.

    Raises `XaiError` where there is no usable tokenizer.
    """
    if not isinstance(name, str | os.PathLike):
        raise BadInput(f"the tokenizer is of type {type(name).__name__}: give a file, a folder or a model's name")
    path = Path(name)
    if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir fails on a name that is too long
        if (path / "tokenizer.json").is_file():
            path = path / "tokenizer.json"
        elif not (path / "vocab.txt").is_file() and not ((path / "vocab.json").is_file() and (path / "merges.txt").is_file()):
            raise XaiError(f"folder {path} holds neither tokenizer.json nor vocab.txt nor vocab.json with merges.txt")
    elif not os.path.isfile(path):  # noqa: PTH113
        path = _cached(str(name))
    try:
        tokenizer = _from_folder(path) if path.is_dir() else Tokenizer.from_file(str(path))
    except XaiError:
        raise
    except Exception as error:  # the library raises this very class for any damage
        raise XaiError(f"{path} is not a tokenizer: {first_line(error)}") from error
    if tokenizer.post_processor is not None and (wrong := _unusable(json.loads(tokenizer.post_processor.__getstate__()))):
        raise XaiError(f"{path} is not a tokenizer that can be used: {wrong}")
    # A file may carry the padding and truncation of its training: padding would be read as words, truncation cut unsaid.
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _unusable(post_processor: Any) -> str | None:
    """What is wrong with a template of special tokens, if anything: the library checks none, and fails on the first text.

    Of a name that stands for nothing it panics, which no `except Exception` catches.
    """
    if post_processor["type"] == "Sequence":
        return next(filter(None, map(_unusable, post_processor["processors"])), None)
    if post_processor["type"] != "TemplateProcessing":
        return None
    known = post_processor["special_tokens"]
    for piece in post_processor["single"]:
        name = piece.get("SpecialToken", {}).get("id")
        if name is not None and name not in known:
            return f"its post-processor wraps text in {name!r}, which is none of its special tokens"
    if [piece["Sequence"]["id"] for piece in post_processor["single"] if "Sequence" in piece] != ["A"]:
        return "its post-processor does not wrap one text, A, once"
    for name, token in known.items():
        if len(token["ids"]) != len(token["tokens"]):
            return f"its post-processor gives {len(token['ids'])} ids for the {len(token['tokens'])} tokens of {name!r}"
    return None


def _cached(name: str) -> Path:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(name, "tokenizer.json")
    except HFValidationError:
        found = None
    if not isinstance(found, str):
        raise XaiError(f"tokenizer {name!r} is neither a file nor in the local Hugging Face cache: give a tokenizer.json file")
    return Path(found)


def _from_folder(folder: Path) -> Tokenizer:
    return _bert(folder) if (folder / "vocab.txt").is_file() else _roberta(folder)


def _bert(folder: Path) -> Tokenizer:
    """BERT's tokenizer from its vocabulary; it lowers the case unless `tokenizer_config.json` says that it does not."""
    from tokenizers.implementations import BertWordPieceTokenizer

    settings = folder / "tokenizer_config.json"
    said = read_json(settings) if settings.is_file() else {}
    lower = said.get("do_lower_case", True) if isinstance(said, dict) else None
    if not isinstance(lower, bool):
        raise XaiError(f"{settings} does not say whether the tokenizer lowers the case (do_lower_case): give a tokenizer.json")
    tokenizer: Tokenizer = BertWordPieceTokenizer(str(folder / "vocab.txt"), lowercase=lower)._tokenizer
    return tokenizer


def _roberta(folder: Path) -> Tokenizer:
    """RoBERTa's tokenizer from its two files."""
    from tokenizers.implementations import ByteLevelBPETokenizer
    from tokenizers.processors import RobertaProcessing

    tokenizer: Tokenizer = ByteLevelBPETokenizer.from_file(str(folder / "vocab.json"), str(folder / "merges.txt"))._tokenizer
    tokenizer.post_processor = RobertaProcessing(("</s>", 2), ("<s>", 0))
    return tokenizer
