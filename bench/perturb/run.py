"""The perturbation test from questions to `results.jsonl` (spec.md, Perturbation test).

A run is cut into chunks of whole images; each chunk is encoded, explained, planned and answered, and its lines are written.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xai.base.errors import XaiError
from xai.base.versions import XAI_VERSION
from xai.bench.data.sample import Sample
from xai.bench.measures.pointing import energy_inside, is_hit
from xai.bench.perturb.answering import Explained, Questions, answer_subsets, encode, explain_questions
from xai.bench.perturb.plan import MODALITIES, SIGNS, Curve, Memory, QuestionPlan, exact_counts, plan_question, published_counts
from xai.bench.perturb.results import Chunk, RunFolder, chunks, shard_chunks
from xai.bench.perturb.variants import Variant
from xai.runtime.explainer import Explainer
from xai.runtime.inputs.image import open_image, preprocess
from xai.runtime.sessions.protocol import Session
from xai.spectral.arrays import to_numpy

_DIGITS = 6
"""Of a probability in a results line."""


@dataclass(frozen=True)
class Request:
    """What to measure; `modalities` and `signs` are some of `MODALITIES` and `SIGNS`."""

    variants: tuple[Variant, ...]
    memory: Memory
    chunk: int
    """Questions that are planned and run together, at least."""
    modalities: tuple[str, ...] = MODALITIES
    signs: tuple[str, ...] = SIGNS
    seed: int = 0
    """Of the floor `random`."""

    @property
    def lines(self) -> int:
        """Lines of `results.jsonl` per question."""
        return len(self.variants) * len(self.modalities) * len(self.signs)


@dataclass(frozen=True)
class Prepared:
    """A sample ready to be run: normalised pixels (3, S, S) and token ids (T,)."""

    index: int
    """Place in the run's order, which results are sorted by."""
    sample: Sample
    pixels: NDArray[np.float32]
    ids: NDArray[np.int64]


@dataclass(frozen=True)
class Measured:
    """One question's explanations, its plan, and the logits (subsets, answers) of the subsets planned."""

    prepared: Prepared
    explained: Explained
    plan: QuestionPlan
    logits: NDArray[np.float64]


def settings(
    explainer: Explainer, model: Mapping[str, str], data: str, data_seed: int, found: Sequence[Sample], request: Request
) -> dict[str, Any]:
    """Everything that decides the results, for `run.json`; `model` says which file was loaded, with its hash."""
    return {
        "data": Path(data).name,  # the same files may lie elsewhere on another machine: the hash tells them
        "seed": data_seed,
        "questions": len(found),
        "data_sha256": _digest([s.question_id, s.image, s.question, sorted(s.label.items())] for s in found),
        "unknown_labels": sum(not known_label(s, explainer) for s in found),
        "model": dict(model),
        "session": explainer.session.name,
        "precision": explainer.session.precision,
        "image_size": explainer.session.description.image_size,
        "methods": [variant.name for variant in request.variants],
        "modalities": list(request.modalities),
        "signs": list(request.signs),
        "chunk": request.chunk,
        "memory": request.memory.limit,
        "xai": XAI_VERSION,
    }


def about() -> dict[str, str]:
    """Versions and machine, noted beside the results."""
    noted = {"python": platform.python_version(), "machine": f"{platform.system()} {platform.machine()}"}
    for name in ("numpy", "scipy", "torch", "onnxruntime", "tokenizers"):
        try:
            noted[name] = version(name)
        except PackageNotFoundError:
            continue
    return noted


def known_label(sample: Sample, explainer: Explainer) -> bool:
    """Whether the model can give any of the answers that count; if not, the question scores 0 whatever is removed."""
    return not set(sample.label).isdisjoint(explainer.answers.names)


def _digest(items: Iterable[Any]) -> str:
    digest = hashlib.sha256()
    for item in items:
        digest.update(json.dumps(item).encode())
    return digest.hexdigest()


def run(
    explainer: Explainer,
    found: Sequence[Sample],
    request: Request,
    folder: RunFolder,
    shard: tuple[int, int],
    skip_broken: bool,
    progress: Callable[[int, int], None],
) -> int:
    """Measure `found` (images side by side) into an opened `folder`, from where it stopped; returns the questions run now.

    A sample that cannot be used (its image is missing or broken, its question too long) stops the run, or becomes a line that
    says so with `skip_broken`. `progress` hears of questions done and in all, of this shard. Raises `XaiError`.
    """
    wanted = shard_chunks(chunks([sample.image for sample in found], request.chunk), shard)
    if not wanted:
        raise XaiError(f"shard {shard[0]} of {shard[1]} holds no question: split the run into fewer shards")
    done = folder.repair(wanted, request.lines)
    total = sum(chunk.stop - chunk.start for chunk in wanted)
    finished = sum(chunk.stop - chunk.start for chunk in wanted[:done])
    before = finished
    progress(finished, total)
    if done == len(wanted):
        return 0
    for chunk in wanted[done:]:
        prepared, skipped = prepare(explainer, found, chunk, skip_broken)
        lines = list(skipped)
        for measured in run_chunk(explainer.session, prepared, request):
            lines += _lines(measured, request, explainer.answers.names, explainer.session.description.grid)
        folder.append(sorted(lines, key=lambda line: line["index"]))
        finished += chunk.stop - chunk.start
        progress(finished, total)
    return finished - before


