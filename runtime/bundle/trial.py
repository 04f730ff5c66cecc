"""The questions by which one session is held against another, and the file that keeps them with what they should give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xai.base.description import TOP_ANSWER
from xai.base.errors import XaiError
from xai.runtime.description import Aspect, Boxes, Description, Square

SAMPLE = 1024
"""Stored evidence keeps this many evenly spaced values of each array."""

BOXES = (12, 7)
"""Boxes of each picture, where pictures are given as boxes."""

LENGTHS = (3, 12, 7, 7)
"""Tokens of each question, special tokens included."""

BATCHED = (0, 1)
"""Questions that are also asked together, padded to one length."""

DEFAULT = 2
"""The question that is asked again with a session's own options where the rest was asked with those that save memory; none of the batch."""

WHOLE = 1
"""The question that is asked about all tokens of its picture."""

FEW, FEWER = 65, 25
"""Image tokens that the others see at most, of a batch's two questions the first and the second: time and memory grow with their
square, and no graph knows how many there are."""

ALL_TOKENS = 0
"""In place of a number of tokens."""


Picture = tuple[NDArray[Any], ...]


class TrialQuestion(NamedTuple):
    """`image` is the number of its picture, `target` an answer id or `TOP_ANSWER`.

    `tokens` and `batched` say how many of the picture's tokens are looked at, evenly spaced, when it is asked alone and in the batch:
    all where there are not more, or where it is `ALL_TOKENS`.
    """

    image: int
    ids: NDArray[np.int64]
    target: int
    tokens: int = ALL_TOKENS
    batched: int = ALL_TOKENS


@dataclass(frozen=True)
class Trial:
    """Pictures, each an image (h, w, 3) of bytes, or features (N, D) and boxes (N, 4), and questions on them."""

    pictures: tuple[Picture, ...]
    questions: tuple[TrialQuestion, ...]
    batch: tuple[int, ...] = BATCHED
    """Numbers of the questions that are asked together as well."""


@dataclass(frozen=True)
class Observed:
    """What a session gave for one question.

    `arrays` by name: `GROUP/...`, where GROUP is `logits`, `tokens`, `evidence` or `relevance`, and the rest says which; `gaps`
    of every Fiedler problem, such as `image0`.
    """

    arrays: Mapping[str, NDArray[Any]]
    gaps: Mapping[str, float]


def make_trial(model: Description, ends: tuple[int, int] = (0, 2)) -> Trial:
    """Four questions of three lengths on two pictures; the last two differ in their target only. Always the same for a model.

    `ends` are the ids that every question begins and ends with; the default is RoBERTa's.
    """
    rng = np.random.default_rng(20)
    pictures = make_pictures(model.picture, rng)
    first, last = ends
    inner = [rng.integers(4, model.vocab_size, min(length, model.max_text_tokens) - 2) for length in LENGTHS]
    ids = [np.array([first, *some, last], dtype=np.int64) for some in inner]
    other = int(rng.integers(0, model.answers))
    questions = [
        TrialQuestion(0, ids[0], TOP_ANSWER, FEW, FEW),
        TrialQuestion(1, ids[1], TOP_ANSWER, FEW, FEWER),
        TrialQuestion(0, ids[2], TOP_ANSWER, FEW),
        TrialQuestion(0, ids[2], other, FEW),
    ]
    questions[WHOLE] = questions[WHOLE]._replace(tokens=ALL_TOKENS)
    return Trial(pictures, tuple(questions))


