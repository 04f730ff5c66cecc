"""Images and questions -> evidence -> relevance, in batches, whatever session runs the graphs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from xai.base.errors import XaiError
from xai.runtime.evidence import Depth, Evidence
from xai.runtime.methods import Method, Relevance
from xai.runtime.sessions.protocol import Session
from xai.spectral import FiedlerResult, Status, fiedler
from xai.spectral.arrays import Array, namespace, to_device
from xai.spectral.result import Certificate
from xai.spectral.result import Method as SolverMethod

SOLVER_TOLERANCE = 3e-5
"""Of a Fiedler vector's angle: relevances are to agree to 1e-4 of their maximum, and a digit costs one product in ten."""


@dataclass(frozen=True)
class SolverReport:
    """How one stream's graph at one layer was solved."""

    graph: str
    """Such as `image0`: stream and cross-modal layer."""
    nodes: int
    eigenvalue: float
    gap: float
    residual: float
    angle_bound: float
    """Bound on the sine of the angle to the true eigenvector; NaN where nothing was solved."""
    multiplicity: int
    components: int
    status: str
    method: str
    certificate: str
    """Why the answer is known to be right (`spectral.result.Certificate`)."""
    products: int
    """Products with the affinity that were spent."""


@dataclass(frozen=True)
class Answered:
    """One question's logits (answers,), the explained answer's id, and one relevance per method asked for."""

    logits: NDArray[np.float32]
    target: int
    relevances: tuple[Relevance, ...]
    solver: tuple[SolverReport, ...]


@dataclass
class Clock:
    """Milliseconds by stage, added up."""

    milliseconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.add(stage, 1e3 * (time.perf_counter() - start))

    def add(self, stage: str, milliseconds: float) -> None:
        self.milliseconds[stage] = self.milliseconds.get(stage, 0.0) + milliseconds


def place(session: Session, array: Array) -> Array:
    """The array where the session computes, so that all that follows stays there."""
    return to_device(array) if session.device == "cuda" else array


def encode_images(session: Session, pixels: NDArray[np.float32]) -> Array:
    """Normalised pixels (B, 3, S, S) -> image tokens (B, 1 + P, width)."""
    return session.run("encode_image", {"pixels": place(session, pixels)})["image_tokens"]


def embed_texts(session: Session, ids: NDArray[np.int64]) -> Array:
    """Token ids (B, T) -> text embeddings (B, T, width)."""
    return session.run("embed_text", {"ids": place(session, ids)})["text_embeddings"]


def pad_ids(questions: Sequence[NDArray[np.int64]]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Ids of unequal length -> ids (B, T), padded on the right, and the mask (B, T) of real tokens."""
    lengths = np.array([len(ids) for ids in questions])
    mask = np.arange(lengths.max()) < lengths[:, None]
    padded = np.full(mask.shape, 1, dtype=np.int64)  # any id does: padding is masked
    padded[mask] = np.concatenate(questions)
    return padded, mask


def explain(
    session: Session,
    image_tokens: Array,
    questions: Sequence[NDArray[np.int64]],
    targets: Sequence[int],
    methods: Sequence[Method],
    clock: Clock | None = None,
    seeds: Sequence[int] | None = None,
) -> list[Answered]:
    """Answer a batch of questions and explain each answer by every method, in one pass of the evidence graph.

    `image_tokens` (B, N, width), one row per question; `targets` are answer ids or `TOP_ANSWER`; `seeds` (B,) feed the
    method `random`, 0 where none are given.
    Raises `XaiError` where the model's output is not finite.
    """
    clock = clock or Clock()
    model = session.description
    depth = Depth(model.text_layers, model.layers)
    needs = list(dict.fromkeys(name for method in methods for name in method.needs(depth)))
    graphs = [name.removesuffix("/fiedler") for name in needs if name.endswith("/fiedler")]
    wanted = [name for name in needs if not name.endswith("/fiedler")] + [f"{graph}/features" for graph in graphs]

    ids, text_mask = pad_ids(questions)
    with clock.time("embed_text"):
        text_embeddings = embed_texts(session, ids)
    with clock.time("evidence"):
        found = session.run(
            "evidence",
            {
                "image_tokens": image_tokens,
                "image_mask": place(session, np.ones(image_tokens.shape[:2], dtype=bool)),
                "text_embeddings": text_embeddings,
                "text_mask": place(session, text_mask),
                "target": place(session, np.array(targets, dtype=np.int64)),
            },
            ["logits", "target", *wanted],
        )
    if not bool(np.isfinite(found["logits"]).all()):
        raise XaiError("the model's answer is not a number: its weights or the image hold NaN or infinity")
    lengths = text_mask.sum(1)
    with clock.time("solver"):
        solved = {graph: _solve(graph, found[f"{graph}/features"], lengths) for graph in graphs}
    answered = []
    with clock.time("methods"):
        for b, length in enumerate(lengths):
            arrays = {name: _unpad(name, found[name][b], length) for name in needs if name in found}
            for graph, result in solved.items():
                arrays[f"{graph}/fiedler"] = _nodes(graph, result.map[b], length).astype(found[f"{graph}/features"].dtype)
            evidence = Evidence(arrays, depth, seeds[b] if seeds is not None else 0)
            relevances = tuple(method.relevance(evidence) for method in methods)
            for method, relevance in zip(methods, relevances, strict=True):
                if not all(bool(namespace(part).isfinite(part).all()) for part in relevance):
                    raise XaiError(f"the relevance by {method.name} is not a number: the evidence holds NaN or infinity")
            answered.append(
                Answered(
                    logits=found["logits"][b],
                    target=int(found["target"][b]),
                    relevances=relevances,
                    solver=tuple(_report(graph, result, b, length) for graph, result in solved.items()),
                )
            )
    return answered


def _solve(graph: str, features: Array, lengths: NDArray[np.int64]) -> FiedlerResult:
    """Fiedler vectors of one stream at one layer, special tokens left out."""
    if graph.startswith("image"):
        return fiedler(features=features[:, 1:], tol=SOLVER_TOLERANCE)
    mask = np.arange(1, features.shape[1] - 1) < lengths[:, None] - 1
    return fiedler(features=features[:, 1:-1], mask=namespace(features).asarray(mask), tol=SOLVER_TOLERANCE)


def _nodes(graph: str, values: Array, length: int) -> Array:
    return values if graph.startswith("image") else values[: length - 2]


def _unpad(name: str, array: Array, length: int) -> Array:
    """Cut padded text tokens off each axis of one question's evidence."""
    layer, site, kind = name.split("/")
    queries_text = not layer.startswith("image")
    keys_text = queries_text if site == "self" else not queries_text
    if kind == "grad-cam":
        return array[:length] if keys_text else array
    array = array[:length] if queries_text else array
    return array[:, :length] if keys_text else array


def _report(graph: str, result: FiedlerResult, b: int, length: int) -> SolverReport:
    return SolverReport(
        graph=graph,
        nodes=len(_nodes(graph, result.map[b], length)),
        eigenvalue=float(result.eigenvalue[b]),
        gap=float(result.gap[b]),
        residual=float(result.residual[b]),
        angle_bound=float(result.angle_bound[b]),
        multiplicity=int(result.multiplicity[b]),
        components=int(result.n_components[b]),
        status=_name(Status(result.status[b])),
        method=_name(SolverMethod(result.method[b])),
        certificate=_name(Certificate(result.certificate[b])),
        products=int(result.products[b]),
    )


def _name(value: IntEnum) -> str:
    return value.name.lower().replace("_", "-")
