"""Seconds and peak memory of one explanation, by whoever runs the model: `python benchmarks/explain.py`.

Every row is a process of its own, so that its peak memory is its own. Rows:

- reference: what the published procedure does: eager forward, backward with all parameter gradients, and one method (`dsm_grad`)
  whose Fiedler vectors come from `scipy.sparse.linalg.eigs` on dense matrices;
- reference, blocks kept: the same with `runtime.allocator.keep_large_blocks`, which ours have and the published code does not;
- eager, onnx, torchscript: this package's sessions; one gradient method (`dsmi-grad`), and all nine methods at once.

Without --checkpoint the model has the published sizes and generated weights: time does not depend on their values. Bundles are
exported once, with their seconds and peak memory, and kept in --work.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

SIZES: dict[str, Any] = {
    "image_size": 576,
    "patch_size": 16,
    "vision_width": 768,
    "vision_layers": 11,
    "vision_mlp": 3072,
    "vocab_size": 50265,
    "max_positions": 514,
    "text_width": 768,
    "text_layers": 12,
    "text_mlp": 3072,
    "hidden": 768,
    "heads": 12,
    "layers": 6,
    "mlp": 3072,
    "answers": 3129,
}
"""METER-CLIP16-RoBERTa (docs/methods.md, Model)."""

TOKENS = 12
BUNDLES = {"float32": ("onnx", "torchscript"), "bfloat16": ("torchscript",)}
"""Formats of each bundle, which is called by its precision."""

REFERENCES = ("reference", "reference, blocks kept")
ROWS = (*REFERENCES, "eager", "onnx float32", "torchscript float32", "torchscript bfloat16")

FLOOR_GFLOP = 580
"""What one explanation costs at least at these sizes; all parameter gradients bring it to about 1,260."""


def generate(path: Path) -> None:
    """A model of `SIZES` with peaked attention."""
    import torch

    from xai.meter.checkpoint import save_meter
    from xai.meter.config import MeterConfig
    from xai.meter.model import Meter

    generator = torch.Generator().manual_seed(0)
    model = Meter(MeterConfig(**SIZES))
    for name, parameter in model.named_parameters():
        values = torch.randn(parameter.shape, generator=generator)
        if parameter.dim() == 1:
            parameter.data = 1 + 0.05 * values if name.endswith("weight") else 0.02 * values
        elif "embedding" in name:
            parameter.data = 0.05 * values
        else:
            gain = 2.5 if "query" in name or "key" in name else 0.2 if "output.dense" in name or "proj" in name else 1
            parameter.data = gain * values * parameter[0].numel() ** -0.5
    save_meter(model, path)


def inputs(size: int, vocab: int) -> tuple[np.ndarray, np.ndarray]:
    """Normalised pixels (1, 3, S, S) and token ids (T,)."""
    rng = np.random.default_rng(0)
    blocks = rng.standard_normal((1, 3, 8, 8), dtype=np.float32).repeat(-(-size // 8), 2).repeat(-(-size // 8), 3)
    ids = np.array([0, *rng.integers(4, vocab, TOKENS - 2), 2])
    return np.ascontiguousarray(blocks[:, :, :size, :size]), ids


def time_in_turn(runs: Sequence[Callable[[], object]], repeat: int) -> list[dict[str, float]]:
    """For each of `runs`: seconds of its first run, and of the best and the median of `repeat` more, made in turn with the others'."""
    seconds: list[list[float]] = [[] for _ in runs]
    for _ in range(repeat + 1):
        for run, spent in zip(runs, seconds, strict=True):
            start = time.perf_counter()
            run()
            spent.append(time.perf_counter() - start)
    return [{"first": spent[0], "best": min(spent[1:]), "median": float(np.median(spent[1:]))} for spent in seconds]


def measure_reference(model_file: Path, threads: int, repeat: int, keep_blocks: bool) -> dict[str, Any]:
    """The published procedure; `keep_blocks` lends it this package's setting of the allocator."""
    import torch

    from xai.base.process import keep_large_blocks
    from xai.bench.published import published_relevance, record, with_parameter_gradients
    from xai.meter.checkpoint import load_meter

    if keep_blocks:
        keep_large_blocks()
    torch.set_num_threads(threads)
    start = time.perf_counter()
    model = load_meter(model_file)
    loaded = time.perf_counter() - start
    pixels, ids = inputs(model.config.image_size, model.config.vocab_size)
    tensors = torch.from_numpy(pixels), torch.from_numpy(ids)[None]
    with with_parameter_gradients(model):
        (one,) = time_in_turn([lambda: published_relevance(record(model, *tensors), "dsm_grad", "first")], repeat)
    return {"load": loaded, "one": one}


