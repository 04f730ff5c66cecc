"""The pipeline: images and questions in, explanations out."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xai.base.description import TOP_ANSWER
from xai.base.errors import XaiError
from xai.runtime.answers import Answers
from xai.runtime.engine import Answered, Clock, SolverReport, embed_texts, encode_images, explain, pad_ids
from xai.runtime.evidence import Depth
from xai.runtime.explanation import Answer, Explanation
from xai.runtime.inputs.encoded import EncodedImages
from xai.runtime.inputs.image import ImageSource
from xai.runtime.inputs.prepare import PreparedImage, ahead, prepare
from xai.runtime.inputs.question import EncodedQuestion, QuestionEncoder
from xai.runtime.masking import Kept, answer_kept, image_places, text_places
from xai.runtime.methods import AS_PUBLISHED, DEFAULT_METHOD, Method, find_methods
from xai.runtime.prediction import Asked, Prediction, places
from xai.runtime.sessions.protocol import Session
from xai.spectral.arrays import Array, namespace, to_numpy

_FLAGS = {
    "disconnected": "its graph falls into {components} pieces: the map shows their sizes, not a cut within one",
    "degenerate": "its second eigenvalue is {multiplicity}-fold: the map is the one that no choice of vector changes",
    "not-converged": "no solver could prove its answer: do not trust the map",
    "trivial": "its graph has fewer than two nodes with edges: there is nothing to cut",
}


ENCODED_TOGETHER = 4
"""Images of a batch: while the session encodes some, threads decode the next."""


Remark = Callable[[Image.Image], str | None]
"""What a reader should know about a picture before trusting an answer about it, if anything."""


class Explainer:
    """Answers questions about images and says why. `xai.load` makes one.

    `encoder` wraps the model's tokenizer, `answers` names the rows of its classifier. `encoded` keeps the tokens of images that were
    encoded, by default of none: the next question about one skips the vision encoder.
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
        self.encoded = EncodedImages(0)

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
        target: str | int | list[str | int | None] | None = None,
        *,
        top_k: int = 5,
        truncate: bool = False,
        seed: int | list[int] = 0,
    ) -> list[list[Explanation]]:
        """Explain many (image, question) pairs in one batch; one list of explanations per pair, in order.

        Questions may differ in length. Images that are equal are encoded once. `top_k` answers are listed,
        `truncate` cuts a question that is too long, `seed` + i feeds the method `random` for pair i. A list of targets or
        seeds has one for each pair.
        """
        if not pairs:
            return []
        chosen = find_methods(methods)
        asked = target if isinstance(target, list) else [target] * len(pairs)
        targets = [TOP_ANSWER if one is None else self.answers.find(one) for one in asked]
        seeds = seed if isinstance(seed, list) else range(seed, seed + len(pairs))
        clock = Clock()
        with clock.time("preprocess"):
            questions = [self.encoder.encode(question, truncate) for _, question in pairs]
        prepared, image_tokens = self._encode([image for image, _ in pairs], clock)
        ids = [question.ids for question in questions]
        answered = explain(self.session, image_tokens, ids, targets, chosen, clock, seeds)
        timings: dict[str, float] = {}  # filled below, when the last stage has been timed, too
        with clock.time("assemble"):
            found = [
                self._explanations(image, question, result, chosen, top_k, timings)
                for image, question, result in zip(prepared, questions, answered, strict=True)
            ]
        timings |= clock.milliseconds | {"total": sum(clock.milliseconds.values())}
        return found

    def answer(
        self,
        image: ImageSource | PreparedImage,
        question: str,
        *,
        without_patches: NDArray[np.bool_] | None = None,
        without_words: NDArray[np.bool_] | None = None,
        top_k: int = 5,
    ) -> Prediction:
        """Answer `question` about `image`, without the patches (h, w) and the words (words,) that are True: what the perturbation
        test does. Raises `XaiError` on an input that cannot be used."""
        return self.answer_batch([Asked(image, question, without_patches, without_words)], top_k=top_k)[0]

    def answer_batch(self, asked: Sequence[Asked], *, top_k: int = 5) -> list[Prediction]:
        """Answer many questions in one batch, in order; those that keep equally many tokens share a pass of the graph."""
        if not asked:
            return []
        clock = Clock()
        with clock.time("preprocess"):
            questions = [self.encoder.encode(one.question) for one in asked]
            patches = self.session.description.grid**2
            kept = [one.kept(question, patches) for one, question in zip(asked, questions, strict=True)]
        prepared, image_tokens = self._encode([one.image for one in asked], clock)
        with clock.time("embed_text"):
            text = embed_texts(self.session, pad_ids([question.ids for question in questions])[0])
        logits = np.empty((len(asked), self.session.description.answers))
        groups: dict[tuple[int, int], list[int]] = {}
        for i, tokens in enumerate(kept):
            groups.setdefault((len(tokens.patches), len(tokens.words)), []).append(i)
        with clock.time("answer"):
            for members in groups.values():
                rows = np.array(members)
                image = Kept(image_tokens, rows, np.stack([image_places(kept[i].patches) for i in members]))
                words = Kept(text, rows, np.stack([text_places(kept[i].words, len(questions[i].tokens)) for i in members]))
                logits[rows] = to_numpy(answer_kept(self.session, image, words))
        if not np.isfinite(logits).all():
            raise XaiError("the model's answer is not a number: its weights or the image hold NaN or infinity")
        timings = clock.milliseconds | {"total": sum(clock.milliseconds.values())}
        return [self._prediction(*each, top_k, timings) for each in zip(asked, prepared, questions, logits, strict=True)]

    def _prediction(
        self,
        asked: Asked,
        image: PreparedImage,
        question: EncodedQuestion,
        logits: NDArray[np.float64],
        top_k: int,
        timings: dict[str, float],
    ) -> Prediction:
        grid = self.session.description.grid
        answers = self._answers(logits)
        return Prediction(
            image_name=image.name,
            image_size=image.picture.size,
            crop=image.crop.box,
            question=question,
            answer=answers(int(logits.argmax())),
            top=tuple(answers(int(i)) for i in np.argsort(-logits, kind="stable")[:top_k]),
            grid=(grid, grid),
            without_patches=places(asked.without_patches),
            without_words=places(asked.without_words),
            session=self.session.name,
            precision=self.session.precision,
            timings_ms=timings,
        )

    def _answers(self, logits: NDArray[np.float64]) -> Callable[[int], Answer]:
        """Gives the answer of an id, with its share of the softmax."""
        shares = np.exp(logits - logits.max())
        shares /= shares.sum()
        return lambda i: Answer(i, self.answers.names[i], float(logits[i]), float(shares[i]))

    def _encode(self, images: Sequence[ImageSource | PreparedImage], clock: Clock) -> tuple[list[PreparedImage], Any]:
        """The images, prepared, and their tokens (B, N, width); each distinct image is encoded once.

        `clock` gets, of images prepared here, the time that was waited for them, and of the others what their preparing took.
        """
        start = time.perf_counter()
        encoding = Clock()
        prepared: list[PreparedImage] = []
        keys: list[bytes] = []
        known: dict[bytes, Array] = {}
        waiting: dict[bytes, NDArray[np.float32]] = {}

        def encode_waiting() -> None:
            for key, tokens in zip(waiting, encode_images(self.session, np.stack(list(waiting.values()))), strict=True):
                known[key] = tokens
                self.encoded.keep(key, tokens)
            waiting.clear()

        for image in self._prepared(images):
            prepared.append(image)
            with encoding.time("encode_image"):
                keys.append(key := hashlib.sha256(image.pixels.data).digest())
                if key in known or key in waiting:
                    continue
                if (kept := self.encoded.find(key)) is not None:
                    known[key] = kept
                    continue
                waiting[key] = image.pixels
                if len(waiting) == ENCODED_TOGETHER:
                    encode_waiting()
        with encoding.time("encode_image"):
            if waiting:
                encode_waiting()
            tokens = namespace(known[keys[0]]).stack([known[key] for key in keys])
        decode, preprocess = (sum(getattr(image, f"{stage}_ms") for image in prepared) for stage in ("decode", "preprocess"))
        waited = 1e3 * (time.perf_counter() - start) - encoding.milliseconds["encode_image"]
        share = 1.0 if isinstance(images[0], PreparedImage) else waited / (decode + preprocess)
        clock.add("decode", share * decode)
        clock.add("preprocess", share * preprocess)
        clock.milliseconds |= encoding.milliseconds
        return prepared, tokens

    def _prepared(self, images: Sequence[ImageSource | PreparedImage]) -> Iterator[PreparedImage]:
        """The images in their order, several of them by threads that work ahead."""

        def finish(image: ImageSource | PreparedImage) -> PreparedImage:
            return image if isinstance(image, PreparedImage) else self.prepare(image)

        if len(images) == 1 or all(isinstance(image, PreparedImage) for image in images):
            yield from map(finish, images)
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
        answer = self._answers(logits)
        top = tuple(answer(int(i)) for i in np.argsort(-logits, kind="stable")[:top_k])
        depth = Depth(model.text_layers, model.layers)
        remark = self.remark(image.picture) if self.remark else None
        notes = ([remark] if remark else []) + _truncation(question)
        found = []
        for method, relevance in zip(methods, result.relevances, strict=True):
            used = method.needs(depth)
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
                    layers=method.layers,
                    image_relevance=to_numpy(relevance.image).reshape(model.grid, model.grid),
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
