"""Image tokens and questions -> evidence -> relevance, in batches, whatever session runs the graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xai.base.errors import XaiError
from xai.runtime.clock import Clock
from xai.runtime.description import IMAGE, TEXT, Description
from xai.runtime.evidence import Evidence, features_name, fiedler_name, from_model, solved_graphs, unpad
from xai.runtime.inputs.encode import EncodedTexts, embed_texts, place
from xai.runtime.methods import Method, Relevance
from xai.runtime.sessions.protocol import Session
from xai.runtime.solver import Solved, SolverReport, solve
from xai.runtime.target import Target, directions, explained_answers
from xai.spectral.arrays import Array, namespace, to_numpy


@dataclass(frozen=True)
class Answered:
    """One question's logits (answers,), the explained answer's id, and one relevance per method asked for."""

    logits: NDArray[np.float32]
    target: int
    relevances: tuple[Relevance, ...]
    solver: tuple[SolverReport, ...]
    word_regions: tuple[Array, ...] = ()
    """One (T, P) per method, what goes with each text token of the picture; none where nobody asked."""
    before: NDArray[np.float32] | None = None
    """The logits with nothing left out, where something was."""


class Places(NamedTuple):
    """The tokens that stay of one question, special ones included, by place."""

    image: NDArray[np.int64]
    text: NDArray[np.int64]


class Read(NamedTuple):
    """What the evidence graph gave for a batch, and the graphs solved of it."""

    arrays: dict[str, Array]  # with logits
    solved: list[Solved]
    description: Description
    masks: Mapping[str, NDArray[np.bool_]]  # by modality (B, tokens), true where a token is real
    targets: list[int]
    word_regions: bool
    before: NDArray[np.float32] | None


def explain_tokens(
    session: Session,
    image_tokens: Array,
    questions: Sequence[NDArray[np.int64]],
    targets: Sequence[Target],
    methods: Sequence[Method],
    clock: Clock | None = None,
    seeds: Sequence[int] | None = None,
    image_mask: NDArray[np.bool_] | None = None,
    word_regions: bool = False,
    stay: Places | None = None,
) -> list[Answered]:
    """Answer a batch of questions and explain each answer by every method, in one pass of the evidence graph.

    `image_tokens` (B, N, width), one row per question, and `image_mask` (B, N), false behind the tokens of a row that has fewer; `targets`
    as `runtime.target` says; `seeds` (B,) feed the method `random`, 0 where none are given.
    With `word_regions` each method also says what goes with each text token. Of a single question, all tokens but those that `stay` may be
    left out: what is found is then of these, and `before` is what the whole says.
    Raises `XaiError` where the model's output is not finite.
    """
    clock = clock or Clock()
    description = session.description
    readers = [read for method in methods for read in (method.needs, *([method.between.needs] if word_regions else []))]
    needs = list(dict.fromkeys(name for read in readers for name in read(description)))
    before = None
    with clock.time("embed_text"):
        texts = embed_texts(session, questions)
    with clock.time("evidence"):
        if stay is not None:
            before = _answer(session, image_tokens, texts)
            xp = namespace(image_tokens)
            image_tokens = image_tokens[:, xp.asarray(stay.image)]
            texts = EncodedTexts(texts.embeddings[:, xp.asarray(stay.text)], texts.mask[:, stay.text])
        masks = {TEXT: texts.mask, IMAGE: np.ones(image_tokens.shape[:2], dtype=bool) if image_mask is None else image_mask}
        found = _evidence(session, image_tokens, masks[IMAGE], texts, targets, from_model(needs))
    with clock.time("solver"):
        solved = [solve(graph, found[features_name(graph)], description, masks) for graph in solved_graphs(needs)]
    with clock.time("methods"):
        read = Read(found, solved, description, masks, explained_answers(targets, found["logits"]), word_regions, before)
        return [
            _answered(session, b, _of_one(b, needs, read, seeds[b] if seeds is not None else 0), methods, read)
            for b in range(len(questions))
        ]


def _answer(session: Session, image_tokens: Array, texts: EncodedTexts) -> NDArray[np.float32]:
    """The logits (answers,) of a single question."""
    masks = {"image_mask": np.ones(image_tokens.shape[:2], dtype=bool), "text_mask": texts.mask}
    inputs = {name: place(session, mask) for name, mask in masks.items()}
    logits = session.run("answer", {**inputs, "image_tokens": image_tokens, "text_embeddings": texts.embeddings}, ["logits"])["logits"]
    check_logits(session, logits)
    found: NDArray[np.float32] = to_numpy(logits[0])
    return found


def _evidence(
    session: Session,
    image_tokens: Array,
    image_mask: NDArray[np.bool_],
    texts: EncodedTexts,
    targets: Sequence[Target],
    names: Sequence[str],
) -> dict[str, Array]:
    """The outputs named, with logits."""
    inputs = {
        "image_tokens": image_tokens,
        "image_mask": place(session, image_mask),
        "text_embeddings": texts.embeddings,
        "text_mask": place(session, texts.mask),
        "direction": place(session, directions(targets, session.description.answers)),
    }
    found = session.run("evidence", inputs, ["logits", *names])
    check_logits(session, found["logits"])
    return found


def check_logits(session: Session, logits: Array) -> None:
    """Raises `XaiError`, which names the model, where an answer's logits are not finite."""
    if not bool(namespace(logits).isfinite(logits).all()):
        raise XaiError(f"the answer of {session.source} is not a number: the model or the image holds NaN or infinity")


def _of_one(b: int, needs: Sequence[str], read: Read, seed: int) -> Evidence:
    """The evidence of question b."""
    padded = {modality: mask.shape[1] for modality, mask in read.masks.items()}
    lengths = {modality: int(mask[b].sum()) for modality, mask in read.masks.items()}
    arrays = {name: unpad(name, read.arrays[name][b], read.description, lengths, padded) for name in needs if name in read.arrays}
    return Evidence(arrays | {fiedler_name(one.graph): one.fiedler(b) for one in read.solved}, read.description, lengths, seed)


def _answered(session: Session, b: int, evidence: Evidence, methods: Sequence[Method], read: Read) -> Answered:
    """Question b, by every method."""
    relevances = tuple(method.relevance(evidence) for method in methods)
    regions = tuple(method.between.regions(evidence) for method in methods) if read.word_regions else ()
    for method, *found in zip(methods, relevances, *([regions] if regions else []), strict=True):
        if not all(bool(namespace(part).isfinite(part).all()) for part in (*found[0], *found[1:])):
            raise XaiError(f"the relevance by {method.name} is not a number: the evidence of {session.source} holds NaN or infinity")
    reports = tuple(one.report(b) for one in read.solved)
    return Answered(read.arrays["logits"][b], read.targets[b], relevances, reports, regions, read.before)
