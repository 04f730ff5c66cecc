"""Whether a session gives what it should: the same questions through two sessions, or against outputs that were stored.

An export ends with this comparison, and its questions and float32 outputs travel in the bundle, so that any machine can
check itself without PyTorch and without the checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xai.base.errors import XaiError
from xai.runtime.bundle.observe import observe
from xai.runtime.bundle.trial import Observed, Trial, name_targets, sample
from xai.runtime.sessions.protocol import Session

TOLERANCES = {"logits": 1e-4, "tokens": 1e-4, "evidence": 1e-4, "relevance": 1e-3}
"""Largest error of a float32 graph, relative to the largest expected value (`compare_observed`)."""

MIN_COSINE = 0.999
"""Of every relevance map of a graph of less than float32, to float32's."""

MIN_GAP = 1e-3
"""A Fiedler vector whose eigenvalue is closer to the next than this is not compared: it turns with any rounding."""

GRADIENT_FLOOR = 5e-3
"""Values are not expected to be better than float32 holds sums of gradients, whose roundings reach a few 1e-7 of the largest one
(measured: 3e-7, and it depends on the CPU): an error counts relative to at least this part of the question's largest gradient."""


class Closeness(NamedTuple):
    """Largest relative error of a group of arrays, and smallest cosine to what was expected."""

    error: float
    cosine: float


def check_session(session: Session, trial: Trial, expected: Sequence[Observed]) -> dict[str, Closeness]:
    """Run a trial through a bundle's graphs and compare with what it should give, whole maps too where they are among that.

    Raises `XaiError` where the session gives something that is not expected, or does not give what is.
    """
    with_maps = any(name.endswith("/attn") for name in expected[0].arrays)
    asked = trial if session.precision == "float32" else name_targets(trial, expected)
    return compare_observed(observe(session, asked, with_maps, bundled=True), expected)


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
            measure = _measure(got if got.shape == wanted.shape else sample(got), wanted, floor)
            measures = worst(measures, {_group(name): measure})
    return measures


def worst(*several: Mapping[str, Closeness]) -> dict[str, Closeness]:
    """The worst of several measures of each group, in order."""
    found = dict(several[0])
    for measures in several[1:]:
        for group, measure in measures.items():
            before = found.get(group, measure)
            found[group] = Closeness(max(before.error, measure.error), min(before.cosine, measure.cosine))
    return dict(sorted(found.items()))


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


def parity_table(name: str, measures: Mapping[str, Closeness]) -> str:
    """Lines of text: a group, its largest relative error, its smallest cosine."""
    rows = [f"{name:<36} {'error':>9} {'cosine':>9}"]
    return "\n".join(rows + [f"  {group:<34} {measure.error:9.1e} {measure.cosine:9.6f}" for group, measure in measures.items()])
