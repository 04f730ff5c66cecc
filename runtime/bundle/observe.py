"""What a session gives for a trial, graph by graph: each is let go of before the next is loaded, or memory would hold all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xai.runtime.bundle.trial import ALL_TOKENS, Observed, Picture, Trial, TrialQuestion, named, sample
from xai.runtime.description import Boxes, Description
from xai.runtime.engine import explain_tokens
from xai.runtime.evidence import from_model, propagated
from xai.runtime.inputs.encode import EncodedTexts, embed_texts, encode_images, pad_tokens, place
from xai.runtime.inputs.resize import preprocess
from xai.runtime.methods import METHODS, Method
from xai.runtime.needs import EVERY
from xai.runtime.sessions.protocol import Session
from xai.runtime.target import directions
from xai.spectral.arrays import Array, namespace, to_numpy

MAP_SAMPLE = 1 << 16
"""So many of a whole map are compared: at 576 px one layer's are 160 MB."""


def encode_picture(session: Session, picture: Picture) -> Array:
    """A picture's tokens (1, N, width)."""
    model = session.description
    arrays = picture if isinstance(model.picture, Boxes) else (preprocess(Image.fromarray(picture[0]), model)[0],)
    return encode_images(session, *(array[None] for array in arrays))


def observe(session: Session, trial: Trial, with_maps: bool, bundled: bool) -> list[Observed]:
    """Every question of a trial through every graph, one by one, and some of them again as one padded batch.

    `bundled` says that evidence comes of two graphs, as in a bundle: then the smaller is run as well.
    """
    tokens = [encode_picture(session, picture) for picture in trial.pictures]
    session.release()
    alone = [_Asked.of(session, [q], [_some(tokens[q.image], q.tokens)]) for q in trial.questions]
    batch = [trial.questions[i] for i in trial.batch]
    together = [_Asked.of(session, batch, [_some(tokens[q.image], q.batched) for q in batch])] if batch else []
    session.release()
    found: list[dict[str, NDArray[Any]]] = [
        {"tokens/image": to_numpy(tokens[question.image]), "tokens/text": to_numpy(asked.texts.embeddings)}
        for question, asked in zip(trial.questions, alone, strict=True)
    ]
    for graph, outputs in _passes(session.description, with_maps, bundled):
        of_batch = together if graph in ("evidence", "lrp") else []
        for i, asked in enumerate([*alone, *of_batch]):
            given = asked.run(session, graph, outputs)
            if i < len(alone) and outputs is None:
                found[i] |= _named(graph, given)
        if graph == "answer":  # about fewer tokens the top answer may be another one, which nobody could name
            answers = [named(question, arrays["logits/answer"]) for question, arrays in zip(trial.questions, found, strict=True)]
            together = [asked._replace(questions=[answers[i] for i in trial.batch]) for asked in together]
        session.release()
    reports = []
    for arrays, asked in zip(found, alone, strict=True):
        ((relevances, gaps),) = asked.explain(session)
        arrays |= {f"relevance/alone/{name}": value for name, value in relevances.items()}
        reports.append(gaps)
    for i, (relevances, _) in zip(trial.batch, together[0].explain(session) if together else [], strict=True):
        found[i] |= {f"relevance/batch/{name}": value for name, value in relevances.items()}
    return [Observed(arrays, gaps) for arrays, gaps in zip(found, reports, strict=True)]


def _passes(model: Description, with_maps: bool, bundled: bool) -> list[tuple[str, list[str] | None]]:
    """The graphs that follow the cut, with the outputs to ask for, all of them where None."""
    published = dict.fromkeys(name for method in _groups(model)[0] for name in from_model(method.needs(model)))
    small = [name for name in published if name not in propagated(published)]
    found: list[tuple[str, list[str] | None]] = [("answer", None)]
    found += [("evidence", ["logits", *small])] if bundled else []
    found += [("evidence", None)]
    found += [("lrp", None)] if model.published.lrp else []
    return [*found, ("maps", None)] if with_maps else found


def _groups(model: Description) -> list[list[Method]]:
    """The methods that are compared: as published, our own, of every layer. Apart: together they would leave out the graph that gives
    the first alone."""
    compared = [method for method in METHODS.values() if method.name != "random" and method.offered(model)]
    kinds = [(True, False), (False, False), (True, True)]
    return [[m for m in compared if (m.published, m.layers == EVERY) == kind] for kind in kinds]


