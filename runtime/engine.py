"""Image tokens and questions -> evidence -> relevance, in batches, whatever session runs the graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xai.base.description import TOP_ANSWER
from xai.base.errors import XaiError
from xai.runtime.clock import Clock
from xai.runtime.description import IMAGE, TEXT, Description
from xai.runtime.evidence import Evidence, features_name, fiedler_name, from_model, of_gradients, propagated, solved_graphs, unpad
from xai.runtime.inputs.encode import EncodedTexts, embed_texts, place
from xai.runtime.methods import Method
from xai.runtime.relevance import Relevance
from xai.runtime.sessions.protocol import Session
from xai.runtime.solver import Solved, SolverReport, solve
from xai.runtime.target import EVERY_ANSWER, Contrast, Target, directions, explained_answers, named_contrasts, published_with_sum
from xai.spectral.arrays import Array, namespace, to_numpy


@dataclass(frozen=True)
class Answered:
    """One question's logits (answers,), the explained answer's id, and by method asked for a relevance and what it explains."""

    logits: NDArray[np.float32]
    target: int
    relevances: tuple[Relevance, ...]
    solver: tuple[SolverReport, ...]
    explained: tuple[Target, ...]
    """Contrasts with both answers named."""
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
    opposite: Mapping[int, Mapping[str, Array]]  # of each contrast, by its row: what its other side reads of gradients
    solved: list[Solved]
    description: Description
    masks: Mapping[str, NDArray[np.bool_]]  # by modality (B, tokens), true where a token is real
    targets: Sequence[Target]
    answers: list[int]
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

    Contrasts go through it a second time, from their other side, where a method gives them signs: mean_h relu(G) less
    mean_h relu(-G) is mean_h G, which no clamp has touched. A contrast with the top answer asks for that answer first.

    `image_tokens` (B, N, width), one row per question, and `image_mask` (B, N), false behind the tokens of a row that has fewer; `targets`
    as `runtime.target` says; `seeds` (B,) feed the method `random`, 0 where none are given.
    With `word_regions` each method also says what goes with each text token, of a contrast without signs. Of a single question, all tokens
    but those that `stay` may be left out: what is found is then of these, and `before` is what the whole says.
    Raises `XaiError` where the model's output is not finite, `BadInput` where the top answer is held against itself.
    """
    clock = clock or Clock()
    description = session.description
    readers = [read for method in methods for read in (method.needs, *([method.between.needs] if word_regions else []))]
    needs = list(dict.fromkeys(name for read in readers for name in read(description)))
    before = None
    with clock.time("embed_text"):
        texts = embed_texts(session, questions)
    with clock.time("evidence"):
        inputs = _Inputs(image_tokens, np.ones(image_tokens.shape[:2], dtype=bool) if image_mask is None else image_mask, texts)
        if stay is not None:
            before = to_numpy(_logits(session, inputs)[0])
            inputs = _that_stay(session, inputs, questions, stay)
        masks = {TEXT: inputs.texts.mask, IMAGE: inputs.image_mask}
        targets = _named(session, inputs, targets)
        found = _evidence(session, inputs, targets, from_model(needs))
        opposite = _opposite(session, inputs, targets, methods)
    with clock.time("solver"):
        solved = [solve(graph, found[features_name(graph)], description, masks) for graph in solved_graphs(needs)]
    with clock.time("methods"):
        answers = explained_answers(targets, found["logits"])
        read = Read(found, opposite, solved, description, masks, targets, answers, word_regions, before)
        answered = [_answered(b, needs, seeds[b] if seeds is not None else 0, methods, read) for b in range(len(questions))]
        _check_relevances(session, answered, methods)
        return answered