def measure_session(kind: str, place: Path, threads: int, repeat: int) -> dict[str, Any]:
    """One of this package's sessions; `place` is a checkpoint for `eager` and a bundle for the others."""
    from xai.runtime.bundle.reader import read_bundle
    from xai.runtime.clock import Clock
    from xai.runtime.engine import explain_tokens
    from xai.runtime.inputs.encode import encode_images
    from xai.runtime.methods import AS_PUBLISHED, METHODS
    from xai.runtime.sessions.open import open_session
    from xai.runtime.sessions.protocol import Session

    start = time.perf_counter()
    session: Session
    if kind == "eager":
        import torch

        from xai.base.process import keep_large_blocks
        from xai.models.eager import EagerSession
        from xai.models.meter import load_meter_family

        keep_large_blocks()  # as `xai.load` does
        torch.set_num_threads(threads)
        session = EagerSession(load_meter_family(place))
    else:
        session = open_session(read_bundle(place), kind, threads=threads, trust=True)
    pixels, ids = inputs(session.description.image_size, session.description.vocab_size)
    loaded = time.perf_counter() - start
    clock = Clock()

    def run(names: list[str]) -> None:
        clock.milliseconds.clear()
        with clock.time("encode_image"):
            tokens = encode_images(session, pixels)
        explain_tokens(session, tokens, [ids], [-1], [METHODS[name] for name in names], clock)

    one, every = time_in_turn([lambda: run(["dsmi-grad"]), lambda: run(list(AS_PUBLISHED))], repeat)
    return {"load": loaded, "one": one, "all": every, "stages": dict(clock.milliseconds)}


def measure_export(model_file: Path, work: Path, precision: str) -> dict[str, Any]:
    """Write one bundle."""
    from tokenizers import Tokenizer, models

    from xai.export.bundle import export_bundle
    from xai.models.meter import load_meter_family
    from xai.runtime.answers import numbered_answers

    model = load_meter_family(model_file)
    tokenizer = Tokenizer(models.WordLevel({"<s>": 0}, unk_token="<s>"))
    answers = numbered_answers(model.description.answers)
    exported = export_bundle(model, tokenizer, answers, work / precision, formats=BUNDLES[precision], precision=precision, force=True)
    parity = {f"{form} {group}": list(measure) for form, groups in exported.parity.items() for group, measure in groups.items()}
    return {"seconds": dict(exported.seconds), "parity": parity, "bytes": sum(f.bytes for f in exported.bundle.manifest.files.values())}


def in_process(row: str, work: Path, model_file: Path, threads: int, repeat: int) -> dict[str, Any]:
    """Measure one row in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
    arguments = ["--row", row, "--work", str(work), "--checkpoint", str(model_file), "--threads", str(threads), "--repeat", str(repeat)]
    done = subprocess.run([sys.executable, __file__, *arguments], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise click.ClickException(f"{row} failed: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(row: str, work: Path, model_file: Path, threads: int, repeat: int) -> dict[str, Any]:
    """One row, in this process."""
    if row in REFERENCES:
        found = measure_reference(model_file, threads, repeat, keep_blocks=row != REFERENCES[0])
    elif row == "eager":
        found = measure_session("eager", model_file, threads, repeat)
    elif row.startswith("export "):
        found = measure_export(model_file, work, row.removeprefix("export "))
    else:
        kind, precision = row.split()
        found = measure_session(kind, work / precision, threads, repeat)
    return {**found, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6}  # kilobytes -> GB


@click.command()
@click.option("--checkpoint", type=click.Path(path_type=Path, exists=True), help="A METER checkpoint. Default: generated weights.")
@click.option("--work", type=click.Path(path_type=Path), default=Path("benchmark_work"), show_default=True, help="Where bundles are kept.")
@click.option("--threads", type=click.IntRange(1), default=2, show_default=True)
@click.option("--repeat", type=click.IntRange(1), default=3, show_default=True)
@click.option("--row", hidden=True, help="Measure this row here and print it as JSON.")
def main(checkpoint: Path | None, work: Path, threads: int, repeat: int, row: str | None) -> None:
    """Print seconds and peak memory of one explanation at full size."""
    work.mkdir(exist_ok=True)
    model_file = checkpoint or work / "model.safetensors"
    if not model_file.exists():
        generate(model_file)
    if row:
        click.echo(json.dumps(measure(row, work, model_file, threads, repeat)))
        return
    click.echo(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {threads} threads, {TOKENS} text tokens, best of {repeat}"
    )
    for name in BUNDLES:
        if not (work / name).exists():
            found = in_process(f"export {name}", work, model_file, threads, repeat)
            steps = ", ".join(f"{step} {seconds:.0f} s" for step, seconds in found["seconds"].items())
            click.echo(f"export {name}: {steps}; {found['bytes'] / 1e9:.2f} GB written, peak {found['peak']:.1f} GB of memory")
            for group, (error, cosine) in found["parity"].items():
                click.echo(f"  {group:<36} {error:9.1e} {cosine:9.6f}")
    click.echo(f"{'':<24}{'load s':>8}{'one s':>8}{'all s':>8}{'ratio':>7}{'peak GB':>9}{'GFLOP/s':>9}   stages in ms, all methods")
    base = None
    for name in ROWS:
        found = in_process(name, work, model_file, threads, repeat)
        one, every = found["one"]["best"], found.get("all", {}).get("best")
        base = base or one
        total = every or one
        stages = ", ".join(f"{stage} {ms:.0f}" for stage, ms in found.get("stages", {}).items())
        speed = f"{FLOOR_GFLOP / total:9.0f}" if every and not checkpoint else f"{'':>9}"
        shown = f"{every:8.2f}" if every else f"{'':>8}"
        click.echo(f"{name:<24}{found['load']:8.1f}{one:8.2f}{shown}{base / total:7.1f}{found['peak']:9.2f}{speed}   {stages}")


if __name__ == "__main__":
    main()
