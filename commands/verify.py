"""The command `xai verify`."""

from __future__ import annotations

from pathlib import Path

import click

from xai.base.errors import XaiError
from xai.commands.parity_table import parity_table


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--checkpoint", type=click.Path(path_type=Path), metavar="CKPT", help="Compare with this model instead of the stored outputs."
)
@click.option(
    "--provider", "--device", default="cpu", show_default=True, metavar="NAME", help="Where it runs: cpu, cuda, or one of ONNX Runtime's."
)
@click.option("--threads", type=click.IntRange(1), metavar="N", help="Threads of one operator.")
@click.option("--trust", is_flag=True, help="Also run the bundle's TorchScript, which is code.")
def verify(bundle: Path, checkpoint: Path | None, provider: str, threads: int | None, trust: bool) -> None:
    """Run a bundle's own questions through its graphs and compare with what float32 METER gave when it was exported."""
    from xai.runtime.bundle.manifest import PARITY
    from xai.runtime.bundle.reader import read_bundle
    from xai.runtime.description import square
    from xai.runtime.parity import check, failures, load_trial, observe
    from xai.runtime.sessions.choose import open_session

    checked = read_bundle(bundle)
    manifest = checked.manifest
    with_maps = "maps" in manifest.graphs
    formats = [name for name in manifest.formats if name != "torchscript" or trust]
    if not formats:
        raise XaiError(f"bundle {bundle} holds only TorchScript, which is code: if you trust who made it, say so with --trust")
    trial, expected = load_trial(checked.file(PARITY))
    if checkpoint is not None:
        try:
            from xai.models.eager import EagerSession
            from xai.models.meter import load_meter_family
        except ModuleNotFoundError as error:
            raise XaiError(f"running a checkpoint needs {error.name}: pip install 'xai-vqa[export]'") from error
        expected = observe(EagerSession(load_meter_family(checkpoint, square(manifest.model).size)), trial, with_maps)
    wrong = []
    for name in formats:
        session = open_session(checked, name, provider=provider, threads=threads, trust=trust)
        measures = check(session, trial, expected, with_maps)
        click.echo(parity_table(name, measures))
        wrong += [group for group in failures(measures, manifest.precision) if group not in manifest.parity.get("forced", [])]
    if wrong:
        raise XaiError(f"bundle {bundle} does not give what it should on this machine: {', '.join(dict.fromkeys(wrong))}")
    skipped = [name for name in manifest.formats if name not in formats]
    click.echo(f"{bundle}: {', '.join(formats)} verified" + (f", {skipped[0]} not run (--trust runs it)" if skipped else ""))
