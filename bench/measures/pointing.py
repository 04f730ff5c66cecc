"""The pointing game: does the most relevant patch lie in the region that the question is about?

Needs scenes whose true region is known (`xai.bench.data.scenes`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xai.base.errors import BadInput
from xai.bench.data.regions import Region, square_cells
from xai.bench.data.scenes import CATEGORIES, SCENE_SIDE, Question, Scene, samples, true_region
from xai.bench.tables import plain
from xai.runtime.description import Boxes
from xai.runtime.explainer import Explainer
from xai.runtime.methods import METHODS


@dataclass(frozen=True)
class Pointing:
    """Results of n questions for each of m methods."""

    methods: tuple[str, ...]
    hits: NDArray[np.bool_]
    """(n, m): the maximum lies in a patch that the true region touches."""
    energy: NDArray[np.float64]
    """(n, m): share of the relevance inside the true region, patches weighted by how much of them it covers."""
    correct: NDArray[np.bool_]
    """(n,): the model's answer was right."""
    categories: tuple[str, ...]
    """(n,) category of each question."""


def is_hit(relevance: NDArray[np.floating], covered: Region) -> bool:
    """Say whether the maximum of `relevance` (rows, columns) lies in a patch that the region touches; the first of equal maxima counts."""
    return bool(covered.flat[int(relevance.argmax())] > 0)


def energy_inside(relevance: NDArray[np.floating], covered: Region) -> float:
    """Compute the share of the relevance (rows, columns), all >= 0, that lies in the region; 0 where there is no relevance."""
    total = relevance.sum()
    return float((relevance * covered).sum() / total) if total > 0 else 0.0


def pointing_samples(seed: int, count: int) -> list[tuple[Scene, Question]]:
    """Generate the first `count` questions that are about some shape: one with an empty region cannot be pointed at."""
    found: list[tuple[Scene, Question]] = []
    wanted = count
    while len(found) < count:
        wanted *= 2
        found = [(scene, question) for scene, question in samples(seed, wanted) if question.region]
    return found[:count]


def pointing_game(
    explainer: Explainer, seed: int, count: int, batch: int = 16, track: Callable[[Sequence[int]], Iterable[int]] = iter
) -> Pointing:
    """Play with every method; `track` may show the batches pass. Raises `BadInput` where the model takes boxes: scenes have none."""
    if isinstance(explainer.session.description.picture, Boxes):
        raise BadInput(f"the pointing game is played on generated scenes, and {explainer.session.source} takes boxes with features")
    played = pointing_samples(seed, count)
    methods = tuple(name for name, method in METHODS.items() if method.offered(explainer.session.description))
    hits, energy, correct = [], [], []
    for start in track(range(0, count, batch)):
        part = played[start : start + batch]
        pairs = [(scene.draw(SCENE_SIDE), question.text) for scene, question in part]
        explained = explainer.explain_batch(pairs, methods, seed=seed + start)
        for (scene, question), found in zip(part, explained, strict=True):
            maps = [explanation.image_relevance for explanation in found]
            covered = true_region(scene, question.region, square_cells(*maps[0].shape))
            assert covered is not None  # every question here is about some shape
            hits.append([is_hit(m, covered) for m in maps])
            energy.append([energy_inside(m, covered) for m in maps])
            correct.append(found[0].answer.text == question.answer)
    return Pointing(methods, np.array(hits), np.array(energy), np.array(correct), tuple(q.category for _, q in played))


def pointing_table(result: Pointing, categories: Sequence[str] = CATEGORIES) -> str:
    """Write as Markdown the hit rate of every method with its 95 % interval, by category too, and the energy inside."""
    shown = [c for c in categories if c in result.categories]
    rows = []
    of = {c: np.array([category == c for category in result.categories]) for c in shown}
    for i, method in enumerate(result.methods):
        hit = result.hits[:, i]
        low, high = wilson(int(hit.sum()), len(hit))
        right = f"{hit[result.correct].mean():.1%}" if result.correct.any() else "-"
        cells = [method, f"{hit.mean():.1%}", f"{low:.1%} - {high:.1%}", right, f"{result.energy[:, i].mean():.1%}"]
        rows.append(cells + [f"{hit[of[c]].mean():.0%}" for c in shown])
    return plain(["method", "hits", "95 % interval", "hits, answer right", "energy inside", *shown], rows)


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Compute the 95 % interval of a share (Wilson 1927, J. Am. Stat. Assoc. 22)."""
    z = 1.959964
    centre = (hits + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * (hits * (n - hits) / n + z * z / 4) ** 0.5
    return centre - half, centre + half