def prepare(explainer: Explainer, found: Sequence[Sample], chunk: Chunk, skip_broken: bool) -> tuple[list[Prepared], list[dict[str, Any]]]:
    """The chunk's samples that can be run, and a line for each of the others where those may be skipped."""
    prepared, skipped = [], []
    pixels: dict[str, NDArray[np.float32] | XaiError] = {}
    for index in range(chunk.start, chunk.stop):
        sample = found[index]
        try:
            if sample.image not in pixels:
                pixels[sample.image] = _pixels(explainer, sample)
            own = pixels[sample.image]
            if isinstance(own, XaiError):
                raise own
            prepared.append(Prepared(index, sample, own, explainer.encoder.encode(sample.question).ids))
        except XaiError as error:
            if not skip_broken:
                raise XaiError(f"question {sample.question_id}: {error} (--skip-broken goes on without it)") from error
            skipped.append({"index": index, "question_id": sample.question_id, "image": sample.image, "skipped": str(error)})
    return prepared, skipped


def _pixels(explainer: Explainer, sample: Sample) -> NDArray[np.float32] | XaiError:
    """An error is kept for the other questions about the image."""
    try:
        return preprocess(open_image(sample.picture()), explainer.session.description, sample.image)[0]
    except XaiError as error:
        return error


def run_chunk(session: Session, prepared: Sequence[Prepared], request: Request) -> list[Measured]:
    """Encode each image once, explain each question once, answer every distinct subset once."""
    if not prepared:
        return []
    distinct = {p.sample.image: p.pixels for p in prepared}
    rows = {image: row for row, image in enumerate(distinct)}
    tokens = encode(session, list(distinct.values()), request.memory)
    questions = Questions(tokens, np.array([rows[p.sample.image] for p in prepared]), [p.ids for p in prepared])
    seeds = [(request.seed << 32) + p.index for p in prepared]
    explained = explain_questions(session, questions, request.variants, seeds, request.memory)
    plans = [plan_question(one.relevances, request.modalities, request.signs) for one in explained]
    logits = answer_subsets(session, questions, plans, [one.logits for one in explained], request.memory)
    return [Measured(*parts) for parts in zip(prepared, explained, plans, logits, strict=True)]


def _lines(measured: Measured, request: Request, names: Sequence[str], grid: int) -> Iterator[dict[str, Any]]:
    """One question's lines, in the order modality, sign, method."""
    sample, logits, plan = measured.prepared.sample, measured.logits, measured.plan
    answers = [names[i] for i in logits.argmax(1)]
    shares = np.exp(logits - logits.max(1, keepdims=True))
    original = shares[:, logits[0].argmax()] / shares.sum(1)
    region = sample.region(grid)

    def steps(asked: Mapping[int, int], counts: Sequence[int]) -> dict[str, Any]:
        rows = [asked[count] for count in counts]
        given = [answers[row] for row in rows]
        return {
            "kept": list(counts),
            "answers": given,
            "accuracies": [sample.label.get(answer, 0.0) for answer in given],
            "probabilities": [round(float(original[row]), _DIGITS) for row in rows],
        }

    pointing = [_pointing(relevance.image, region, grid) for relevance in measured.explained.relevances]
    for modality, sign, (i, variant) in product(request.modalities, request.signs, enumerate(request.variants)):
        n = plan.tokens[modality]
        asked = plan.asked[Curve(i, modality, sign)]
        published, exact = published_counts(n), exact_counts(n)
        yield {
            "index": measured.prepared.index,
            "question_id": sample.question_id,
            "image": sample.image,
            "method": variant.method.base,
            "layers": variant.layers,
            "modality": modality,
            "sign": sign,
            **steps(asked, published),
            "exact": steps(asked, exact) if exact != published else None,
            "pointing": pointing[i] if modality == "image" else None,
            "solver": {g: status for g, status in measured.explained.flags[i].items() if g.startswith(modality)},
        }


def _pointing(relevance: Any, region: NDArray[np.float64] | None, grid: int) -> dict[str, Any] | None:
    """Whether the most relevant patch lies in the true region, and the share of relevance inside; None where it is unknown."""
    if region is None:
        return None
    values = to_numpy(relevance).reshape(grid, grid)
    return {"hit": is_hit(values, region), "energy": round(energy_inside(values, region), _DIGITS)}
