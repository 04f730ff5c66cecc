"""What a run of the perturbation test is asked for, and how it is cut into chunks and shards."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from xai.base.records import plain
from xai.base.versions import XAI_VERSION
from xai.base.wording import one_line
from xai.bench.data.boxes import BoxSource
from xai.bench.data.sample import Sample
from xai.bench.measures.measure import Key, LineKind, Scope
from xai.bench.measures.table import FIRST, question_keys
from xai.bench.perturb.plan import MODALITIES, SIGNS
from xai.runtime.description import Description, Square
from xai.runtime.explainer import Explainer
from xai.runtime.methods import METHODS, Method, find_methods
from xai.runtime.sessions.memory import Memory
from xai.workers.crew import Chunk

FLOOR = "random"
"""The method that every table shows: what no knowledge of the model is worth."""


@dataclass(frozen=True)
class Request:
    """What to measure; `modalities` and `signs` are some of `MODALITIES` and `SIGNS`."""

    methods: tuple[Method, ...]
    memory: Memory
    chunk: int
    """Questions that are planned and run together, at least."""
    modalities: tuple[str, ...] = MODALITIES
    signs: tuple[str, ...] = SIGNS
    seed: int = 0
    """Orders the questions, or names the scenes, and feeds the floor `random`."""
    boxes: BoxSource | None = None
    """Of a model that takes boxes, where its images' box features lie; None where the images of the data are files of them."""
    as_published: bool = False
    """Explain what the model's published figures explained (`runtime.engine.explain_as_published`), not always its answer."""
    measures: tuple[str, ...] = (FIRST,)
    """Some of `MEASURES` as `find_measures` gives them."""
    shown: int = 0
    """Questions, from the first, that the report shows one by one. No result depends on it."""

    @property
    def scope(self) -> Scope:
        """Say what every measure is asked for."""
        return Scope(tuple(method.name for method in self.methods), self.modalities, self.signs)


def table_methods(names: Sequence[str]) -> tuple[Method, ...]:
    """Find the methods of a table, each once, the floor last; `all` stands for every method that every model offers.

    Raises `BadInput` on an unknown name, with the valid ones, and on none.
    """
    found = [method for method in find_methods(names) if method.name != FLOOR]
    return (*found, METHODS[FLOOR])


def cut_into_chunks(images: Sequence[str], size: int) -> list[Chunk]:
    """Cut a run of questions with these images, equal ones side by side, into chunks of at least `size` questions.

    No image is in two chunks, so that none is encoded twice; only the last chunk may be smaller.
    """
    found, start = [], 0
    for i in range(1, len(images) + 1):
        if i == len(images) or (i - start >= size and images[i] != images[i - 1]):
            found.append(Chunk(start, i))
            start = i
    return found


def shard_chunks(every: Sequence[Chunk], shard: tuple[int, int]) -> list[Chunk]:
    """Pick the chunks of shard i of n, i counted from 1."""
    i, n = shard
    return list(every[i - 1 :: n])


def join_chunks(chunks: Sequence[Chunk]) -> tuple[Chunk, ...]:
    """Join ascending chunks that follow on each other."""
    joined: list[Chunk] = []
    for chunk in chunks:
        if joined and joined[-1].stop == chunk.start:
            joined[-1] = Chunk(joined[-1].start, chunk.stop)
        else:
            joined.append(chunk)
    return tuple(joined)


def result_columns(settings: Mapping[str, Any]) -> list[tuple[Key, LineKind]]:
    """List the lines of one question of a run, in their order, with what each holds."""
    scope = Scope(*(tuple(settings[name]) for name in ("methods", "modalities", "signs")))
    return question_keys(scope, settings.get("measures", (FIRST,)))


def describe_request(
    explainer: Explainer, model: Mapping[str, str], data: str, samples: Sequence[Sample], request: Request
) -> dict[str, Any]:
    """Say everything that decides the results, for `run.json`; `model` says which file was loaded, with its hash."""
    return {
        "data": one_line(Path(data).name),  # the same files may lie elsewhere on another machine: the hash tells them
        "seed": request.seed,
        "questions": len(samples),
        "data_sha256": hash_samples(samples),
        "unknown_labels": sum(not _is_label_known(sample, explainer) for sample in samples),
        "model": {name: one_line(value) for name, value in model.items()},
        "session": explainer.session.name,
        "precision": explainer.session.precision,
        **_describe_picture(explainer.session.description),
        "methods": [method.name for method in request.methods],
        "modalities": list(request.modalities),
        "signs": list(request.signs),
        **({"measures": list(request.measures)} if request.measures != (FIRST,) else {}),
        "chunk": request.chunk,
        "memory": request.memory.limit,
        "xai": XAI_VERSION,
        **({"as_published": True} if request.as_published else {}),
        **({"boxes_sha256": request.boxes.sha256(sample.image for sample in samples)} if request.boxes else {}),
    }


def _describe_picture(description: Description) -> dict[str, Any]:
    """How large a square is, or, of a family that takes no squares, its name and its recipe of a picture."""
    if isinstance(description.picture, Square):
        return {"image_size": description.picture.size}
    return {"family": description.family, "picture": plain(description.picture)}


def describe_machine() -> dict[str, str]:
    """Say which versions run on what machine, to be noted beside the results."""
    noted = {"python": platform.python_version(), "machine": f"{platform.system()} {platform.machine()}"}
    for name in ("numpy", "scipy", "torch", "onnxruntime", "tokenizers"):
        try:
            noted[name] = version(name)
        except PackageNotFoundError:
            continue
    return noted


def _is_label_known(sample: Sample, explainer: Explainer) -> bool:
    """Say whether the model can give any of the answers that count; if not, the question scores 0 whatever is removed."""
    return not set(sample.label).isdisjoint(explainer.answers.names)


def hash_samples(samples: Sequence[Sample]) -> str:
    """Compute the SHA-256 of questions in their order, in hexadecimal."""
    digest = hashlib.sha256()
    for sample in samples:
        digest.update(json.dumps([sample.question_id, sample.image, sample.question, sorted(sample.label.items())]).encode())
    return digest.hexdigest()