def make_pictures(recipe: Square | Aspect | Boxes, rng: np.random.Generator) -> tuple[Picture, ...]:
    """Two pictures of smooth colours, of unequal size where a model keeps it, or of boxes."""
    if isinstance(recipe, Boxes):
        return tuple((rng.random((n, recipe.width), np.float32), rng.random((n, 4), np.float32)) for n in BOXES)
    side = recipe.size if isinstance(recipe, Square) else recipe.shorter
    sizes = ((side, side), (side if isinstance(recipe, Square) else min(4 * side // 3, recipe.longer), side))
    coarse = rng.integers(0, 256, (2, 6, 6, 3), dtype=np.uint8)
    return tuple(
        (np.asarray(Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)),) for small, size in zip(coarse, sizes, strict=True)
    )


def _kinds(picture: Picture) -> list[tuple[str, tuple[int, ...]]]:
    """Type and shape of each array of a picture."""
    return [(array.dtype.str, array.shape) for array in picture]


def name_targets(trial: Trial, expected: Sequence[Observed]) -> Trial:
    """The same questions with the answers that were explained named, where rounding may make another answer the top one."""
    answers = (observed.arrays["logits/answer"] for observed in expected)
    return replace(trial, questions=tuple(named(*pair) for pair in zip(trial.questions, answers, strict=True)))


def named(question: TrialQuestion, logits: NDArray[Any]) -> TrialQuestion:
    """A question with its answer named, the top one of `logits` where none was."""
    return question._replace(target=int(logits.argmax())) if question.target == TOP_ANSWER else question


def only(trial: Trial, number: int) -> Trial:
    """One question of a trial, alone."""
    question = trial.questions[number]
    return Trial((trial.pictures[question.image],), (question._replace(image=0),), ())


def list_runs(trial: Trial, expected: Sequence[Observed], options: str) -> list[dict[str, Any]]:
    """Say what a trial runs through every graph: for each run the tokens of its questions and of their images, and a session's options."""
    seen = [observed.arrays["tokens/image"].shape[1] for observed in expected]

    def run(numbers: Sequence[int], counts: Sequence[int]) -> dict[str, Any]:
        return {
            "text_tokens": [len(trial.questions[i].ids) for i in numbers],
            "image_tokens": [min(count or seen[i], seen[i]) for i, count in zip(numbers, counts, strict=True)],
            "options": options,
        }

    alone = [run([i], [question.tokens]) for i, question in enumerate(trial.questions)]
    return [*alone, run(trial.batch, [trial.questions[i].batched for i in trial.batch])] if trial.batch else alone


def sample(array: NDArray[Any], count: int = SAMPLE) -> NDArray[Any]:
    """At most `count` evenly spaced values of an array, flat; the array itself where it has no more."""
    flat = array.ravel()
    return flat[np.linspace(0, flat.size - 1, count).astype(np.int64)] if flat.size > count else array


def save_trial(path: Path, trial: Trial, expected: Sequence[Observed]) -> None:
    """Write a trial and what it should give, large arrays as samples."""
    arrays: dict[str, NDArray[Any]] = {
        f"picture{i}/{j}": array for i, picture in enumerate(trial.pictures) for j, array in enumerate(picture)
    }
    for i, (question, observed) in enumerate(zip(trial.questions, expected, strict=True)):
        arrays |= {f"{i}/{name}": np.asarray(value) for name, value in question._asdict().items()}
        arrays |= {f"{i}/arrays/{name}": sample(value) for name, value in observed.arrays.items()}
        arrays |= {f"{i}/gaps/{name}": np.array(value) for name, value in observed.gaps.items()}
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def load_trial(path: Path, model: Description) -> tuple[Trial, list[Observed]]:
    """Read what `save_trial` wrote. Raises `XaiError` where it cannot, and where the questions are not such as that model takes."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            content = {name: file[name] for name in file.files}
        questions: list[TrialQuestion] = []
        expected: list[Observed] = []
        while f"{len(questions)}/ids" in content:
            i = len(questions)
            seen = [content.get(f"{i}/{name}", np.array(ALL_TOKENS)).item() for name in ("tokens", "batched")]  # older bundles look at all
            questions.append(TrialQuestion(content[f"{i}/image"].item(), content[f"{i}/ids"], content[f"{i}/target"].item(), *seen))
            arrays, gaps = (
                {name.removeprefix(p): v for name, v in content.items() if name.startswith(p)} for p in (f"{i}/arrays/", f"{i}/gaps/")
            )
            expected.append(Observed(arrays, {name: float(gap) for name, gap in gaps.items()}))
        pictures: list[Picture] = []
        while f"picture{len(pictures)}/0" in content:
            parts = [content.get(f"picture{len(pictures)}/{j}") for j in range(2)]
            pictures.append(tuple(part for part in parts if part is not None))
        trial = Trial(tuple(pictures), tuple(questions))
    except Exception as error:  # of zipfile, zlib or NumPy, whatever a damaged file makes them raise
        raise XaiError(f"{path} holds no questions and answers: export the bundle again") from error
    if problem := _find_problem(trial, expected, model):
        raise XaiError(f"{path} holds {problem}: export the bundle again")
    return trial, expected


def _find_problem(trial: Trial, expected: Sequence[Observed], model: Description) -> str | None:
    """What of a trial that was read cannot be asked or compared, in words."""
    if [_kinds(picture) for picture in trial.pictures] != [_kinds(picture) for picture in make_trial(model).pictures]:
        return "pictures of another kind or size than the model sees"
    if len(trial.questions) <= max(BATCHED):
        return f"{len(trial.questions)} questions, not {len(LENGTHS)}"
    for i, (image, ids, target, *seen) in enumerate(trial.questions):
        if type(image) is not int or not 0 <= image < len(trial.pictures):
            return f"question {i} on an image that is not there"
        if type(target) is not int or not TOP_ANSWER <= target < model.answers:
            return f"question {i} with a target that is no answer"
        if not all(type(count) is int and (count == ALL_TOKENS or count >= 2) for count in seen):
            return f"question {i} on a number of tokens that no picture has"
        fits = ids.dtype == np.int64 and ids.ndim == 1 and 2 <= len(ids) <= model.max_text_tokens
        if not fits or ids.min() < 0 or ids.max() >= model.vocab_size:
            return f"question {i} with tokens that the model does not take"
    for i, observed in enumerate(expected):
        if wrong := [name for name, value in observed.arrays.items() if value.dtype.kind != "f"]:
            return f"{wrong[0]} of question {i}, which is no array of numbers"
        if not any(name.startswith("relevance/") for name in observed.arrays):
            return f"no relevance of question {i}"
    return None
