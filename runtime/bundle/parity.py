"""Whether a session gives what it should: the same questions through two sessions, or against outputs that were stored.

An export ends with this comparison, and its questions and float32 outputs travel in the bundle, so that any machine can
check itself without PyTorch and without the checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xai.base.description import TOP_ANSWER
from xai.base.errors import XaiError
from xai.runtime.description import Aspect, Boxes, Description, Square
from xai.runtime.engine import explain_tokens
from xai.runtime.inputs.encode import encode_images, pad_tokens
from xai.runtime.inputs.resize import preprocess
from xai.runtime.methods import METHODS
from xai.runtime.needs import EVERY
from xai.runtime.sessions.protocol import Session
from xai.runtime.target import directions

TOLERANCES = {"logits": 1e-4, "tokens": 1e-4, "evidence": 1e-4, "relevance": 1e-3}
"""Largest error of a float32 graph, relative to the largest expected value (`compare_observed`)."""

MIN_COSINE = 0.999
"""Of every relevance map of a graph of less than float32, to float32's."""

MIN_GAP = 1e-3
"""A Fiedler vector whose eigenvalue is closer to the next than this is not compared: it turns with any rounding."""

GRADIENT_FLOOR = 5e-3
"""Values are not expected to be better than float32 holds sums of gradients, whose roundings reach a few 1e-7 of the largest one
(measured: 3e-7, and it depends on the CPU): an error counts relative to at least this part of the question's largest gradient."""

SAMPLE = 1024
"""Stored evidence keeps this many evenly spaced values of each array."""

MAP_SAMPLE = 1 << 16
"""So many of a whole map are compared: at 576 px one layer's are 160 MB."""

BOXES = (12, 7)
"""Boxes of each picture, where pictures are given as boxes."""

LENGTHS = (3, 12, 7, 7)
"""Tokens of each question, special tokens included."""

BATCHED = (0, 1)
"""Questions that are also asked together, padded to one length."""


Picture = tuple[NDArray[Any], ...]


class TrialQuestion(NamedTuple):
    """`image` is the number of its picture, `target` an answer id or `TOP_ANSWER`."""

    image: int
    ids: NDArray[np.int64]
    target: int


@dataclass(frozen=True)
class Trial:
    """Pictures, each an image (h, w, 3) of bytes, or features (N, D) and boxes (N, 4), and questions on them."""

    pictures: tuple[Picture, ...]
    questions: tuple[TrialQuestion, ...]


@dataclass(frozen=True)
class Observed:
    """What a session gave for one question.

    `arrays` by name: `GROUP/...`, where GROUP is `logits`, `tokens`, `evidence` or `relevance`, and the rest says which; `gaps`
    of every Fiedler problem, such as `image0`.
    """

    arrays: Mapping[str, NDArray[Any]]
    gaps: Mapping[str, float]


class Closeness(NamedTuple):
    """Largest relative error of a group of arrays, and smallest cosine to what was expected."""

    error: float
    cosine: float


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
    questions = (
        TrialQuestion(0, ids[0], TOP_ANSWER),
        TrialQuestion(1, ids[1], TOP_ANSWER),
        TrialQuestion(0, ids[2], TOP_ANSWER),
        TrialQuestion(0, ids[2], other),
    )
    return Trial(pictures, questions)


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


def encode_picture(session: Session, picture: Picture) -> NDArray[Any]:
    """A picture's tokens (1, N, width)."""
    model = session.description
    arrays = picture if isinstance(model.picture, Boxes) else (preprocess(Image.fromarray(picture[0]), model)[0],)
    return encode_images(session, *(array[None] for array in arrays))


def _kinds(picture: Picture) -> list[tuple[str, tuple[int, ...]]]:
    """Type and shape of each array of a picture."""
    return [(array.dtype.str, array.shape) for array in picture]


def name_targets(trial: Trial, expected: Sequence[Observed]) -> Trial:
    """The same questions with the answers that were explained named, where rounding may make another answer the top one."""
    targets = [
        int(observed.arrays["logits/answer"].argmax()) if question.target == TOP_ANSWER else question.target
        for question, observed in zip(trial.questions, expected, strict=True)
    ]
    return Trial(trial.pictures, tuple(q._replace(target=target) for q, target in zip(trial.questions, targets, strict=True)))


def check_session(session: Session, trial: Trial, expected: Sequence[Observed]) -> dict[str, Closeness]:
    """Run a trial and compare with what it should give, whole maps too where they are among that.

    Raises `XaiError` where the session gives something that is not expected, or does not give what is.
    """
    with_maps = any(name.endswith("/attn") for name in expected[0].arrays)
    asked = trial if session.precision == "float32" else name_targets(trial, expected)
    return compare_observed(observe(session, asked, with_maps), expected)