def explain_as_published(
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
    """The same, but where a model's figures were published for the sum of all scores, methods explain that, in a pass of their own."""
    summed = [method for method in methods if published_with_sum(method, session.description)]
    own = [method for method in methods if method not in summed]
    passes = [(group, each) for group, each in ((own, targets), (summed, [EVERY_ANSWER] * len(questions))) if group]
    options = (clock, seeds, image_mask, word_regions, stay)
    answered = [explain_tokens(session, image_tokens, questions, each, group, *options) for group, each in passes]
    return [_joined(methods, [group for group, _ in passes], parts) for parts in zip(*answered, strict=True)]


def _joined(methods: Sequence[Method], groups: Sequence[Sequence[Method]], parts: Sequence[Answered]) -> Answered:
    """What several passes gave for one question, methods in their order and each graph once."""
    found = {
        method.name: (relevance, explained)
        for group, part in zip(groups, parts, strict=True)
        for method, relevance, explained in zip(group, part.relevances, part.explained, strict=True)
    }
    relevances, explained = zip(*(found[method.name] for method in methods), strict=True)
    regions = {
        method.name: rows
        for group, part in zip(groups, parts, strict=True)
        if part.word_regions
        for method, rows in zip(group, part.word_regions, strict=True)
    }
    solver = {report.graph: report for part in parts for report in part.solver}
    return replace(
        parts[0],
        relevances=relevances,
        explained=explained,
        solver=tuple(solver.values()),
        word_regions=tuple(regions[method.name] for method in methods if regions),
    )


class _Inputs(NamedTuple):
    """A batch as the graphs take it, but for what is explained."""

    image_tokens: Array
    image_mask: NDArray[np.bool_]
    texts: EncodedTexts

    def arrays(self, session: Session) -> dict[str, Array]:
        """By the names of the graphs' inputs."""
        return {
            "image_tokens": self.image_tokens,
            "image_mask": place(session, self.image_mask),
            "text_embeddings": self.texts.embeddings,
            "text_mask": place(session, self.texts.mask),
        }

    def of(self, rows: list[int]) -> _Inputs:
        """Some questions of the batch, padded as they were."""
        index = namespace(self.image_tokens).asarray(rows)
        return _Inputs(self.image_tokens[index], self.image_mask[rows], EncodedTexts(self.texts.embeddings[index], self.texts.mask[rows]))


def _evidence(session: Session, inputs: _Inputs, targets: Sequence[Target], names: Sequence[str]) -> dict[str, Array]:
    """The outputs named, with logits; what needs relevance propagation by a graph of its own, of the same answers."""
    arrays, answers = inputs.arrays(session), session.description.answers
    by_relevance = propagated(names)
    others = [name for name in names if name not in by_relevance]
    found = session.run("evidence", arrays | {"direction": place(session, directions(targets, answers))}, ["logits", *others])
    check_logits(session, found["logits"])
    if by_relevance:
        tops = explained_answers(targets, found["logits"])
        named = [top if target == TOP_ANSWER else target for target, top in zip(targets, tops, strict=True)]
        found |= session.run("lrp", arrays | {"direction": place(session, directions(named, answers))}, by_relevance)
    return found


def _named(session: Session, inputs: _Inputs, targets: Sequence[Target]) -> Sequence[Target]:
    """The targets, contrasts with the top answer by its id."""
    if not any(isinstance(target, Contrast) and target.answer == TOP_ANSWER for target in targets):
        return targets
    return named_contrasts(targets, _logits(session, inputs))


def _logits(session: Session, inputs: _Inputs) -> Array:
    """The answers' logits (B, answers) alone."""
    logits = session.run("answer", inputs.arrays(session), ["logits"])["logits"]
    check_logits(session, logits)
    return logits


def _that_stay(session: Session, inputs: _Inputs, questions: Sequence[NDArray[np.int64]], stay: Places) -> _Inputs:
    """The same with nothing but these tokens; what stays of the text keeps its positions, or has new ones, as in `masked.masking`."""
    xp, texts = namespace(inputs.image_tokens), inputs.texts
    if session.description.published.positions == "anew":
        texts = embed_texts(session, [ids[stay.text] for ids in questions])
    else:
        texts = EncodedTexts(texts.embeddings[:, xp.asarray(stay.text)], texts.mask[:, stay.text])
    return _Inputs(inputs.image_tokens[:, xp.asarray(stay.image)], inputs.image_mask[:, stay.image], texts)


def _opposite(session: Session, inputs: _Inputs, targets: Sequence[Target], methods: Sequence[Method]) -> dict[int, dict[str, Array]]:
    """Of each contrast, by its row, the evidence of the opposite one, as far as methods that give it signs read gradients."""
    turned = {b: target.opposite for b, target in enumerate(targets) if isinstance(target, Contrast)}
    linear = [name for method in methods if method.dependence == "linear" for name in of_gradients(method.needs(session.description))]
    names = list(dict.fromkeys(linear))
    if not turned or not names:
        return {}
    found = _evidence(session, inputs.of(list(turned)), list(turned.values()), names)
    return {b: {name: found[name][i] for name in names} for i, b in enumerate(turned)}


def check_logits(session: Session, logits: Array) -> None:
    """Raises `XaiError`, which names the model, where an answer's logits are not finite."""
    if not bool(namespace(logits).isfinite(logits).all()):
        raise XaiError(f"the answer of {session.source} is not a number: the model or the image holds NaN or infinity")


def _of_one(b: int, needs: Sequence[str], read: Read, seed: int, opposite: Mapping[str, Array]) -> Evidence:
    """The evidence of question b, less its opposite."""
    padded = {modality: mask.shape[1] for modality, mask in read.masks.items()}
    lengths = {modality: int(mask[b].sum()) for modality, mask in read.masks.items()}
    rows = {name: read.arrays[name][b] for name in needs if name in read.arrays}
    rows |= {name: rows[name] - other for name, other in opposite.items() if name in rows}
    arrays = {name: unpad(name, row, read.description, lengths, padded) for name, row in rows.items()}
    return Evidence(arrays | {fiedler_name(one.graph): one.fiedler(b) for one in read.solved}, read.description, lengths, seed)


def _answered(b: int, needs: Sequence[str], seed: int, methods: Sequence[Method], read: Read) -> Answered:
    """Question b, by every method."""
    opposite = read.opposite.get(b, {})
    evidence = signed = _of_one(b, needs, read, seed, {})
    if opposite:
        signed = _of_one(b, needs, read, seed, opposite)
    relevances = tuple(method.relevance(signed if method.dependence == "linear" else evidence) for method in methods)
    regions = tuple(method.between.regions(evidence) for method in methods) if read.word_regions else ()
    reports = tuple(one.report(b) for one in read.solved)
    explained = (read.targets[b],) * len(methods)
    return Answered(read.arrays["logits"][b], read.answers[b], relevances, reports, explained, regions, read.before)


def _check_relevances(session: Session, answered: Sequence[Answered], methods: Sequence[Method]) -> None:
    """Raises `XaiError`, which names the method, where a relevance is not finite. The host waits once for all that lie on a GPU."""
    flags: list[tuple[str, Array]] = []
    for one in answered:
        for i, method in enumerate(methods):
            parts = (*one.relevances[i], *one.word_regions[i : i + 1])
            flags += [(method.name, namespace(part).isfinite(part).all()) for part in parts]
    on_device = [flag for _, flag in flags if namespace(flag) is not np]
    finite = all(bool(flag) for _, flag in flags if namespace(flag) is np)
    if finite and (not on_device or bool(namespace(on_device[0]).stack(on_device).all())):
        return
    name = next(name for name, flag in flags if not bool(flag))
    raise XaiError(f"the relevance by {name} is not a number: the evidence of {session.source} holds NaN or infinity")
