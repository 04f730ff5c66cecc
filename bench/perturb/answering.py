"""Runs what was planned: images encoded once, evidence once per question, every distinct token subset answered once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xai.base.description import TOP_ANSWER
from xai.bench.data.regions import Cells, Region
from xai.bench.data.sample import Sample
from xai.bench.measures.measure import QuestionMaps, WordMaps
from xai.bench.measures.table import MEASURES
from xai.bench.perturb.plan import Cost, Maps, QuestionPlan, batch_subsets, content_maps, plan_question
from xai.bench.perturb.request import Request
from xai.runtime.description import IMAGE, TEXT, Description
from xai.runtime.engine import Answered, explain_as_published, explain_tokens
from xai.runtime.evidence import modality_of, solved_graphs
from xai.runtime.inputs.encode import EncodedImages, encode_distinct
from xai.runtime.inputs.question import EncodedQuestion
from xai.runtime.masked.masking import Kept, answer_kept, kept_places, text_to_cut
from xai.runtime.methods import Method
from xai.runtime.relevance import Relevance
from xai.runtime.sessions.memory import Memory
from xai.runtime.sessions.protocol import Session
from xai.runtime.target import published_with_sum
from xai.spectral import Status
from xai.spectral.arrays import to_numpy

Picture = tuple[NDArray[np.float32], ...]
"""Normalised pixels (3, h, w), or features (N, D) and boxes (N, 4) (`runtime.description.picture_inputs`)."""


@dataclass(frozen=True)
class PreparedQuestion:
    """A sample ready to be run: its picture as the model takes it, and its question in tokens."""

    index: int
    """Place in the run's order, which results are sorted by."""
    sample: Sample
    picture: Picture
    question: EncodedQuestion
    cells: Cells
    """Where the map's scores lie: (rows, columns, 4) of the picture's patches, or (N, 4) of its boxes."""
    thumbnail: bytes | None = None
    """What the model saw of the picture, as a JPEG for the report; None where it is not drawn there."""

    @property
    def ids(self) -> NDArray[np.int64]:
        """Token ids (T,)."""
        return self.question.ids


class Questions(NamedTuple):
    """Questions that are run together: their distinct images' tokens, the row there of each question's image, and each question's token
    ids (T,)."""

    images: EncodedImages
    ids: Sequence[NDArray[np.int64]]

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Count the image and text tokens of every question, special ones included."""
        tokens, rows, mask = self.images
        counts = np.full(len(tokens), tokens.shape[1]) if mask is None else mask.sum(1)
        return [(int(counts[row]), len(ids)) for row, ids in zip(rows, self.ids, strict=True)]


class ExplainedQuestion(NamedTuple):
    """One question's logits (answers,), one relevance per method, and per method, by modality, the graphs that have no simple solution."""

    logits: NDArray[np.float64]
    relevances: tuple[Relevance, ...]
    open_graphs: tuple[Mapping[str, Mapping[str, str]], ...]
    word_regions: tuple[NDArray[np.floating], ...]
    """(T, P) per method, what goes with each text token of the picture; none where nobody asked."""


@dataclass(frozen=True)
class Measured:
    """One question's explanations, its plan with what each measure costs, and the logits (subsets, answers) of the subsets planned."""

    prepared: PreparedQuestion
    explained: QuestionMaps
    plan: QuestionPlan
    costs: Mapping[str, Cost]
    logits: NDArray[np.float64]


def run_chunk(session: Session, prepared: Sequence[PreparedQuestion], request: Request) -> list[Measured]:
    """Encode each image once, explain each question once, answer every distinct subset once.

    A measure that reads the model's second answer has that explained too, by the methods that can tell it from the first.
    """
    if not prepared:
        return []
    measures = [MEASURES[name] for name in request.measures]
    questions = encode_questions(session, [one.picture for one in prepared], [one.ids for one in prepared], request.memory)
    seeds = [(request.seed << 32) + one.index for one in prepared]
    words = any(measure.reads_words for measure in measures)
    found = explain_questions(
        session, questions, request.methods, seeds, request.memory, as_published=request.as_published, word_regions=words
    )
    second: Sequence[Maps | None] = [None] * len(found)
    if any(measure.reads_runner_up for measure in measures):
        second = explain_runners_up(session, questions, found, request)
    explained = [_explained(session, *parts, request) for parts in zip(prepared, found, second, strict=True)]
    plans = [plan_question(one.maps.keep(), {measure.name: measure.subsets(one) for measure in measures}) for one in explained]
    logits = answer_subsets(session, questions, plans, [one.logits for one in found], request.memory)
    special = sum(sum(counts) for counts in session.description.special.values())
    costs = [plan.costs(special) for plan in plans]
    return [Measured(*parts) for parts in zip(prepared, explained, plans, costs, logits, strict=True)]


def _explained(
    session: Session, prepared: PreparedQuestion, found: ExplainedQuestion, second: Maps | None, request: Request
) -> QuestionMaps:
    """The question as the measures look at it; words are known where the tokenizer and the data part the question at the same spaces."""
    question, words = prepared.question, dict[int, Region]()
    if found.word_regions and [word.text for word in question.words] == prepared.sample.question.split():
        words = dict(prepared.sample.words(prepared.cells))
    return QuestionMaps(
        prepared.sample,
        request.scope,
        content_maps(found.relevances, session.description.special[TEXT]),
        tuple(_follows_answer(method, session.description, request) for method in request.methods),
        found.open_graphs,
        prepared.sample.truth(prepared.cells),
        second,
        words,
        tuple(
            WordMaps(question.word_regions(regions), method.between.kind)
            for method, regions in zip(request.methods, found.word_regions, strict=bool(found.word_regions))
        ),
    )


