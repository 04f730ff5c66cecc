"""The options that name a model and what runs it, spelled once for every command that runs one. Imports nothing heavy."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from xai.base.arguments import GIBIBYTE, MAX_THREADS
from xai.base.messages import LOG
from xai.commands.completion import complete_file, complete_model
from xai.commands.finite import Finite
from xai.models.load import LAYER_ORDERS, MODEL_VARIABLE, ONLY_CHECKPOINTS, ModelOptions, default_model

if TYPE_CHECKING:
    from xai.runtime.explainer import Explainer

MODEL_METAVAR = "demo|BUNDLE|CHECKPOINT"
AUTO: Literal["auto"] = "auto"
"""As many workers as the cores hold."""
CHECKPOINT_ONLY = "Only with a checkpoint:"
"""Begins the help of an option that a bundle and the demo model refuse."""

_NAMES = {
    "model": click.option(
        "--model",
        metavar=MODEL_METAVAR,
        shell_complete=complete_model,
        help=f"The model: demo, the folder of an exported bundle, a METER checkpoint (.ckpt, .pt, .safetensors), or a name that xai pull "
        f"has fetched.  "
        f"[env: {MODEL_VARIABLE}; default: demo]",
    ),
    "bundle": click.option("-e", "--bundle", hidden=True, metavar="BUNDLE", help="Former name of --model."),
    "checkpoint": click.option("--checkpoint", hidden=True, metavar="CHECKPOINT", help="Former name of --model."),
}
_REFERENCE = click.option(
    "--reference",
    metavar="CHECKPOINT",
    shell_complete=complete_file,
    help="The checkpoint that a bundle was made of: --cross-check runs the published procedure on it. "
    "--tokenizer, --answers, --image-size and --heads are then its own.",
)
_OPTIONS = {
    "tokenizer": click.option(
        "--tokenizer",
        metavar="FILE|NAME",
        shell_complete=complete_file,
        help=f"{CHECKPOINT_ONLY} tokenizer.json, its folder, or a model in the local cache.  [default: roberta-base]",
    ),
    "answers": click.option(
        "--answers",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help=f"{CHECKPOINT_ONLY} answer names, a JSON list, a JSON object id -> answer, or a text file.",
    ),
    "image_size": click.option(
        "--image-size",
        type=click.IntRange(1),
        metavar="S",
        help=f"{CHECKPOINT_ONLY} side of the model's input in pixels. Default: the checkpoint's.",
    ),
    "heads": click.option(
        "--heads",
        type=click.IntRange(1),
        metavar="N",
        help=f"{CHECKPOINT_ONLY} cross-modal attention heads, where it does not say how many.",
    ),
    "layer_order": click.option(
        "--layer-order",
        type=click.Choice(LAYER_ORDERS),
        help="Only with a METER in the layout of Hugging Face: how a pair's two layers run. Default: sequential, with a warning.",
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
    "threads": click.option("--threads", type=click.IntRange(1, MAX_THREADS), metavar="N", help="Threads of one operator."),
    "trust": click.option("--trust", is_flag=True, help="Run the bundle's TorchScript, which is code."),
}

Command = Callable[..., Any]

MOST_MEMORY = 2**20
"""Gibibytes that can be asked for: more than any machine has."""

memory_option = click.option(
    "--memory",
    type=Finite(0, MOST_MEMORY, min_open=True),
    callback=lambda _, __, value: None if value is None else round(value * GIBIBYTE),
    metavar="GB",
    help="Most memory to hold, files that are mapped not counted; refused where it is too little. Default: no bound.",
)
"""Bounds what a command holds; it receives bytes, or None, as the argument `memory`."""


def model_options(without: Collection[str] = (), reference: bool = False) -> Callable[[Command], Command]:
    """Gives a command the options that name a model and say what runs it, but for those named in `without`.

    It receives them together, as the argument `model`. With `reference` it also takes a checkpoint beside a bundle, as the argument
    `reference` (None where none is named), which the options of a checkpoint then belong to.
    """
    taken = {name: option for name, option in _OPTIONS.items() if name not in without}
    options = [*_NAMES.values(), *([_REFERENCE] if reference else []), *taken.values()]

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def collected(**given: Any) -> Any:
            names = {name: given.pop(name) for name in _NAMES}
            beside = given.pop("reference") if reference else None
            if reference and names["checkpoint"] is not None and (names["bundle"] or names["model"]) is not None:
                LOG.warning("beside a bundle, --checkpoint is now --reference")
                beside = names.pop("checkpoint")
            model = ModelOptions(chosen_model(**names), **{name: given.pop(name) for name in taken})
            if reference:
                given["reference"] = None
            if beside is not None:
                given["reference"] = replace(model, model=beside, session="eager", provider="cpu", allow_fallback=False, trust=False)
                model = replace(model, tokenizer=None, answers=None, image_size=None, heads=None, layer_order=None)
            return command(model=model, **given)

        for option in reversed(options):
            collected = option(collected)
        return collected

    return decorate


def checkpoint_options(command: Command) -> Command:
    """Gives a command the options of a checkpoint or a folder, each as an argument of its own."""
    for name in reversed((*ONLY_CHECKPOINTS, "layer_order")):
        command = _OPTIONS[name](command)
    return command


def model_argument(metavar: str = MODEL_METAVAR) -> Callable[[Command], Command]:
    """Gives a command that is about one model its name, as an argument that may be left out or as --model; it receives `model`."""

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def collected(**given: Any) -> Any:
            argument, option = given.pop("argument"), given.pop("model")
            if argument is not None and option is not None:
                raise click.UsageError(f"name one model, not {argument} and {option}")
            return command(model=argument or option or default_model(), **given)

        collected = _NAMES["model"](collected)
        return click.argument("argument", required=False, metavar=f"[{metavar}]", shell_complete=complete_model)(collected)

    return decorate


def chosen_model(model: str | None, bundle: str | None = None, checkpoint: str | None = None) -> str:
    """The one model that --model or one of its former names says. Raises `click.UsageError` where two do."""
    given = {option: value for option, value in (("--model", model), ("-e", bundle), ("--checkpoint", checkpoint)) if value is not None}
    if len(given) > 1:
        raise click.UsageError(f"name one model, not two ({' and '.join(given)})")
    for option, value in given.items():
        if option != "--model":
            LOG.warning("%s is now --model, and goes in the next release", option)
        return value
    return default_model()


def cores_hold(threads: int) -> int:
    """Count the processes of so many threads that the cores hold, one at least."""
    return max(1, len(os.sched_getaffinity(0)) // threads)


def worker_count(_: click.Context, __: click.Parameter, value: str | None) -> int | Literal["auto"] | None:
    """A callback: a number of workers, or `auto`; None where neither is given."""
    if value is None or value == AUTO:
        return AUTO if value else None
    if not (value.isdecimal() and 1 <= int(value) <= MAX_THREADS):
        raise click.BadParameter(f"{value!r} is not a number from 1 to {MAX_THREADS}, or auto")
    return int(value)


def open_within(
    model: ModelOptions, memory: int | None, rows: int, questions: Iterable[str], graphs: int, once: Sequence[str] = ()
) -> Explainer:
    """The explainer of a process that explains so many of the questions at once, `graphs` as `explaining_takes` takes it, `once` as `load`.

    Raises as `ModelOptions.open`, and `BadInput` where it is not known to stay below `memory` bytes.
    """
    explainer = model.open(once)
    if memory is not None:
        from xai.runtime.sessions.memory import check_explaining

        check_explaining(explainer.session, memory, rows, explainer.encoder.longest(questions), graphs)
    return explainer