def _some(tokens: Array, count: int) -> Array:
    """So many of the tokens (1, N, width), evenly spaced from the first to the last, as (N, width)."""
    length = tokens.shape[1]
    if count in (ALL_TOKENS, length) or count > length:
        return tokens[0]
    return tokens[0][namespace(tokens).asarray(np.linspace(0, length - 1, count).round().astype(np.int64))]


def _named(graph: str, given: Mapping[str, Array]) -> dict[str, NDArray[Any]]:
    """A graph's outputs by what they are compared as."""
    arrays = {name: to_numpy(value) for name, value in given.items()}
    found = {f"logits/{graph}": arrays.pop("logits")} if "logits" in arrays else {}
    return found | {f"evidence/{name}": sample(value, MAP_SAMPLE) if graph == "maps" else value for name, value in arrays.items()}


class _Asked(NamedTuple):
    """Questions asked as one batch, and what each pass of a graph gave for them."""

    questions: Sequence[TrialQuestion]
    image_tokens: Array
    image_mask: NDArray[np.bool_]
    texts: EncodedTexts
    given: dict[str, list[dict[str, Array]]]

    @classmethod
    def of(cls, session: Session, questions: Sequence[TrialQuestion], tokens: Sequence[Array]) -> _Asked:
        """Questions, each about some image tokens (N, width)."""
        texts = embed_texts(session, [question.ids for question in questions])
        return cls(questions, *pad_tokens(tokens), texts, {"embed_text": [{"text_embeddings": texts.embeddings}]})

    def run(self, session: Session, graph: str, outputs: Sequence[str] | None) -> dict[str, Array]:
        """Run a graph, and keep what it gives but for whole maps."""
        inputs: dict[str, Array] = {
            "image_tokens": self.image_tokens,
            "image_mask": place(session, self.image_mask),
            "text_embeddings": self.texts.embeddings,
            "text_mask": place(session, self.texts.mask),
        }
        if graph != "answer":
            inputs["direction"] = place(session, directions([q.target for q in self.questions], session.description.answers))
        given = session.run(graph, inputs, outputs)
        if graph != "maps":
            self.given.setdefault(graph, []).append(given)
        return given

    def explain(self, session: Session) -> list[tuple[dict[str, NDArray[Any]], dict[str, float]]]:
        """Relevances by `METHOD LAYERS/STREAM` and gaps of each question, of what the graphs gave."""
        ids, targets = [question.ids for question in self.questions], [question.target for question in self.questions]
        found: list[tuple[dict[str, NDArray[Any]], dict[str, float]]] = [({}, {}) for _ in self.questions]
        for methods in _groups(session.description):
            kept = _Kept(session, len(ids), self.given)
            explained = explain_tokens(kept, self.image_tokens, ids, targets, methods, image_mask=self.image_mask)
            for (relevances, gaps), one in zip(found, explained, strict=True):
                gaps |= {report.graph: report.gap for report in one.solver}
                for method, relevance in zip(methods, one.relevances, strict=True):
                    name = f"{method.base} {method.layers}" if method.layers else method.name
                    relevances |= {f"{name}/{stream}": to_numpy(values) for stream, values in relevance._asdict().items()}
        return found


class _Kept:
    """A session (`runtime.sessions.protocol.Session`) of one batch, which gives what each graph gave for it before."""

    def __init__(self, session: Session, questions: int, given: Mapping[str, Sequence[Mapping[str, Array]]]) -> None:
        self.name, self.source, self.precision = session.name, session.source, session.precision
        self.device, self.provider, self.description = session.device, session.provider, session.description
        self._questions, self._given = questions, given

    def run(self, graph: str, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """Give the outputs named of the first pass that has them."""
        if any(len(array) != self._questions for array in inputs.values()):
            raise ValueError(f"graph {graph} is asked about another batch")
        for arrays in self._given[graph]:
            if set(outputs or ()) <= set(arrays):
                return {name: arrays[name] for name in outputs or arrays}
        raise ValueError(f"graph {graph} gave no {outputs}")

    def load_ahead(self, graphs: Sequence[str]) -> None:
        """None is loaded."""

    def release(self) -> None:
        """None is loaded."""