def observe(session: Session, trial: Trial, with_maps: bool) -> list[Observed]:
    """Every question of a trial through every graph, one by one, and two of them again as one padded batch."""
    tokens = [encode_picture(session, picture) for picture in trial.pictures]
    found = []
    for question in trial.questions:
        arrays = _run_graphs(session, tokens[question.image], question, with_maps)
        relevances, gaps = _explain(session, tokens[question.image], None, [question])[0]
        found.append(Observed(arrays | {f"relevance/alone/{name}": value for name, value in relevances.items()}, gaps))
    batch = [trial.questions[i] for i in BATCHED]
    batched = _explain(session, *pad_tokens([tokens[question.image][0] for question in batch]), batch)
    for i, (relevances, _) in zip(BATCHED, batched, strict=True):
        found[i] = Observed({**found[i].arrays, **{f"relevance/batch/{name}": value for name, value in relevances.items()}}, found[i].gaps)
    return found


def _run_graphs(session: Session, image_tokens: NDArray[Any], question: TrialQuestion, with_maps: bool) -> dict[str, NDArray[Any]]:
    text_embeddings = session.run("embed_text", {"ids": question.ids[None]})["text_embeddings"]
    inputs = {
        "image_tokens": image_tokens,
        "image_mask": np.ones(image_tokens.shape[:2], dtype=bool),
        "text_embeddings": text_embeddings,
        "text_mask": np.ones(text_embeddings.shape[:2], dtype=bool),
    }
    found = {"tokens/image": image_tokens, "tokens/text": text_embeddings, "logits/answer": session.run("answer", inputs)["logits"]}
    inputs["direction"] = directions([question.target], session.description.answers)
    relevance = ("lrp",) if session.description.published.lrp else ()
    for graph in ("evidence", *relevance, *(("maps",) if with_maps else ())):
        for name, value in session.run(graph, inputs).items():
            if name == "logits":
                found[f"logits/{graph}"] = value
            else:
                found[f"evidence/{name}"] = _sample(value, MAP_SAMPLE) if graph == "maps" else value
    return found


def _explain(
    session: Session, image_tokens: NDArray[Any], image_mask: NDArray[np.bool_] | None, questions: Sequence[TrialQuestion]
) -> list[tuple[dict[str, NDArray[Any]], dict[str, float]]]:
    """Relevances by `METHOD LAYERS/STREAM` and gaps of each question, asked as one batch."""
    ids, targets = [question.ids for question in questions], [question.target for question in questions]
    found: list[tuple[dict[str, NDArray[Any]], dict[str, float]]] = [({}, {}) for _ in questions]
    compared = [method for method in METHODS.values() if method.name != "random" and method.offered(session.description)]
    kinds = [(True, False), (False, False), (True, True)]  # as published, our own, of every layer
    groups = ([m for m in compared if (m.published, m.layers == EVERY) == kind] for kind in kinds)
    for methods in groups:  # apart: together they would leave out the graph that gives the first alone
        explained = explain_tokens(session, image_tokens, ids, targets, methods, image_mask=image_mask)
        for (relevances, gaps), one in zip(found, explained, strict=True):
            gaps |= {report.graph: report.gap for report in one.solver}
            for method, relevance in zip(methods, one.relevances, strict=True):
                name = f"{method.base} {method.layers}" if method.layers else method.name
                relevances |= {f"{name}/{stream}": values for stream, values in relevance._asdict().items()}
    return found


def compare_observed(found: Sequence[Observed], expected: Sequence[Observed]) -> dict[str, Closeness]:
    """Measures by group: `logits`, `tokens`, `evidence KIND`, `relevance METHOD`, each over all questions.

    `expected` may hold samples, and relevances of fewer methods. Fiedler vectors of a narrow gap are left out. Raises `XaiError`
    where the names do not fit otherwise: what is not compared would pass.
    """
    measures: dict[str, Closeness] = {}
    for ours, theirs in zip(found, expected, strict=True):
        others = {name for name in ours.arrays if not name.startswith("relevance/")} ^ {
            name for name in theirs.arrays if not name.startswith("relevance/") or name not in ours.arrays
        }
        if others:
            raise XaiError(f"the outputs to compare with do not fit this model, {min(others)} for one: export the bundle again")
        gradients = [float(abs(v).max(initial=0)) for name, v in theirs.arrays.items() if name.endswith(("/gradient", "/grad"))]
        floor = GRADIENT_FLOOR * max(gradients)
        for name, wanted in theirs.arrays.items():
            if _is_unstable(name, theirs.gaps):
                continue
            got = ours.arrays[name]
            measure = _measure(got if got.shape == wanted.shape else _sample(got), wanted, floor)
            group = _group(name)
            worst = measures.get(group, measure)
            measures[group] = Closeness(max(worst.error, measure.error), min(worst.cosine, measure.cosine))
    return dict(sorted(measures.items()))


