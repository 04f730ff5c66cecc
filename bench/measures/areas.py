"""The published test: how long the answer lasts while tokens of one modality are removed in order of relevance.

docs/methods.md, Perturbation test.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xai.base.reading import MEGABYTE, Fields
from xai.bench.data.regions import Region
from xai.bench.measures.measure import DIGITS, Answers, Key, LineKind, Measure, QuestionMaps, Scope
from xai.bench.measures.pointing import energy_inside, is_hit
from xai.bench.perturb.plan import STEPS, Maps, Subset, exact_counts, keeping_order, published_counts
from xai.runtime.description import IMAGE
from xai.spectral import Status

_STEPS = ("kept", "answers", "accuracies", "probabilities")
_OPEN_STATUSES = tuple(status.name.lower() for status in Status if status is not Status.CONVERGED)


class Curve(NamedTuple):
    """One curve of one question: relevance number `method` of those planned, one of `MODALITIES`, one of `SIGNS`."""

    method: int
    modality: str
    sign: str


def curves(scope: Scope) -> Iterator[Curve]:
    """List the curves of a question in the order of their lines: modality, sign, method."""
    for modality, sign, method in product(scope.modalities, scope.signs, range(len(scope.methods))):
        yield Curve(method, modality, sign)


def curve_rows(maps: Maps, scope: Scope) -> dict[tuple[Curve, int], int]:
    """Number what the curves keep, at the published and at the exact counts: (curve, tokens kept) -> place among the subsets."""
    steps = [(curve, count) for curve in curves(scope) for count in _counts(maps.tokens(curve.modality))]
    return {step: row for row, step in enumerate(steps)}


def curve_subsets(maps: Maps, scope: Scope) -> list[Subset]:
    """List what the curves keep, in the order of `curve_rows`."""
    found = []
    for curve in curves(scope):
        order = keeping_order(maps.of(curve.modality)[curve.method], curve.sign)
        found += [maps.keep(**{curve.modality: order[:count]}) for count in _counts(len(order))]
    return found


def _counts(n: int) -> list[int]:
    return sorted({*published_counts(n), *exact_counts(n)}, reverse=True)


def _keys(scope: Scope) -> list[Key]:
    return [{"modality": modality, "sign": sign, "method": scope.methods[method]} for method, modality, sign in curves(scope)]


def _fields(explained: QuestionMaps, answers: Answers) -> list[dict[str, Any]]:
    maps, label = explained.maps, explained.sample.label
    rows = curve_rows(maps, explained.scope)

    def steps(curve: Curve, counts: Sequence[int]) -> dict[str, Any]:
        kept = [rows[curve, count] for count in counts]
        given = [answers.names[row] for row in kept]
        return {
            "kept": list(counts),
            "answers": given,
            "accuracies": [label.get(answer, 0.0) for answer in given],
            "probabilities": [round(float(answers.probabilities[row]), DIGITS) for row in kept],
        }

    def line(curve: Curve) -> dict[str, Any]:
        n = maps.tokens(curve.modality)
        published, exact = published_counts(n), exact_counts(n)
        return {
            **steps(curve, published),
            "exact": steps(curve, exact) if exact != published else None,
            "pointing": _pointing(maps.image[curve.method], explained.region) if curve.modality == IMAGE else None,
            "solver": dict(explained.open_graphs[curve.method][curve.modality]),
        }

    return [line(curve) for curve in curves(explained.scope)]


def _pointing(relevance: NDArray[np.floating], region: Region | None) -> Mapping[str, Any] | None:
    """Say whether the most relevant patch lies in the true region, and the share of relevance inside; None where it is unknown."""
    if region is None:
        return None
    values = relevance.reshape(region.shape)
    return {"hit": is_hit(values, region), "energy": round(energy_inside(values, region), DIGITS)}


def _check(fields: Fields) -> None:
    counts = published_counts(_check_steps(fields))
    if fields.content["kept"] != list(counts):
        raise fields.refuse("kept", "is not what the steps keep")
    exact = exact_counts(counts[0])
    if fields.get("exact", dict, type(None)) is not None:
        inner = fields.inner("exact")
        inner.only(*_STEPS)
        _check_steps(inner)
    if (fields.content["exact"] or {"kept": list(counts)})["kept"] != list(exact):
        raise fields.refuse("exact", "is not what exact steps keep")
    if fields.get("pointing", dict, type(None)) is not None:
        pointing = fields.inner("pointing")
        pointing.only("hit", "energy")
        pointing.get("hit", bool)
        pointing.number("energy", 0, 1)
    solver = fields.inner("solver")
    for graph in solver.content:
        solver.among(graph, _OPEN_STATUSES)


def _check_steps(fields: Fields) -> int:
    """Check the four lists of one curve; returns how many tokens there are before any is removed."""
    for name, kind in (("kept", int), ("answers", str), ("accuracies", float), ("probabilities", float)):
        if len(fields.items(name, kind)) != len(STEPS):
            raise fields.refuse(name, f"has not {len(STEPS)} values")
    for name in ("accuracies", "probabilities"):
        if not all(0 <= value <= 1 for value in fields.content[name]):
            raise fields.refuse(name, "holds a number that is not within 0 and 1")
    most = fields.content["kept"][0]
    if not 0 <= most <= MEGABYTE:
        raise fields.refuse("kept", "begins with a number of tokens that no question has")
    return most


AREAS = Measure(
    "published",
    "AUC of the accuracy over the removed fraction",
    _keys,
    lambda explained: curve_subsets(explained.maps, explained.scope),
    _fields,
    LineKind((*_STEPS, "exact", "pointing", "solver"), _check),
)
