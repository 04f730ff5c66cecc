"""Holds the engine against the published procedure, question by question, and measures what the difference in speed is."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xai.base.errors import BadInput, XaiError
from xai.base.files import json_bytes, write
from xai.bench.data.sample import Sample
from xai.bench.measures.areas import Curve, curve_rows
from xai.bench.measures.table import FIRST
from xai.bench.perturb.answering import Measured, run_chunk
from xai.bench.perturb.plan import min_max, published_counts
from xai.bench.perturb.request import FLOOR, Request
from xai.bench.perturb.run import prepare_chunk
from xai.runtime.description import IMAGE
from xai.runtime.explainer import Explainer
from xai.workers.crew import Chunk

TIE = 1e-5
"""Scores scaled to [0, 1] that differ by less may change places: float32 sums them in another order."""
LOGITS = 1e-3
"""Largest difference of a logit that counts as equal."""


@dataclass
class CrossCheck:
    """What was compared, and where the two differ; a step is one row of logits."""

    questions: int = 0
    steps: int = 0
    same_tokens: int = 0
    """Steps that keep the same tokens."""
    max_logit_difference: float = 0.0
    """Over the steps that keep the same tokens."""
    answers_differing: list[str] = field(default_factory=list)
    """Steps that keep the same tokens and differ in answer or logits."""
    ties: list[str] = field(default_factory=list)
    """Steps that keep other tokens, all of whose scores lie within `TIE` of each other."""
    open_graphs: list[str] = field(default_factory=list)
    """Steps that keep other tokens because a graph has no simple solution: the published code's vector is then arbitrary."""
    orders_differing: list[str] = field(default_factory=list)
    """Steps that keep other tokens for no such reason."""
    fails_in_reference: list[str] = field(default_factory=list)
    """Runs that the published code cannot do."""
    unchecked: list[str] = field(default_factory=list)
    """Methods that the published procedure was not written out for."""
    reference_seconds: float = 0.0
    seconds: float = 0.0

    @property
    def speed_ratio(self) -> float | None:
        """How many times as fast; None where nothing was compared."""
        return self.reference_seconds / self.seconds if self.reference_seconds else None

    def summary(self) -> str:
        """Say it in a few lines, for a terminal."""
        ratio = self.speed_ratio
        lines = [
            f"Cross-check with the published procedure: {self.questions} questions, {self.steps} steps",
            f"  same tokens kept: {self.same_tokens}, largest difference of a logit {self.max_logit_difference:.1e}, "
            f"differing beyond {LOGITS:g}: {len(self.answers_differing)}",
            f"  other tokens kept: ties within {TIE:g}: {len(self.ties)}, graphs without a simple solution: {len(self.open_graphs)}, "
            f"another order: {len(self.orders_differing)}",
            *(f"    {text}" for text in (*self.answers_differing, *self.orders_differing)[:10]),
            f"  runs that the published code cannot do: {len(self.fails_in_reference)}",
            *([f"  not checked, having no published counterpart here: {', '.join(self.unchecked)}"] if self.unchecked else []),
            *([f"  {self.reference_seconds:.2f} s against {self.seconds:.2f} s: {ratio:.1f} times as fast"] if ratio else []),
        ]
        return "\n".join(lines)


def check_reference(explainer: Explainer, reference: Explainer) -> None:
    """Raise `XaiError` where `reference` does not run in eager PyTorch, is of another family, or of one without a procedure."""
    if reference.session.name != "eager":
        raise XaiError("the published procedure runs in eager PyTorch: give the model as --model CHECKPOINT")
    from xai.bench.procedures import PROCEDURES

    family, own = reference.session.description.family, explainer.session.description.family
    if family != own:
        raise BadInput(f"{reference.session.source} is a {family}, not a {own}: compare with the same model")
    if family not in PROCEDURES:
        raise BadInput(f"no published procedure is written out for {family}: leave --cross-check out")