def failures(measures: Mapping[str, Closeness], precision: str) -> list[str]:
    """The groups that are not good enough for graphs of that precision."""
    if precision == "float32":
        return [group for group, measure in measures.items() if not measure.error <= TOLERANCES[group.split()[0]]]
    return [group for group, measure in measures.items() if group.startswith("relevance") and not measure.cosine >= MIN_COSINE]


def _measure(found: NDArray[Any], wanted: NDArray[Any], floor: float) -> Closeness:
    if found.shape != wanted.shape or not (np.isfinite(found).all() and np.isfinite(wanted).all()):
        return Closeness(float("inf"), -1.0)
    a, b = found.astype(np.float64).ravel(), wanted.astype(np.float64).ravel()
    size = float(abs(b).max(initial=0))
    if not max(size, floor) and a.any():
        return Closeness(float("inf"), -1.0)
    difference = float(abs(a - b).max(initial=0))
    error = difference / max(size, floor) if difference else 0.0  # of arrays that are all zero, too
    if size <= floor * TOLERANCES["relevance"] or not a.any():  # nothing to compare the direction of
        return Closeness(error, 1.0 if error <= TOLERANCES["relevance"] else 0.0)
    return Closeness(error, float(a @ b / np.sqrt((a @ a) * (b @ b))))


def _is_unstable(name: str, gaps: Mapping[str, float]) -> bool:
    group, *rest = name.split("/")
    if group != "relevance":
        return False
    method, stream = rest[1], rest[2]
    own = (gap for graph, gap in gaps.items() if graph.startswith(stream) or graph.endswith(f"/{stream}"))
    return method.startswith("dsmi") and any(gap < MIN_GAP for gap in own)


def _group(name: str) -> str:
    group, *rest = name.split("/")
    match group:
        case "evidence":
            return f"evidence {rest[-1]}"
        case "relevance":
            return f"relevance {rest[1]}"
    return group


def _sample(array: NDArray[Any], count: int = SAMPLE) -> NDArray[Any]:
    flat = array.ravel()
    return flat[np.linspace(0, flat.size - 1, count).astype(np.int64)] if flat.size > count else array


def save_trial(path: Path, trial: Trial, expected: Sequence[Observed]) -> None:
    """Write a trial and what it should give, large arrays as samples."""
    arrays: dict[str, NDArray[Any]] = {
        f"picture{i}/{j}": array for i, picture in enumerate(trial.pictures) for j, array in enumerate(picture)
    }
    for i, (question, observed) in enumerate(zip(trial.questions, expected, strict=True)):
        arrays |= {f"{i}/image": np.array(question.image), f"{i}/ids": question.ids, f"{i}/target": np.array(question.target)}
        arrays |= {f"{i}/arrays/{name}": _sample(value) for name, value in observed.arrays.items()}
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
            questions.append(TrialQuestion(content[f"{i}/image"].item(), content[f"{i}/ids"], content[f"{i}/target"].item()))
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
    for i, (image, ids, target) in enumerate(trial.questions):
        if type(image) is not int or not 0 <= image < len(trial.pictures):
            return f"question {i} on an image that is not there"
        if type(target) is not int or not TOP_ANSWER <= target < model.answers:
            return f"question {i} with a target that is no answer"
        fits = ids.dtype == np.int64 and ids.ndim == 1 and 2 <= len(ids) <= model.max_text_tokens
        if not fits or ids.min() < 0 or ids.max() >= model.vocab_size:
            return f"question {i} with tokens that the model does not take"
    for i, observed in enumerate(expected):
        if wrong := [name for name, value in observed.arrays.items() if value.dtype.kind != "f"]:
            return f"{wrong[0]} of question {i}, which is no array of numbers"
        if not any(name.startswith("relevance/") for name in observed.arrays):
            return f"no relevance of question {i}"
    return None


def parity_table(name: str, measures: Mapping[str, Closeness]) -> str:
    """Lines of text: a group, its largest relative error, its smallest cosine."""
    rows = [f"{name:<36} {'error':>9} {'cosine':>9}"]
    return "\n".join(rows + [f"  {group:<34} {measure.error:9.1e} {measure.cosine:9.6f}" for group, measure in measures.items()])