def _follows_answer(method: Method, description: Description, request: Request) -> bool:
    """Whether the method's map depends on which answer is explained: not where it explains the sum of all, as published."""
    return method.dependence != "none" and not (request.as_published and published_with_sum(method, description))


def explain_runners_up(session: Session, questions: Questions, found: Sequence[ExplainedQuestion], request: Request) -> list[Maps]:
    """Explain each question's second answer; a method that depends on no answer says the same as of the first."""
    methods = [method for method in request.methods if _follows_answer(method, session.description, request)]
    again: Sequence[ExplainedQuestion | None] = [None] * len(found)
    if methods:
        targets = [int(np.argsort(-one.logits, kind="stable")[1]) for one in found]
        again = explain_questions(session, questions, methods, [0] * len(found), request.memory, targets)
    special, maps = session.description.special[TEXT], []
    for first, second in zip(found, again, strict=True):
        own = dict(zip((method.name for method in methods), second.relevances if second else (), strict=True))
        of_each = [own.get(method.name, said) for method, said in zip(request.methods, first.relevances, strict=True)]
        maps.append(content_maps(of_each, special))
    return maps


def encode_questions(session: Session, pictures: Sequence[Picture], ids: Sequence[NDArray[np.int64]], memory: Memory) -> Questions:
    """Encode each distinct image once; `pictures` and `ids` (T,) are each question's."""
    tokens = max(session.description.image_tokens(*picture) for picture in pictures)
    return Questions(encode_distinct(session, pictures, memory.answers(tokens, 0)), ids)


def explain_questions(
    session: Session,
    questions: Questions,
    methods: Sequence[Method],
    seeds: Sequence[int],
    memory: Memory,
    targets: Sequence[int] | None = None,
    as_published: bool = False,
    word_regions: bool = False,
) -> list[ExplainedQuestion]:
    """Explain each question's top answer, or the one in `targets`, by every method, in one pass of the evidence graph; as published, some
    may need another.

    `seeds` holds one seed per question for the floor, so that no question shares its noise with another one. `word_regions` also asks what
    goes with each word.
    """
    targets = targets or [TOP_ANSWER] * len(questions.ids)
    description = session.description
    explain = explain_as_published if as_published else explain_tokens
    tokens, of, mask = questions.images
    rows = memory.evidence(tokens.shape[1], max(len(ids) for ids in questions.ids))
    found: list[ExplainedQuestion] = []
    for start in range(0, len(questions.ids), rows):
        part = slice(start, start + rows)
        ids = questions.ids[part]
        own, own_mask = EncodedImages(tokens, of[part], mask).each()
        for one in explain(session, own, ids, targets[part], methods, None, seeds[part], own_mask, word_regions):
            logits = np.asarray(to_numpy(one.logits), np.float64)
            graphs = tuple(_open_graphs(one, method, description) for method in methods)
            found.append(ExplainedQuestion(logits, one.relevances, graphs, tuple(map(to_numpy, one.word_regions))))
    return found


def _open_graphs(answered: Answered, method: Method, description: Description) -> dict[str, dict[str, str]]:
    """Find, by modality, the graphs that a method reads and that have no simple solution, with the solver's status."""
    used = solved_graphs(method.needs(description))
    found: dict[str, dict[str, str]] = {TEXT: {}, IMAGE: {}}
    for report in answered.solver:
        if report.graph in used and report.status != Status.CONVERGED.name.lower():
            found[modality_of(report.graph, description)][report.graph] = report.status
    return found


def answer_subsets(
    session: Session, questions: Questions, plans: Sequence[QuestionPlan], whole: Sequence[NDArray[np.float64]], memory: Memory
) -> list[NDArray[np.float64]]:
    """Answer each question's planned subsets: logits (subsets, answers).

    `whole` holds each question's logits with nothing removed, the first subset of every plan: it is not run again.
    Raises `XaiError` where an answer is not finite.
    """
    text = text_to_cut(session, questions.ids)
    found = [np.full((len(plan.subsets), len(logits)), np.nan) for plan, logits in zip(plans, whole, strict=True)]
    for logits, unperturbed in zip(found, whole, strict=True):
        logits[0] = unperturbed
    sizes, special = questions.sizes, session.description.special
    for batch in batch_subsets(plans, special, memory.answers):
        image_kept = np.empty((len(batch.jobs), batch.image_tokens), np.int64)
        text_kept = np.empty((len(batch.jobs), batch.text_tokens), np.int64)
        for row, (q, s) in enumerate(batch.jobs):
            kept = plans[q].subsets[s]
            image_kept[row] = kept_places(kept.image, special[IMAGE], sizes[q][0])
            text_kept[row] = kept_places(kept.text, special[TEXT], sizes[q][1])
        asked = np.array([q for q, _ in batch.jobs])
        image = Kept(questions.images.tokens, questions.images.rows[asked], image_kept)
        logits = answer_kept(session, image, Kept(text, asked, text_kept))
        for (q, s), row_logits in zip(batch.jobs, to_numpy(logits), strict=True):
            found[q][s] = row_logits
    return found
