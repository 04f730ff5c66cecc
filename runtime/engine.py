"""Images and questions -> evidence -> relevance, in batches, whatever session runs the graphs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from xai.base.errors import XaiError
from xai.runtime.description import IMAGE, TEXT, Description, picture_inputs
from xai.runtime.evidence import FEATURES, FIEDLER, Evidence, axes, part, unpad
from xai.runtime.methods import Method, Relevance
from xai.runtime.sessions.protocol import Session
from xai.runtime.target import Target, directions, explained_answers
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
    """Such as `image0`, or `joint0/image` where a layer holds both modalities (`runtime.evidence.graph_name`)."""
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


def encode_images(session: Session, *picture: NDArray[np.float32]) -> Array:
    """A batch of pictures, as the arrays of `runtime.description.picture_inputs` -> image tokens (B, N, width)."""
    names = picture_inputs(session.description.picture)
    return session.run("encode_image", {name: place(session, x) for name, x in zip(names, picture, strict=True)})["image_tokens"]


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
    targets: Sequence[Target],
    methods: Sequence[Method],
    clock: Clock | None = None,
    seeds: Sequence[int] | None = None,
    image_mask: NDArray[np.bool_] | None = None,
) -> list[Answered]:
    """Answer a batch of questions and explain each answer by every method, in one pass of the evidence graph.

    `image_tokens` (B, N, width), one row per question, and `image_mask` (B, N), false behind the tokens of a row that has fewer; `seeds`
    (B,) feed the method `random`, 0 where none are given. Raises `XaiError` where the model's output is not finite.
    """
    clock = clock or Clock()
    description = session.description
    needs = list(dict.fromkeys(name for method in methods for name in method.needs(description)))
    graphs = [name.removesuffix(f"/{FIEDLER}") for name in needs if name.endswith(f"/{FIEDLER}")]
    features = dict.fromkeys(_features(graph) for graph in graphs)
    wanted = [name for name in needs if not name.endswith(f"/{FIEDLER}")] + list(features)

    ids, text_mask = pad_ids(questions)
    masks = {TEXT: text_mask, IMAGE: np.ones(image_tokens.shape[:2], dtype=bool) if image_mask is None else image_mask}
    with clock.time("embed_text"):
        text_embeddings = embed_texts(session, ids)
    with clock.time("evidence"):
        found = session.run(
            "evidence",
            {
                "image_tokens": image_tokens,
                "image_mask": place(session, masks[IMAGE]),
                "text_embeddings": text_embeddings,
                "text_mask": place(session, text_mask),
                "direction": place(session, directions(targets, description.answers)),
            },
            ["logits", *wanted],
        )
    if not bool(np.isfinite(found["logits"]).all()):
        raise XaiError("the model's answer is not a number: its weights or the image hold NaN or infinity")
    with clock.time("solver"):
        solved = {graph: _solve(graph, found[_features(graph)], masks, description) for graph in graphs}
    explained = explained_answers(targets, found["logits"])
    answered = []
    with clock.time("methods"):
        for b in range(len(questions)):
            evidence = _collect(found, needs, solved, masks, description, b, 0 if seeds is None else seeds[b])
            solver = tuple(_report(graph, result, b, len(evidence[f"{graph}/{FIEDLER}"])) for graph, result in solved.items())
            answered.append(Answered(found["logits"][b], explained[b], _apply(methods, evidence), solver))
    return answered


def _features(graph: str) -> str:
    """The output that holds a graph's features."""
    return f"{graph.split('/')[0]}/{FEATURES}"


def _collect(
    found: Mapping[str, Array],
    needs: Sequence[str],
    solved: Mapping[str, FiedlerResult],
    masks: Mapping[str, NDArray[np.bool_]],
    description: Description,
    b: int,
    seed: int,
) -> Evidence:
    """What methods read about question `b` of a batch."""
    padded = {modality: mask.shape[1] for modality, mask in masks.items()}
    lengths = {modality: int(mask[b].sum()) for modality, mask in masks.items()}
    arrays = {name: unpad(found[name][b], axes(name, description), description, lengths, padded) for name in needs if name in found}
    for graph, result in solved.items():
        modality = _modality(graph, description)
        nodes = lengths[modality] - sum(description.special[modality])
        arrays[f"{graph}/{FIEDLER}"] = result.map[b][:nodes].astype(found[_features(graph)].dtype)
    return Evidence(arrays, description, lengths, seed)


def _apply(methods: Sequence[Method], evidence: Evidence) -> tuple[Relevance, ...]:
    relevances = tuple(method.relevance(evidence) for method in methods)
    for method, relevance in zip(methods, relevances, strict=True):
        if not all(bool(namespace(values).isfinite(values).all()) for values in relevance):
            raise XaiError(f"the relevance by {method.name} is not a number: the evidence holds NaN or infinity")
    return relevances


def _modality(graph: str, description: Description) -> str:
    """Whose features a graph joins: `joint0/text` says it, of `text0` the stream does."""
    layer, *modality = graph.split("/")
    return modality[0] if modality else description.stream(description.stream_of_layer(layer)).parts[0]


def _solve(graph: str, features: Array, masks: Mapping[str, NDArray[np.bool_]], description: Description) -> FiedlerResult:
    """Fiedler vectors of one modality at one layer, special tokens left out."""
    modality = _modality(graph, description)
    whole, special = part(description, modality, {name: mask.shape[1] for name, mask in masks.items()}), description.special[modality]
    inner = features[:, whole.start + special.before : whole.stop - special.behind]
    lengths = masks[modality].sum(1) - special.before - special.behind
    if bool((lengths == inner.shape[1]).all()):
        return fiedler(features=inner, tol=SOLVER_TOLERANCE)
    mask = np.arange(inner.shape[1]) < lengths[:, None]
    return fiedler(features=inner, mask=namespace(features).asarray(mask), tol=SOLVER_TOLERANCE)


def _report(graph: str, result: FiedlerResult, b: int, nodes: int) -> SolverReport:
    return SolverReport(
        graph=graph,
        nodes=nodes,
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
