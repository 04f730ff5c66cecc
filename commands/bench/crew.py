"""The options that say who measures the chunks of a run."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from xai.base.arguments import GIBIBYTE, MAX_THREADS
from xai.base.messages import LOG
from xai.commands.options import AUTO, cores_hold, worker_count
from xai.models.load import ModelOptions

if TYPE_CHECKING:
    from xai.bench.data.sample import Sample
    from xai.bench.perturb.run import Measuring
    from xai.runtime.explainer import Explainer
    from xai.workers.crew import Crew

_DEVICE = re.compile(r"cuda:(\d{1,4})")

Command = Callable[..., Any]


@dataclass(frozen=True)
class CrewOptions:
    """What the options say: `workers` processes (None: this one), and GPUs by number, each worker on one of them; or the address of a
    Ray cluster, empty for one that is found or begun here."""

    workers: int | Literal["auto"] | None
    devices: tuple[int, ...]
    ray: str | None = None
    fitting: int = MAX_THREADS
    """Workers that the memory holds."""

    def model(self, model: ModelOptions) -> ModelOptions:
        """The model as it is opened. Raises `click.UsageError` where the devices contradict --provider or --workers."""
        if self.ray is not None and self.devices:
            raise click.UsageError("--devices names this machine's GPUs: with --ray, name --provider cuda alone")
        if not self.devices:
            return model
        if model.provider not in ("cpu", "cuda"):
            raise click.UsageError(f"--devices names CUDA's: leave --provider {model.provider} out")
        if isinstance(self.workers, int) and self.workers < len(self.devices):
            raise click.UsageError(f"--workers {self.workers} leaves one of {len(self.devices)} devices without work: name fewer devices")
        return replace(model, provider="cuda")

    def within(self, explainer: Explainer, memory: int | None, samples: Sequence[Sample], chunk: int) -> CrewOptions:
        """The same, with the workers that `memory` bytes hold, or where None the machine's memory, as many as are asked for at least.

        Raises `BadInput` where fewer fit into `memory`, or nobody knows what the session takes.
        """
        from xai.bench.perturb.request import cut_into_chunks
        from xai.runtime.sessions.memory import check_bounded, check_fits, check_workers, perturbing_takes, process_takes

        alone = self.ray is not None or (self.workers is None and not self.devices)  # one process here, or on every node
        if alone and memory is None:
            return self
        session, driver = explainer.session, process_takes()
        most = max(each.stop - each.start for each in cut_into_chunks([sample.image for sample in samples], chunk))
        worker = driver + perturbing_takes(session, most, explainer.encoder.longest(sample.question for sample in samples))
        count = self.workers if isinstance(self.workers, int) else max(1, len(self.devices))
        if memory is None:
            fitting = max(1, (os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") - driver) // worker)
            if count > fitting and not self.devices:
                LOG.warning("%d workers of %.2g GB each are more than this machine has: take fewer", count, worker / GIBIBYTE)
            return replace(self, fitting=fitting)
        check_bounded(session)
        if alone:
            check_fits(memory, worker, f"that measuring by {session.source} needs")
            return self
        return replace(self, fitting=check_workers(memory, driver, worker, count))

    def crew(self, model: ModelOptions, explainer: Explainer, measuring: Measuring, chunks: int, needs: tuple[Path, ...]) -> Crew:
        """Those who measure `chunks`, for which they read the paths `needs`. Raises `BadInput` for a device that is not there."""
        from xai.workers.alone import Alone
        from xai.workers.local import LocalCrew, visible_device

        if self.ray is not None:
            from xai.workers.ray import RayCrew

            most = self.workers if isinstance(self.workers, int) else chunks
            return RayCrew(self.ray, model, measuring, max(1, min(most, chunks)), model.threads or 1, needs)
        if self.workers is None and not self.devices:
            return Alone(explainer, measuring)
        threads = model.threads or 1
        wanted = self.workers if isinstance(self.workers, int) else len(self.devices) or min(cores_hold(threads), self.fitting)
        if self.workers != AUTO and chunks < wanted:
            LOG.warning("there are %d chunks for %d workers: a smaller --batch cuts more of them", chunks, wanted)
        devices = [visible_device(number) for number in self.devices]
        return LocalCrew(model, measuring, max(1, min(wanted, chunks)), threads, devices)


def _devices(_: click.Context, __: click.Parameter, value: str | None) -> tuple[int, ...]:
    """A callback: GPUs by comma, each once."""
    names = [name.strip() for name in value.split(",")] if value is not None else []
    found = [int(match[1]) for match in map(_DEVICE.fullmatch, names) if match]
    if len(found) < len(names) or len(set(found)) < len(found):
        raise click.BadParameter(f"{value!r} is not cuda:0 or several such names by comma, each once")
    return tuple(found)


def crew_options(command: Command) -> Command:
    """Gives a command the options that say who measures; it receives them together, as the argument `crew`."""

    @click.option(
        "--workers",
        callback=worker_count,
        metavar="N|auto",
        help="Processes that share the chunks, each with --threads (default 1); auto: what the cores hold. Default: this process alone.",
    )
    @click.option(
        "--devices", callback=_devices, metavar="cuda:0,cuda:1", help="GPUs that the workers run on in turn. Default: as --provider says."
    )
    @click.option(
        "--ray",
        is_flag=False,
        flag_value="",
        metavar="[ADDRESS]",
        help="Measure on a Ray cluster: at ADDRESS, or one that is found or begun here.",
    )
    @functools.wraps(command)
    def collected(**given: Any) -> Any:
        return command(crew=CrewOptions(given.pop("workers"), given.pop("devices"), given.pop("ray")), **given)

    return collected
