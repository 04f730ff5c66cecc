"""The pipeline: images and questions in, explanations out."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xai.base.arguments import whole_number
from xai.base.description import TOP_ANSWER
from xai.base.errors import BadInput
from xai.runtime.answers import Answers, softmax
from xai.runtime.clock import ANSWER, Clock
from xai.runtime.description import IMAGE, TEXT
from xai.runtime.engine import Answered, explain_tokens
from xai.runtime.evidence import solved_graphs
from xai.runtime.explanation import Answer, Explanation
from xai.runtime.inputs.decode import ImageSource
from xai.runtime.inputs.encode import embed_texts, encode_distinct
from xai.runtime.inputs.kept import KeptImages
from xai.runtime.inputs.prepare import PreparedImage, prepare, prepare_all
from xai.runtime.inputs.question import EncodedQuestion, QuestionEncoder
from xai.runtime.masked.left_out import Leaving
from xai.runtime.masked.masking import Kept, answer_kept, kept_places
from xai.runtime.masked.prediction import Asked, Prediction, places
from xai.runtime.methods import AS_PUBLISHED, DEFAULT_METHOD, Method, find_method, find_methods
from xai.runtime.sessions.protocol import Session
from xai.spectral.arrays import Array, to_numpy

Pair = tuple[ImageSource | PreparedImage, str | EncodedQuestion]
"""A picture and a question about it."""

ENCODED_TOGETHER = 4
"""Images of a batch: while the session encodes some, threads decode the next."""

Remark = Callable[[Image.Image], str | None]
"""What a reader should know about a picture before trusting an answer about it, if anything."""


class Explainer:
    """Answers questions about images and says why. `xai.load` makes one.

    `encoder` wraps the model's tokenizer, `answers` names the rows of its classifier. `kept` holds the tokens of images that were
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
        self.kept = KeptImages(0)

    def check(self, question: str, target: str | int | None = None, truncate: bool = False) -> EncodedQuestion:
        """Encode a question, for `explain` and the others to take in place of it.

        Raises the `XaiError` that explaining would, where the question or the target cannot be used.
        """
        if target is not None:
            self.answers.find(target)
        return self.encoder.encode(question, truncate)

    def prepare(self, image: ImageSource) -> PreparedImage:
        """Decode and preprocess an image, for `explain` and the others to take in place of it: a thread may do that ahead of them.

        Raises `BadInput` where the image cannot be used.
        """
        return prepare(image, self.session.description)

    def explain(
        self,
        image: ImageSource | PreparedImage,
        question: str | EncodedQuestion,
        method: str = DEFAULT_METHOD,
        target: str | int | None = None,
        **options: Any,
    ) -> Explanation:
        """Answer `question` about `image`, and explain the answer, or `target` (an answer's name or id), by one method.

        For the options see `explain_batch`. Raises `BadInput` on an input that cannot be used.
        """
        return self.explain_methods(image, question, [find_method(method).name], target, **options)[0]

    def explain_methods(
        self,
        image: ImageSource | PreparedImage,
        question: str | EncodedQuestion,
        methods: str | Sequence[str] = AS_PUBLISHED,
        target: str | int | None = None,
        **options: Any,
    ) -> list[Explanation]:
        """The same answer explained by several methods, as `explain_batch` takes them: the model runs once for all."""
        return self.explain_batch([(image, question)], methods, target, **options)[0]

    def explain_batch(
        self,
        pairs: Iterable[Pair],
        methods: str | Sequence[str] = DEFAULT_METHOD,
        target: str | int | list[str | int | None] | None = None,
        *,
        top_k: int = 5,
        truncate: bool = False,
        seed: int | list[int] = 0,
        word_regions: bool = False,
        without_patches: NDArray[np.bool_] | None = None,
        without_words: NDArray[np.bool_] | None = None,
    ) -> list[list[Explanation]]:
        """Explain many (image, question) pairs in one batch; one list of explanations per pair, in order.

        Questions may differ in length. Images that are equal are encoded once. `methods` is one name or several, each of which
        counts once; `all` stands for the methods as published. `top_k` answers are listed, one at least, `truncate` cuts a
        question that is too long, `seed` + i, 0 or more, feeds the method `random` for pair i. A list of targets or of seeds
        has one for each pair. `word_regions` also asks what goes with each word. Of a single pair, patches (h, w) and words (words,) that
        are True are left out, as `answer` does. Raises `BadInput` on an input that cannot be used.
        """
        chosen = find_methods(methods)
        top_k, pairs = whole_number(top_k, "top_k", 1), _checked(pairs)
        if not isinstance(target, list):
            target = [target] * max(len(pairs), 1)
        if not isinstance(seed, list):
            first = whole_number(seed, "seed", 0)
            seed = list(range(first, first + len(pairs)))
        targets = [TOP_ANSWER if one is None else self.answers.find(one) for one in target]
        seeds = [whole_number(one, "seed", 0) for one in seed]
        if not pairs:
            return []
        if not len(targets) == len(seeds) == len(pairs):
            raise BadInput(f"{len(targets)} targets and {len(seeds)} seeds are given for {len(pairs)} pairs: give one for each")
        if len(pairs) > 1 and not (without_patches is None and without_words is None):
            raise BadInput(f"patches and words are left out of one pair at a time, not of {len(pairs)}: ask one by one")
        clock = Clock()
        with clock.time("preprocess"):
            questions = [q if isinstance(q, EncodedQuestion) else self.encoder.encode(q, truncate) for _, q in pairs]
        images, tokens, mask = self._encode([image for image, _ in pairs], clock)
        ids = [question.ids for question in questions]
        leaving = None
        if without_patches is not None or without_words is not None:
            asked = Asked(images[0], questions[0], without_patches, without_words)
            leaving = Leaving(asked, images[0], questions[0], self.session.description)
        stay = leaving.stay if leaving else None
        answered = explain_tokens(self.session, tokens, ids, targets, chosen, clock, seeds, mask, word_regions, stay)
        left_out = None
        with clock.time("assemble"):
            if leaving and (before := answered[0].before) is not None:
                left_out = leaving.told(self._top_answer(before))
                answered = [leaving.restored(answered[0])]
            found = [
                self._explanations(image, question, result, chosen, top_k)
                for image, question, result in zip(images, questions, answered, strict=True)
            ]
        timings = clock.timings()
        return [[explanation(timings_ms=timings, left_out=left_out) for explanation in each] for each in found]

    def answer(
        self,
        image: ImageSource | PreparedImage,
        question: str | EncodedQuestion,
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
        top_k = whole_number(top_k, "top_k", 1)
        if not asked:
            return []
        clock = Clock()
        with clock.time("preprocess"):
            questions = [q if isinstance(q, EncodedQuestion) else self.encoder.encode(q) for q in (one.question for one in asked)]
        prepared, image_tokens, _ = self._encode([one.image for one in asked], clock)
        special = self.session.description.special
        sizes = [(image.grid[0] * image.grid[1], len(question.tokens)) for image, question in zip(prepared, questions, strict=True)]
        kept = [one.kept(question, patches, special[TEXT]) for one, question, (patches, _) in zip(asked, questions, sizes, strict=True)]
        with clock.time("embed_text"):
            text = embed_texts(self.session, [question.ids for question in questions]).embeddings
        logits = np.empty((len(asked), self.session.description.answers))
        groups: dict[tuple[int, int], list[int]] = {}
        for i, tokens in enumerate(kept):
            groups.setdefault((len(tokens.patches), len(tokens.words)), []).append(i)
        with clock.time(ANSWER):
            for members in groups.values():
                rows = np.array(members)
                image_kept = [kept_places(kept[i].patches, special[IMAGE], sizes[i][0] + sum(special[IMAGE])) for i in members]
                text_kept = [kept_places(kept[i].words, special[TEXT], sizes[i][1]) for i in members]
                image, words = Kept(image_tokens, rows, np.stack(image_kept)), Kept(text, rows, np.stack(text_kept))
                logits[rows] = to_numpy(answer_kept(self.session, image, words))
        timings = clock.timings()
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
        answers = self._answers(logits)
        return Prediction(
            image_name=image.name,
            image_size=image.picture.size,
            crop=image.crop.box,
            question=question,
            answer=answers(int(logits.argmax())),
            top=tuple(answers(int(i)) for i in np.argsort(-logits, kind="stable")[:top_k]),
            grid=image.grid,
            without_patches=places(asked.without_patches),
            without_words=places(asked.without_words),
            session=self.session.name,
            precision=self.session.precision,
            timings_ms=timings,
        )

    def _answers(self, logits: NDArray[np.float64]) -> Callable[[int], Answer]:
        """Gives the answer of an id, with its share of the softmax."""
        shares = softmax(logits)
        return lambda i: Answer(i, self.answers.names[i], float(logits[i]), float(shares[i]))

    def _top_answer(self, logits: NDArray[np.floating]) -> Answer:
        return self._answers(np.asarray(logits, dtype=np.float64))(int(logits.argmax()))

    def _encode(
        self, images: Sequence[ImageSource | PreparedImage], clock: Clock
    ) -> tuple[list[PreparedImage], Array, NDArray[np.bool_] | None]:
        """The images, prepared, their tokens (B, N, width), and the mask of these where images have unequal numbers of them; each distinct
        image is encoded once.

        `clock` gets, of images prepared here, the time that was waited for them, and of the others what their preparing took.
        """
        start = time.perf_counter()
        encoding = Clock()
        prepared: list[PreparedImage] = []

        def pixels() -> Iterator[NDArray[np.float32]]:
            for image in prepare_all(images, self.session.description):
                prepared.append(image)
                yield image.pixels

        encoded = encode_distinct(self.session, pixels(), ENCODED_TOGETHER, encoding, self.kept)
        with encoding.time("encode_image"):
            tokens, mask = encoded.each()
        waited = 1e3 * (time.perf_counter() - start) - encoding.milliseconds["encode_image"]
        here = [image.decode_ms + image.preprocess_ms for image, given in zip(prepared, images, strict=True) if image is not given]
        share = waited / sum(here) if here else 0.0
        for image, given in zip(prepared, images, strict=True):
            part = 1.0 if image is given else share
            clock.add("decode", part * image.decode_ms)
            clock.add("preprocess", part * image.preprocess_ms)
        clock.add("encode_image", encoding.milliseconds["encode_image"])
        return prepared, tokens, mask

    def _explanations(
        self, image: PreparedImage, question: EncodedQuestion, result: Answered, methods: Sequence[Method], top_k: int
    ) -> list[functools.partial[Explanation]]:
        """One explanation per method, complete but for its `timings_ms`, which no one knows yet."""
        model = self.session.description
        logits = np.asarray(to_numpy(result.logits), dtype=np.float64)
        answer = self._answers(logits)
        top = tuple(answer(int(i)) for i in np.argsort(-logits, kind="stable")[:top_k])
        remark = self.remark(image.picture) if self.remark else None
        notes = ([remark] if remark else []) + _truncation(question)
        found = []
        regions = [question.word_regions(to_numpy(one)).reshape(-1, *image.grid) for one in result.word_regions]
        for i, (method, relevance) in enumerate(zip(methods, result.relevances, strict=True)):
            used = solved_graphs(method.needs(model))
            solver = tuple(report for report in result.solver if report.graph in used)
            found.append(
                functools.partial(
                    Explanation,
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
                    notes=(*notes, *(report.note for report in solver if report.note)),
                    word_regions=regions[i] if regions else None,
                    word_regions_kind=method.between.kind if regions else None,
                )
            )
        return found


def _checked(pairs: Any) -> list[Pair]:
    """The pairs as a list. Raises `BadInput` where they are none."""
    if not isinstance(pairs, Iterable) or isinstance(pairs, str):
        raise BadInput(f"pairs is of type {type(pairs).__name__}: give a list of (image, question)")
    found = list(pairs)
    for i, pair in enumerate(found):
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise BadInput(f"pair {i} is no (image, question) but of type {type(pair).__name__}: give both, and nothing else")
    return found


def _truncation(question: EncodedQuestion) -> list[str]:
    return [f"the question was cut to its first {len(question.tokens)} tokens"] if question.truncated else []
