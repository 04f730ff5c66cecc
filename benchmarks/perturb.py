"""Seconds per question for the whole table of 8 methods x 4 tests: the published procedure against `xai bench perturb`.

    python benchmarks/perturb.py                                     # the demo model, every run of the published table done
    python benchmarks/perturb.py --full GOLDEN/full                  # METER at full size and 576 px, generated weights

Ours is what users run: an exported bundle in ONNX Runtime, float32, and one in TorchScript with its products in bfloat16.
At full size the published procedure's 32 runs are not done but added up from its parts, each measured once: answering and
going back through the network, each method's relevance, encoding, and answering at each number of kept tokens.
"""

from __future__ import annotations

import json
import runpy
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import cast

import click
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from tokenizers import Tokenizer, models

import xai
from xai.bench.data.datasets import load_samples
from xai.bench.data.regions import square_cells
from xai.bench.data.sample import Sample
from xai.bench.perturb.answering import PreparedQuestion, run_chunk
from xai.bench.perturb.crosscheck import cross_check
from xai.bench.perturb.plan import MODALITIES, published_counts
from xai.bench.perturb.request import FLOOR, Request, table_methods
from xai.bench.perturb.run import prepare_chunk
from xai.bench.published import answer_kept, published_relevance, record, with_parameter_gradients
from xai.export.bundle import export_bundle
from xai.meter import demo
from xai.models.contract import Family
from xai.models.eager import EagerSession
from xai.models.meter import MeterFamily, load_meter_family
from xai.runtime.answers import numbered_answers
from xai.runtime.bundle.reader import read_bundle
from xai.runtime.inputs.decode import open_image
from xai.runtime.inputs.question import EncodedQuestion, Token
from xai.runtime.inputs.resize import patch_grid, preprocess
from xai.runtime.methods import AS_PUBLISHED
from xai.runtime.sessions.memory import MOST_QUESTIONS, session_memory
from xai.runtime.sessions.open import open_session
from xai.runtime.sessions.protocol import Session
from xai.workers.crew import Chunk

RUNS_PER_METHOD = 4
"""Two modalities, two signs; each run of the published code explains and encodes anew."""


def full_size(folder: Path) -> tuple[EagerSession, list[PreparedQuestion]]:
    """The full-size golden model with its questions."""
    weights = runpy.run_path(str(folder.parent / "det_weights.py"))["state_dict"](folder)
    state = {name: torch.from_numpy(np.asarray(tensor)) for name, tensor in weights.items()}
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "meter.safetensors"
        save_file(state, path, metadata={"num_heads": "12"})
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*left out", UserWarning)  # of CLIP's text half, which METER does not use
            session = EagerSession(load_meter_family(path))
    prepared = []
    for i, case in enumerate(json.loads((folder / "cases.json").read_text())["cases"]):
        pixels, _ = preprocess(open_image(folder / case["image"]), session.description)
        sample = Sample(str(i), case["image"], case["question"], case["label"], partial(Path, folder, case["image"]))
        tokens = tuple(Token(number, "", "") for number in case["ids"])
        cells = square_cells(*patch_grid(pixels, session.description))
        prepared.append(PreparedQuestion(i, sample, (pixels,), EncodedQuestion(case["question"], tokens, ()), cells))
    return session, prepared


def export(family: Family, folder: Path, form: str, precision: str, threads: int) -> Session:
    """The session of a bundle of a network in `folder`, which is written unless it is there."""
    if not folder.exists():
        tokenizer = Tokenizer(models.WordLevel({"<s>": 0}, unk_token="<s>"))  # the questions are token ids already
        answers = numbered_answers(family.description.answers)
        export_bundle(family, tokenizer, answers, folder, formats=[form], precision=precision, force=True)
    return open_session(read_bundle(folder), form, threads=threads or None, trust=True)


