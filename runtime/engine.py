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
from xai.runtime.evidence import Evidence, fiedler_name, from_model, of_gradients, propagated, solved_graphs, without_padding
from xai.runtime.inputs.encode import EncodedTexts, embed_texts, place
from xai.runtime.methods import Method
from xai.runtime.relevance import Relevance
from xai.runtime.sessions.protocol import Session
from xai.runtime.solver import Solved, SolverReport, solve_all
from xai.runtime.target import EVERY_ANSWER, Contrast, Target, directions, explained_answers, named_contrasts, published_with_sum
from xai.spectral.arrays import Array, namespace, to_host, to_numpy


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


class Opposite(NamedTuple):
    """Of the contrasts of a batch, at these `rows` of it, what their other sides read of gradients."""

    rows: list[int]
    arrays: Mapping[str, Array]


class Read(NamedTuple):
    """What the evidence graph gave for a batch, and the graphs solved of it."""

    arrays: dict[str, Array]  # with logits
    opposite: Opposite | None
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
            before = _logits(session, inputs)[0]
            inputs = _that_stay(session, inputs, questions, stay)
        masks = {TEXT: inputs.texts.mask, IMAGE: inputs.image_mask}
        targets = _named(session, inputs, targets)
        found = _evidence(session, inputs, targets, from_model(needs))
        opposite = _opposite(session, inputs, targets, methods)
    with clock.time("solver"):
        solved = solve_all(solved_graphs(needs), found, description, masks)
    with clock.time("methods"):
        answers = explained_answers(targets, found["logits"])
        read = Read(found, opposite, solved, description, masks, targets, answers, word_regions, before)
        return _answered(session, needs, [0] * len(questions) if seeds is None else seeds, methods, read)


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
    found["logits"] = to_numpy(found["logits"])
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


def _logits(session: Session, inputs: _Inputs) -> NDArray[np.float32]:
    """The answers' logits (B, answers) alone."""
    logits = to_numpy(session.run("answer", inputs.arrays(session), ["logits"])["logits"])
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


def _opposite(session: Session, inputs: _Inputs, targets: Sequence[Target], methods: Sequence[Method]) -> Opposite | None:
    """Of the contrasts, if there are any, the evidence of the opposite ones, as far as methods that give them signs read gradients."""
    turned = {b: target.opposite for b, target in enumerate(targets) if isinstance(target, Contrast)}
    linear = [name for method in methods if method.dependence == "linear" for name in of_gradients(method.needs(session.description))]
    names, rows = list(dict.fromkeys(linear)), list(turned)
    if not turned or not names:
        return None
    found = _evidence(session, inputs.of(rows), list(turned.values()), names)
    masks = {TEXT: inputs.texts.mask[rows], IMAGE: inputs.image_mask[rows]}
    return Opposite(rows, without_padding({name: found[name] for name in names}, session.description, masks))


def check_logits(session: Session, logits: Array) -> None:
    """Raises `XaiError`, which names the model, where an answer's logits are not finite."""
    if not bool(namespace(logits).isfinite(logits).all()):
        raise XaiError(f"the answer of {session.source} is not a number: the model or the image holds NaN or infinity")


def _signed(evidence: Evidence, read: Read) -> Evidence:
    """The evidence less, of each contrast, what its other side reads."""
    if read.opposite is None:
        return evidence
    arrays = dict(evidence.arrays)
    for name, others in read.opposite.arrays.items():
        if name in arrays:
            arrays[name] = arrays[name].copy()
            arrays[name][namespace(others).asarray(read.opposite.rows)] -= others
    return replace(evidence, arrays=arrays)


def _answered(session: Session, needs: Sequence[str], seeds: Sequence[int], methods: Sequence[Method], read: Read) -> list[Answered]:
    """Every question, by every method."""
    given = {name: read.arrays[name] for name in needs if name in read.arrays}
    arrays = without_padding(given, read.description, read.masks)
    evidence = Evidence(arrays | {fiedler_name(one.graph): one.fiedler() for one in read.solved}, read.description, read.masks, seeds)
    signed = _signed(evidence, read)
    relevances = [method.relevance(signed if method.dependence == "linear" else evidence) for method in methods]
    regions = [method.between.regions(evidence) for method in methods] if read.word_regions else []
    tokens, patches = evidence.tokens(TEXT), evidence.tokens(IMAGE) - sum(read.description.special[IMAGE])
    parts = to_host(*(part for relevance in relevances for part in relevance), *regions)
    relevances = [Relevance(*parts[i : i + 2]) for i in range(0, 2 * len(methods), 2)]
    regions = parts[2 * len(methods) :]
    _check_relevances(session, methods, relevances, regions)
    return [
        Answered(
            read.arrays["logits"][b],
            answer,
            tuple(relevance.one(b, t, p) for relevance in relevances),
            tuple(one.report(b) for one in read.solved),
            (read.targets[b],) * len(methods),
            tuple(rows[b, :t, :p] for rows in regions),
            read.before,
        )
        for b, (answer, t, p) in enumerate(zip(read.answers, tokens.tolist(), patches.tolist(), strict=True))
    ]


def _check_relevances(session: Session, methods: Sequence[Method], relevances: Sequence[Relevance], regions: Sequence[Array]) -> None:
    """Raises `XaiError`, which names the method, where a relevance is not finite."""
    parts = [(method.name, part) for method, relevance in zip(methods, relevances, strict=True) for part in relevance]
    parts += [(method.name, rows) for method, rows in zip(methods, regions, strict=False)]
    for name, part in parts:
        if not np.isfinite(part).all():
            raise XaiError(f"the relevance by {name} is not a number: the evidence of {session.source} holds NaN or infinity")