def cross_check(explainer: Explainer, reference: Explainer, samples: Sequence[Sample], request: Request) -> CrossCheck:
    """Run `samples` both ways. `reference` must run in eager PyTorch; the published procedure has neither the floor nor our own methods.

    Raises `XaiError` where a sample cannot be used, and as `check_reference` does.
    """
    import torch

    from xai.bench.procedures import PROCEDURES
    from xai.bench.published import PublishedRun, ReferenceFails, with_parameter_gradients

    check_reference(explainer, reference)
    procedure = PROCEDURES[reference.session.description.family]
    run = procedure.as_published if request.as_published and procedure.as_published else procedure.run
    model = reference.session.model  # type: ignore[attr-defined]  # the eager session's own
    checked = CrossCheck(questions=len(samples))
    prepared, _ = prepare_chunk(explainer, samples, Chunk(0, len(samples)), skip_broken=False, boxes=request.boxes)
    start = time.perf_counter()
    ours = run_chunk(explainer.session, prepared, request)
    checked.seconds = time.perf_counter() - start
    asked = [(i, method) for i, method in enumerate(request.methods) if method.name != FLOOR]
    methods = [(i, method) for i, method in asked if method.reference_name in procedure.methods]
    checked.unchecked = [method.name for _, method in asked if method.reference_name not in procedure.methods]
    for measured in ours:
        *arrays, ids = (torch.from_numpy(a)[None] for a in (*measured.prepared.picture, measured.prepared.ids))
        picture = tuple(arrays)
        for (i, method), modality, sign in product(methods, request.modalities, request.signs):
            name = f"question {measured.prepared.sample.question_id}, {method.name}, {modality} {sign}"
            start = time.perf_counter()
            theirs: PublishedRun | None = None
            with with_parameter_gradients(model):
                try:
                    theirs = run(model, picture, ids, method.reference_name, modality, sign)
                except ReferenceFails:
                    checked.fails_in_reference.append(name)
            checked.reference_seconds += time.perf_counter() - start
            if theirs is not None:
                _compare_run(checked, measured, Curve(i, modality, sign), theirs.relevance, theirs.kept, theirs.logits, name)
    return checked


def _compare_run(
    checked: CrossCheck,
    measured: Measured,
    curve: Curve,
    relevance: NDArray[np.floating],
    kept: Sequence[NDArray[np.int64]],
    logits: NDArray[np.floating],
    name: str,
) -> None:
    """Add one run's steps to `checked`."""
    maps, asked = measured.explained.maps, measured.plan.asked[FIRST]
    rows = curve_rows(maps, measured.explained.scope)
    scores = min_max(relevance.astype(np.float64))
    for step, count in enumerate(published_counts(maps.tokens(curve.modality))):
        checked.steps += 1
        row = asked[rows[curve, count]]
        subset = measured.plan.subsets[row]
        own = subset.image if curve.modality == IMAGE else subset.text
        where = f"{name}, {count} tokens kept"
        if not np.array_equal(own, kept[step]):
            changed = scores[np.setxor1d(own, kept[step])]
            if np.ptp(changed) <= TIE:
                checked.ties.append(where)
            elif measured.explained.open_graphs[curve.method][curve.modality]:
                checked.open_graphs.append(where)
            else:
                checked.orders_differing.append(where)
            continue
        checked.same_tokens += 1
        difference = float(np.abs(measured.logits[row] - logits[step]).max())
        checked.max_logit_difference = max(checked.max_logit_difference, difference)
        same_answer = measured.logits[row].argmax() == logits[step].argmax()
        if difference > LOGITS or not same_answer:
            checked.answers_differing.append(f"{where}: a logit differs by {difference:.1e}" + ("" if same_answer else ", another answer"))


def write_report(checked: CrossCheck, path: Path) -> None:
    """Write everything as JSON. Raises `XaiError` where that fails."""
    write({path: json_bytes(asdict(checked) | {"speed_ratio": checked.speed_ratio}, indent=1)})
