"""The pipeline: images and questions in, explanations out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image

from xai.base.description import TOP_ANSWER
from xai.runtime.answers import Answers
from xai.runtime.engine import Answered, Clock, SolverReport, explain
from xai.runtime.explanation import Answer, Explanation
from xai.runtime.inputs.encode import EncodedImages, encode
from xai.runtime.inputs.image import ImageSource
from xai.runtime.inputs.prepare import PreparedImage, ahead, prepare
from xai.runtime.inputs.question import EncodedQuestion, QuestionEncoder
from xai.runtime.methods import AS_PUBLISHED, DEFAULT_METHOD, Method, find_methods
from xai.runtime.sessions.protocol import Session
from xai.spectral.arrays import to_numpy

_FLAGS = {
    "disconnected": "its graph falls into {components} pieces: the map shows their sizes, not a cut within one",
    "degenerate": "its second eigenvalue is {multiplicity}-fold: the map is the one that no choice of vector changes",
    "not-converged": "no solver could prove its answer: do not trust the map",
    "trivial": "its graph has fewer than two nodes with edges: there is nothing to cut",
}

Remark = Callable[[Image.Image], str | None]
"""What a reader should know about a picture before trusting an answer about it, if anything."""


class Explainer:
    """Answers questions about images and says why. `xai.load` makes one.

    `encoder` wraps the model's tokenizer, `answers` names the rows of its classifier.
    """

    def __init__(
        self,
        session: Session,
        encoder: QuestionEncoder,
        answers: Answers,
        remark: Remark | None = None,
    ) -> None:
        self.session = session
        self.encoder = encoder
        self.answers = answers
        self.remark = remark

    def check(self, question: str, target: str | int | None = None, truncate: bool = False) -> None:
        """Raise the `XaiError` that explaining would, where the question or the target cannot be used."""
        self.encoder.encode(question, truncate)
        if target is not None:
            self.answers.find(target)

    def prepare(self, image: ImageSource) -> PreparedImage:
        """Decode and preprocess an image, for `explain` and the others to take in place of it: a thread may do that ahead of them.

        Raises `XaiError` where the image cannot be used.
        """
        return prepare(image, self.session.description)

    def explain(
        self,
        image: ImageSource | PreparedImage,
        question: str,
        method: str = DEFAULT_METHOD,
        target: str | int | None = None,
        **options: Any,
    ) -> Explanation:
        """Answer `question` about `image`, and explain the answer, or `target` (an answer's name or id), by one method.

        For the options see `explain_batch`. Raises `BadInput` on an input that cannot be used.
        """
        return self.explain_methods(image, question, [method], target, **options)[0]

    def explain_methods(
        self,
        image: ImageSource | PreparedImage,
        question: str,
        methods: str | Sequence[str] = AS_PUBLISHED,
        target: str | int | None = None,
        **options: Any,
    ) -> list[Explanation]:
        """The same answer explained by several methods: the model runs once for all."""
        return self.explain_batch([(image, question)], methods, target, **options)[0]

    def explain_batch(
        self,
        pairs: Sequence[tuple[ImageSource | PreparedImage, str]],
        methods: str | Sequence[str] = DEFAULT_METHOD,
        target: str | int | None = None,
        *,
        top_k: int = 5,
        truncate: bool = False,
        seed: int = 0,
    ) -> list[list[Explanation]]:
        """Explain many (image, question) pairs in one batch; one list of explanations per pair, in order.

        Questions may differ in length. Images that are equal are encoded once. `top_k` answers are listed,
        `truncate` cuts a question that is too long, `seed` + i feeds the method `random` for pair i.
        """
        if not pairs:
            return []
        chosen = find_methods(methods)
        explained = TOP_ANSWER if target is None else self.answers.find(target)
        clock = Clock()
        with clock.time("preprocess"):
            questions = [self.encoder.encode(question, truncate) for _, question in pairs]
        encoded = self._encode([image for image, _ in pairs], clock)
        ids = [question.ids for question in questions]
        targets, seeds = [explained] * len(pairs), range(seed, seed + len(pairs))
        answered = explain(self.session, encoded.tokens, ids, targets, chosen, clock, seeds, encoded.mask)
        timings: dict[str, float] = {}  # filled below, when the last stage has been timed, too
        with clock.time("assemble"):
            found = [
                self._explanations(image, question, result, chosen, top_k, timings)
                for image, question, result in zip(encoded.images, questions, answered, strict=True)
            ]
        timings |= clock.milliseconds | {"total": sum(clock.milliseconds.values())}
        return found

    def _encode(self, images: Sequence[ImageSource | PreparedImage], clock: Clock) -> EncodedImages:
        """The images, prepared and encoded. `clock` gets, of images prepared here, the time that was waited for them, and of the others
        what their preparing took."""
        start = time.perf_counter()
        encoding = Clock()
        encoded = encode(self.session, self._prepared(images), encoding)
        decode, preprocess = (sum(getattr(image, f"{stage}_ms") for image in encoded.images) for stage in ("decode", "preprocess"))
        waited = 1e3 * (time.perf_counter() - start) - encoding.milliseconds["encode_image"]
        share = 1.0 if isinstance(images[0], PreparedImage) else waited / (decode + preprocess)
        clock.add("decode", share * decode)
        clock.add("preprocess", share * preprocess)
        clock.milliseconds |= encoding.milliseconds
        return encoded

    def _prepared(self, images: Sequence[ImageSource | PreparedImage]) -> Iterator[PreparedImage]:
        """The images in their order, several of them by threads that work ahead."""

        def finish(image: ImageSource | PreparedImage) -> PreparedImage:
            return image if isinstance(image, PreparedImage) else self.prepare(image)

        if len(images) == 1:
            yield finish(images[0])
            return
        for future in ahead(finish, images):
            yield future.result()

    def _explanations(
        self,
        image: PreparedImage,
        question: EncodedQuestion,
        result: Answered,
        methods: Sequence[Method],
        top_k: int,
        timings: dict[str, float],
    ) -> list[Explanation]:
        model = self.session.description
        logits = np.asarray(to_numpy(result.logits), dtype=np.float64)
        shares = np.exp(logits - logits.max())
        shares /= shares.sum()

        def answer(i: int) -> Answer:
            return Answer(int(i), self.answers.names[i], float(logits[i]), float(shares[i]))

        top = tuple(answer(i) for i in np.argsort(-logits, kind="stable")[:top_k])
        remark = self.remark(image.picture) if self.remark else None
        notes = ([remark] if remark else []) + _truncation(question)
        found = []
        for method, relevance in zip(methods, result.relevances, strict=True):
            used = method.needs(model)
            solver = tuple(report for report in result.solver if f"{report.graph}/fiedler" in used)
            found.append(
                Explanation(
                    image_name=image.name,
                    picture=image.picture,
                    crop=image.crop,
                    question=question,
                    answer=answer(int(logits.argmax())),
                    target=answer(result.target),
                    top=top,
                    method=method.base,
                    layers=method.summed(model),
                    image_relevance=to_numpy(relevance.image).reshape(image.grid),
                    text_relevance=to_numpy(relevance.text),
                    solver=solver,
                    session=self.session.name,
                    precision=self.session.precision,
                    timings_ms=timings,
                    notes=(*notes, *_flags(solver)),
                )
            )
        return found


def _truncation(question: EncodedQuestion) -> list[str]:
    return [f"the question was cut to its first {len(question.tokens)} tokens"] if question.truncated else []


def _flags(solver: Sequence[SolverReport]) -> list[str]:
    return [
        f"{r.graph}: {_FLAGS[r.status].format(components=r.components, multiplicity=r.multiplicity)}" for r in solver if r.status in _FLAGS
    ]
