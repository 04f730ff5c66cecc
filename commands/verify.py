"""The command `xai verify`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from xai.base.arguments import MAX_THREADS
from xai.base.errors import XaiError
from xai.commands.completion import complete_file
from xai.commands.options import model_argument
from xai.models.load import find_model, load_bundle

if TYPE_CHECKING:
    from xai.models.contract import Family
    from xai.runtime.bundle.manifest import Manifest
    from xai.runtime.bundle.trial import Observed, Trial


@click.command()
@model_argument("demo|BUNDLE")
@click.option(
    "--reference",
    "--checkpoint",
    "checkpoint",
    metavar="CKPT",
    shell_complete=complete_file,
    help="Compare with this model instead of the stored outputs.",
)
@click.option(
    "--provider", "--device", default="cpu", show_default=True, metavar="NAME", help="Where it runs: cpu, cuda, or one of ONNX Runtime's."
)
@click.option("--threads", type=click.IntRange(1, MAX_THREADS), metavar="N", help="Threads of one operator.")
@click.option("--trust", is_flag=True, help="Also run the bundle's TorchScript, which is code.")
def verify(model: str, checkpoint: str | None, provider: str, threads: int | None, trust: bool) -> None:
    """Run a bundle's own questions through its graphs and compare with what the float32 model gave when it was exported."""
    from xai.runtime.bundle.manifest import PARITY
    from xai.runtime.bundle.parity import check_session, failures, parity_table
    from xai.runtime.bundle.trial import load_trial
    from xai.runtime.sessions.open import open_session

    checked = load_bundle(find_model(model))
    manifest = checked.manifest
    formats = [name for name in manifest.formats if name != "torchscript" or trust]
    if not formats:
        raise XaiError(f"bundle {model} holds only TorchScript, which is code: if you trust who made it, say so with --trust")
    trial, expected = load_trial(checked.file(PARITY), manifest.model)
    if checkpoint is not None:
        expected = _observe_checkpoint(checkpoint, manifest, trial)
    wrong = []
    for name in formats:
        session = open_session(checked, name, provider=provider, threads=threads, trust=trust)
        measures = check_session(session, trial, expected)
        click.echo(parity_table(name, measures))
        wrong += [group for group in failures(measures, manifest.precision) if group not in manifest.parity.get("forced", [])]
    if wrong:
        should = f"what {checkpoint} gives" if checkpoint is not None else "what it should on this machine"
        raise XaiError(f"bundle {model} does not give {should}: {', '.join(dict.fromkeys(wrong))}")
    skipped = [name for name in manifest.formats if name not in formats]
    click.echo(f"{model}: {', '.join(formats)} verified" + (f", {skipped[0]} not run (--trust runs it)" if skipped else ""))


def _observe_checkpoint(name: str, manifest: Manifest, trial: Trial) -> list[Observed]:
    """What a checkpoint or a folder of transformers gives for the bundle's questions.

    Raises `XaiError` where it is another model than the bundle's.
    """
    try:
        from xai.meter import demo
        from xai.models.eager import EagerSession
        from xai.models.families import find_family, load_family
        from xai.models.meter import find_order, load_meter_family
    except ModuleNotFoundError as error:
        raise XaiError(f"running a checkpoint needs {error.name}: pip install 'xai-vqa[export]'") from error
    from xai.runtime.bundle.observe import observe

    path = find_model(name).path or demo.WEIGHTS
    if path.is_dir():
        family: Family = load_family(path, find_order(manifest.model) if find_family(path).load_in_order else None)
    else:
        family = load_meter_family(path, manifest.model.image_size, manifest.heads.cross_modal)
    session = EagerSession(family if manifest.model.published.lrp else family.without_lrp(), str(path))
    if others := session.description.differences(manifest.model):
        raise XaiError(f"{path} is another model than that of the bundle ({', '.join(others)}): name the checkpoint that it was made of")
    return observe(session, trial, with_maps="maps" in manifest.graphs, bundled=False)