def seconds(work: Callable[[], object]) -> float:
    """How long `work` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def reference_parts(session: EagerSession, prepared: PreparedQuestion) -> dict[str, float]:
    """Seconds of the published procedure's 32 runs on one question, added up from parts that are measured once."""
    model = cast(MeterFamily, session.family).model
    pixels, ids = torch.from_numpy(prepared.picture[0])[None], torch.from_numpy(prepared.ids)[None]
    names = [method.reference_name for method in table_methods(AS_PUBLISHED) if method.name != FLOOR]
    with with_parameter_gradients(model):
        start = time.perf_counter()
        found = record(model, pixels, ids)
        explaining = time.perf_counter() - start
    methods = sum(seconds(partial(published_relevance, found, name, "first")) for name in names)
    with torch.no_grad():
        start = time.perf_counter()
        image_tokens, embeddings = model.encode_image(pixels), model.embed_text(ids)
        encoding = time.perf_counter() - start
        answering = 0.0
        for modality, n in zip(MODALITIES, (session.description.grid**2, len(prepared.ids) - 2), strict=True):
            counts = published_counts(n)
            once = {k: seconds(partial(answer_kept, model, image_tokens, embeddings, modality, torch.arange(k))) for k in set(counts)}
            answering += 2 * sum(once[k] for k in counts)
    runs = RUNS_PER_METHOD * len(names)
    return {
        "explaining": runs * explaining,
        "relevances": RUNS_PER_METHOD * methods,
        "encoding": runs * encoding,
        "answering": len(names) * answering,
    }


def published_table(session: Session) -> Request:
    """The eight published methods, without the floor."""
    memory = session_memory(session)
    return Request(tuple(method for method in table_methods(AS_PUBLISHED) if method.name != FLOOR), memory, MOST_QUESTIONS)


def ours(session: Session, prepared: Sequence[PreparedQuestion]) -> tuple[float, list[NDArray[np.int64]]]:
    """Seconds per question, and every subset's answer."""
    request = published_table(session)
    start = time.perf_counter()
    found = run_chunk(session, prepared, request)
    return (time.perf_counter() - start) / len(prepared), [one.logits.argmax(1) for one in found]


def show(name: str, reference: float, own: float) -> None:
    """One row of the table."""
    click.echo(f"| {name} | {reference:.3f} | {own:.3f} | {reference / own:.1f} |")


@click.command()
@click.option("--full", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Folder of the full-size golden cases.")
@click.option("--questions", default=8, show_default=True, help="Questions that the published procedure answers.")
@click.option("--ours", "own_questions", default=64, show_default=True, help="Questions of the demo that ours answers.")
@click.option("--threads", default=0, help="Threads; 0 leaves each library's choice.")
@click.option("--work", type=click.Path(path_type=Path), help="Folder that keeps the bundles. Default: they are not kept.")
def main(full: Path | None, questions: int, own_questions: int, threads: int, work: Path | None) -> None:
    """Measure both procedures and print seconds per question for the whole table."""
    if threads:
        torch.set_num_threads(threads)
    click.echo(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    click.echo("| model | published procedure, s | ours, s | ratio |\n|---|---|---|---|")
    if full is None:
        explainer = xai.load("demo", session="eager")
        found = load_samples("scenes", own_questions)
        checked = cross_check(explainer, explainer, found[:questions], published_table(explainer.session))
        reference = checked.reference_seconds / questions
        prepared, _ = prepare_chunk(explainer, found, Chunk(0, own_questions), skip_broken=False)
        name = "demo"
        model: Family = load_meter_family(demo.WEIGHTS)
    else:
        session, prepared = full_size(full)
        prepared = prepared[:questions]
        parts = [reference_parts(session, one) for one in prepared]
        reference = sum(sum(one.values()) for one in parts) / len(parts)
        name, model = "full size", session.family
        click.echo(f"<!-- published procedure, parts of question 0: {parts[0]} -->")
    with tempfile.TemporaryDirectory() as temporary:
        folder = work or Path(temporary)
        folder.mkdir(exist_ok=True)
        exact, answers = ours(export(model, folder / f"{name} float32", "onnx", "float32", threads), prepared)
        show(f"{name}, ONNX float32", reference, exact)
        fast, rounded = ours(export(model, folder / f"{name} bfloat16", "torchscript", "bfloat16", threads), prepared)
        show(f"{name}, TorchScript bfloat16", reference, fast)
    same = np.mean([a[0] == b[0] for a, b in zip(answers, rounded, strict=True)])
    click.echo(f"\nWith nothing removed, bfloat16 gives the same answer to {same:.0%} of the questions.")


if __name__ == "__main__":
    main()
