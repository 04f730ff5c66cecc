"""Results folders without a model: lines that a run could have written, from a seed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xai.bench.perturb.plan import exact_counts, published_counts
from xai.bench.perturb.request import cut_into_chunks, join_chunks, result_columns, shard_chunks
from xai.bench.perturb.run_folder import RunFolder, RunRecord
from xai.workers.crew import Chunk

SETTINGS: dict[str, Any] = {
    "data": "scenes",
    "seed": 1,
    "questions": 7,
    "data_sha256": "ab",
    "unknown_labels": 0,
    "model": {"name": "demo", "sha256": "cd"},
    "session": "onnx",
    "precision": "float32",
    "image_size": 96,
    "methods": ["dsmi", "random"],
    "modalities": ["image", "text"],
    "signs": ["positive", "negative"],
    "chunk": 2,
    "memory": 2**32,
    "xai": "0.1.0",
}
EVERY = cut_into_chunks(list("abcdefg"), 2)
SKIPPED = 3
"""The question that could not be used."""


def question_lines(index: int, settings: dict[str, Any] = SETTINGS) -> list[dict[str, Any]]:
    """All lines of a question, or the one that says why there are none."""
    first = {"index": index, "question_id": str(index), "image": "abcdefg"[index % 7]}
    if index == SKIPPED:
        return [first | {"skipped": "é.png does not exist"}]
    rng = np.random.default_rng(index)

    def steps(counts: Sequence[int]) -> dict[str, Any]:
        accuracies = [1.0, *(float(v) for v in rng.integers(0, 4, 8) / 3)]
        probabilities = [round(float(v), 6) for v in rng.random(9)]
        return {"kept": list(counts), "answers": ["é", *"abcdefgh"], "accuracies": accuracies, "probabilities": probabilities}

    found: list[dict[str, Any]] = []
    for key, _ in result_columns(settings):
        if "measure" in key:
            found.append({**first, **key, **measured(key["measure"], rng, found[0]["probabilities"][0], settings)})
            continue
        modality, method = key["modality"], key["method"]
        n = 36 if modality == "image" else 10
        exact = exact_counts(n) != published_counts(n)
        found.append(
            {
                **first,
                **key,
                **steps(published_counts(n)),
                "exact": steps(exact_counts(n)) if exact else None,
                "pointing": {"hit": True, "energy": 0.25} if modality == "image" else None,
                "solver": {"image0": "degenerate"} if method == "dsmi" and modality == "image" else {},
            }
        )
    return found


def measured(measure: str, rng: np.random.Generator, whole: float, settings: dict[str, Any]) -> dict[str, Any]:
    """What a line of a further measure could say, of 36 patches and one word."""
    p = [round(float(v), 6) for v in rng.random(12)]
    match measure:
        case "synergy":
            return {"whole": whole, "nothing": p[0], "insertion": [0.0, *p[1:10], p[11]], "deletion": [0.0, *p[:9], p[11]]}
        case "saco":
            return {"groups": {"image": {"sums": sorted(p[:10], reverse=True), "drops": p[1:11]}, "text": None}}
        case "contrast":
            return {"target": True, "distances": {"image": {"spearman": p[0], "cosine": p[1]}, "text": None}}
        case "prior":
            return {"whole": whole, "no_image": p[0], "no_text": p[1]}
        case "truth":
            found = {"hit": True, "mass": p[0], "rank": p[1]}
            return {"right": True, "size": 0.05, "region": found, "between": "affinity", "words": {"1": found, "2": found}}
        case "cost":
            return {"subsets": {name: {"asked": 12, "new": 9 - i, "tokens": 99} for i, name in enumerate(settings["measures"])}}
        case _:
            raise AssertionError(measure)


def chunk_lines(chunk: Chunk, settings: dict[str, Any] = SETTINGS) -> list[dict[str, Any]]:
    return [line for index in range(chunk.start, chunk.stop) for line in question_lines(index, settings)]


def record(shard: tuple[int, int] = (1, 1), **settings: Any) -> RunRecord:
    return RunRecord(SETTINGS | settings, shard, join_chunks(shard_chunks(EVERY, shard)), {"python": "3"})


def write_run(path: Path, shard: tuple[int, int] = (1, 1), chunks: int | None = None) -> RunFolder:
    """A shard with its first `chunks`, or all of it."""
    folder, asked = RunFolder(path), record(shard)
    with folder.writing(asked, resume=False):
        for chunk in shard_chunks(EVERY, shard)[:chunks]:
            folder.append(chunk_lines(chunk), asked)
    return folder
