"""The pipeline: images and questions in, explanations out."""

from __future__ import annotations

import functools
import math
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
from xai.runtime.engine import Answered, explain_as_published, explain_tokens
from xai.runtime.evidence import solved_graphs
from xai.runtime.explanation import Answer, Explanation
from xai.runtime.inputs.boxes import BoxFeatures, GivenBoxes
from xai.runtime.inputs.decode import ImageSource
from xai.runtime.inputs.encode import encode_distinct
from xai.runtime.inputs.kept import KeptImages
from xai.runtime.inputs.pairs import Pair, checked, for_each
from xai.runtime.inputs.prepare import PreparedImage, prepare, prepare_all
from xai.runtime.inputs.question import EncodedQuestion, QuestionEncoder
from xai.runtime.masked.left_out import Leaving
from xai.runtime.masked.masking import Kept, answer_kept, kept_places, text_to_cut
from xai.runtime.masked.prediction import Asked, Prediction, places
from xai.runtime.methods import DEFAULT_METHOD, Method, find_method, find_methods
from xai.runtime.sessions.protocol import Session
from xai.runtime.target import Contrast, Named, check_contrast, check_published, dependence_note, explained_by, find_target
from xai.spectral.arrays import Array, to_numpy

ENCODED_TOGETHER = 4
"""Images of a batch: while the session encodes some, threads decode the next."""

