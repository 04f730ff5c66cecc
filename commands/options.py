"""The options that name a model and what runs it, spelled once for every command that runs one. Imports nothing heavy."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import click

from xai.models.load import ModelOptions

_OPTIONS = {
    "model": click.option(
        "--model",
        type=click.Path(path_type=Path),
        metavar="FOLDER",
        help="A ViLT or LXMERT as transformers saves it; or a bundle or checkpoint.",
    ),
    "bundle": click.option(
        "-e", "--bundle", type=click.Path(path_type=Path), metavar="BUNDLE", help="Exported model. Default: the demo model."
    ),
    "checkpoint": click.option(
        "--checkpoint", type=click.Path(path_type=Path), help="METER checkpoint (.ckpt, .pt, .safetensors), in place of a bundle."
    ),
    "tokenizer": click.option(
        "--tokenizer", metavar="FILE|NAME", help="tokenizer.json, its folder, or a model in the local cache.  [default: roberta-base]"
    ),
    "answers": click.option(
        "--answers", type=click.Path(path_type=Path), help="Answer names: JSON list, JSON object id -> answer, or text file."
    ),
    "image_size": click.option(
        "--image-size", type=click.IntRange(1), metavar="S", help="Side of the model's input in pixels. Default: the checkpoint's."
    ),
    "session": click.option(
        "--session", type=click.Choice(["onnx", "torchscript", "eager"]), help="What runs the model. Default: what fits the model."
    ),
    "provider": click.option(
        "--provider",
        "--device",
        default="cpu",
        show_default=True,
        metavar="NAME",
        help="Where it runs: cpu, cuda, or one of ONNX Runtime's.",
    ),
    "allow_fallback": click.option("--allow-fallback", is_flag=True, help="Let ONNX Runtime take another provider than the one asked for."),
    "threads": click.option("--threads", type=click.IntRange(1), metavar="N", help="Threads of one operator."),
    "trust": click.option("--trust", is_flag=True, help="Run the bundle's TorchScript, which is code."),
}


def model_options(without: Collection[str] = ()) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Gives a command these options, but for those named; it receives them together, as the argument `model`."""
    taken = {name: option for name, option in _OPTIONS.items() if name not in without}

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def collected(**given: Any) -> Any:
            model = ModelOptions(**{name: given.pop(name) for name in taken})
            if model.bundle and model.checkpoint:
                raise click.UsageError("name a bundle or a checkpoint, not both")
            return command(model=model, **given)

        for option in reversed(taken.values()):
            collected = option(collected)
        return collected

    return decorate