SCORE = "the model gives a score, to rank pairs of a picture and a text by; it is no probability"

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

    def check(
        self, question: str, target: Named = None, truncate: bool = False, versus: Named = None, methods: str | Sequence[str] = "all"
    ) -> EncodedQuestion:
        """Encode a question, for `explain` and the others to take in place of it.

        Raises the `XaiError` that explaining would, where the question, the target or what it is held against cannot be used.
        """
        find_target(self.answers, target, versus)
        if versus is not None:
            check_contrast(find_methods(methods))
        return self.encoder.encode(question, truncate)

    def prepare(self, image: ImageSource | BoxFeatures, boxes: GivenBoxes | None = None) -> PreparedImage:
        """Decode and preprocess an image, for `explain` and the others to take in place of it: a thread may do that ahead of them.

        `boxes` are the image's box features, for a model that takes them: a file of them (`inputs.boxes.read_row`), or the arrays.
        Without a picture, the file may stand in place of the image. Raises `BadInput` where the image cannot be used.
        """
        return prepare(image, self.session.description, boxes)

    def explain(
        self,
        image: ImageSource | BoxFeatures | PreparedImage,
        question: str | EncodedQuestion,
        method: str = DEFAULT_METHOD,
        target: Named = None,
        versus: Named = None,
        boxes: GivenBoxes | None = None,
        **options: Any,
    ) -> Explanation:
        """Answer `question` about `image`, and explain the answer, or `target` (an answer's name or id), by one method.

        With `versus`, another answer, it is explained why `target` and not that one. For `boxes` see `prepare`, for the options
        `explain_batch`. Raises `BadInput` on an input that cannot be used.
        """
        return self.explain_methods(image, question, [find_method(method).name], target, versus, boxes, **options)[0]

    def explain_methods(
        self,
        image: ImageSource | BoxFeatures | PreparedImage,
        question: str | EncodedQuestion,
        methods: str | Sequence[str] = "all",
        target: Named = None,
        versus: Named = None,
        boxes: GivenBoxes | None = None,
        **options: Any,
    ) -> list[Explanation]:
        """The same answer explained by several methods, as `explain_batch` takes them: the model runs once for all."""
        return self.explain_batch([(image, question)], methods, target, versus, boxes=[boxes], **options)[0]

    def explain_batch(
        self,
        pairs: Iterable[Pair],
        methods: str | Sequence[str] = DEFAULT_METHOD,
        target: Named | list[Named] = None,
        versus: Named | list[Named] = None,
        *,
        as_published: bool = False,
        top_k: int = 5,
        truncate: bool = False,
        seed: int | list[int] = 0,
        boxes: GivenBoxes | list[GivenBoxes | None] | None = None,
        word_regions: bool = False,
        without_patches: NDArray[np.bool_] | None = None,
        without_words: NDArray[np.bool_] | None = None,
    ) -> list[list[Explanation]]:
        """Explain many (image, question) pairs in one batch; one list of explanations per pair, in order.

        Questions may differ in length. Images that are equal are encoded once. `methods` is one name or several, each of which
        counts once; `all` stands for every method that the model offers. `top_k` answers are listed, one at least,
        `truncate` cuts a question that is too long, `seed` + i, 0 or more, feeds the method `random` for pair i, `boxes` are the
        images' box features (`prepare`). A list of targets, of answers that they are held against (`versus`), of seeds or of boxes
        has one for each pair. `as_published` explains what the figures published for the model explained: the model's own answer, or
        for some methods of some models the sum of all scores. `word_regions` also asks what goes with each word. Of a single pair,
        patches (h, w) or boxes (N,) and words (words,) that are True are left out. Raises `BadInput` on an input that cannot be used.
        """
        chosen = find_methods(methods, self.session.description)
        top_k, pairs = whole_number(top_k, "top_k", 1), checked(pairs)
        named, against = for_each(target, pairs), for_each(versus, pairs)
        if not isinstance(seed, list):
            first = whole_number(seed, "seed", 0)
            seed = list(range(first, first + len(pairs)))
        if as_published:
            check_published(chosen, self.session.description, named, against)
        if any(one is not None for one in against):
            check_contrast(chosen)
        if not pairs:
            return []
        given = boxes if isinstance(boxes, list) else [boxes] * len(pairs)
        if not len(named) == len(against) == len(seed) == len(given) == len(pairs):
            counts = f"{len(named)} targets, {len(against)} answers that they are held against, {len(seed)} seeds and {len(given)} boxes"
            raise BadInput(f"{counts} are given for {len(pairs)} pairs: give one for each")
        targets = [find_target(self.answers, *both) for both in zip(named, against, strict=True)]
        seeds = [whole_number(one, "seed", 0) for one in seed]
        if len(pairs) > 1 and not (without_patches is None and without_words is None):
            raise BadInput(f"patches and words are left out of one pair at a time, not of {len(pairs)}: ask one by one")
        clock = Clock()
        with clock.time("preprocess"):
            questions = [q if isinstance(q, EncodedQuestion) else self.encoder.encode(q, truncate) for _, q in pairs]
        images, tokens, mask = self._encode([image for image, _ in pairs], clock, given)
        ids = [question.ids for question in questions]
        leaving = None
        if without_patches is not None or without_words is not None:
            leaving = Leaving(images[0], questions[0], without_patches, without_words, self.session.description)
        stay = leaving.stay if leaving else None
        explain = explain_as_published if as_published else explain_tokens
        answered = explain(self.session, tokens, ids, targets, chosen, clock, seeds, mask, word_regions, stay)
        left_out = None
        with clock.time("assemble"):
            if leaving and (before := answered[0].before) is not None:
                left_out = leaving.told(self._top_answer(before))
                answered = [leaving.restored(answered[0])]
            found = [
                self._explanations(image, question, result, chosen, top_k, target != TOP_ANSWER)
                for image, question, result, target in zip(images, questions, answered, targets, strict=True)
            ]
        timings = clock.timings()
        return [[explanation(timings_ms=timings, left_out=left_out) for explanation in each] for each in found]

    def answer(
        self,
        image: ImageSource | BoxFeatures | PreparedImage,
        question: str | EncodedQuestion,
        *,
        without_patches: NDArray[np.bool_] | None = None,
        without_words: NDArray[np.bool_] | None = None,
        top_k: int = 5,
        boxes: GivenBoxes | None = None,
    ) -> Prediction:
        """Answer `question` about `image`, without the patches (h, w) or boxes (N,) and the words (words,) that are True: what the
        perturbation test does. For `boxes` see `prepare`. Raises `XaiError` on an input that cannot be used."""
        if boxes is not None:
            if isinstance(image, PreparedImage):
                raise BadInput(f"{image.name} is prepared already: give its box features to `prepare`")
            image = self.prepare(image, boxes)
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
        sizes = [(math.prod(image.shape), len(question.tokens)) for image, question in zip(prepared, questions, strict=True)]
        kept = [one.kept(question, patches, special[TEXT]) for one, question, (patches, _) in zip(asked, questions, sizes, strict=True)]
        with clock.time("embed_text"):
            text = text_to_cut(self.session, [question.ids for question in questions])
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
            boxes=image.boxes,
        )

    def _answers(self, logits: NDArray[np.float64]) -> Callable[[int], Answer]:
        """Gives the answer of an id, with its share of the softmax unless the model gives a score."""
        shares = None if self.session.description.shown == "score" else softmax(logits)
        return lambda i: Answer(i, self.answers.names[i], float(logits[i]), None if shares is None else float(shares[i]))

    def _top_answer(self, logits: NDArray[np.floating]) -> Answer:
        return self._answers(np.asarray(logits, dtype=np.float64))(int(logits.argmax()))

    def _encode(
        self, images: Sequence[ImageSource | BoxFeatures | PreparedImage], clock: Clock, boxes: Sequence[GivenBoxes | None] | None = None
    ) -> tuple[list[PreparedImage], Array, NDArray[np.bool_] | None]:
        """The images, prepared, their tokens (B, N, width), and the mask of these where images have unequal numbers of them; each distinct
        image is encoded once.

        `clock` gets, of images prepared here, the time that was waited for them, and of the others what their preparing took.
        """
        start = time.perf_counter()
        encoding = Clock()
        prepared: list[PreparedImage] = []

        def pixels() -> Iterator[tuple[NDArray[np.float32], ...]]:
            for image in prepare_all(images, self.session.description, boxes):
                prepared.append(image)
                # In place of no box at all stands one that is masked: no graph takes none.
                yield image.arrays if 0 not in image.shape else tuple(np.zeros((1, x.shape[1]), np.float32) for x in image.arrays)

        encoded = encode_distinct(self.session, pixels(), ENCODED_TOGETHER, encoding, self.kept)
        with encoding.time("encode_image"):
            tokens, mask = encoded.each()
            if empty := [i for i, image in enumerate(prepared) if 0 in image.shape]:
                mask = np.ones(tokens.shape[:2], dtype=bool) if mask is None else mask.copy()
                mask[empty] = False
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
        self, image: PreparedImage, question: EncodedQuestion, result: Answered, methods: Sequence[Method], top_k: int, named: bool
    ) -> list[functools.partial[Explanation]]:
        """One explanation per method, complete but for its `timings_ms`, which no one knows yet; `named` says that an answer was."""
        model = self.session.description
        logits = np.asarray(to_numpy(result.logits), dtype=np.float64)
        answer = self._answers(logits)
        top = tuple(answer(int(i)) for i in np.argsort(-logits, kind="stable")[:top_k])
        remark = self.remark(image.picture) if self.remark else None
        notes = [*([remark] if remark else []), *([SCORE] if model.shown == "score" else []), *image.notes, *_truncation(question)]
        found = []
        regions = [question.word_regions(to_numpy(one)).reshape(len(question.words), *image.shape) for one in result.word_regions]
        for i, (method, relevance, target) in enumerate(zip(methods, result.relevances, result.explained, strict=True)):
            explains = explained_by(method, target)
            versus = answer(target.versus) if isinstance(target, Contrast) else None
            said = dependence_note(method, explains, answer(result.target).text, versus.text if versus else "", named)
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
                    image_relevance=to_numpy(relevance.image).reshape(image.shape),
                    text_relevance=to_numpy(relevance.text),
                    solver=solver,
                    session=self.session.name,
                    precision=self.session.precision,
                    versus=versus,
                    explains=explains,
                    signed=explains == "difference" and method.dependence == "linear",
                    notes=(*notes, *([said] if said else []), *(report.note for report in solver if report.note)),
                    boxes=image.boxes,
                    word_regions=regions[i] if regions else None,
                    word_regions_kind=method.between.kind if regions else None,
                )
            )
        return found


def _truncation(question: EncodedQuestion) -> list[str]:
    return [f"the question was cut to its first {len(question.tokens)} tokens"] if question.truncated else []
