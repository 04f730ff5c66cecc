"""The best and the worst explained questions of a run, with pictures, for its report."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xai.base.errors import BadInput
from xai.base.uri import data_uri
from xai.bench.data.boxes import BoxSource
from xai.bench.data.sample import Sample
from xai.bench.perturb.report.scores import Scores, panel_name
from xai.bench.perturb.request import FLOOR, Request
from xai.runtime.explainer import Explainer
from xai.runtime.explanation import Explanation
from xai.runtime.inputs.prepare import PreparedImage
from xai.runtime.show.theme import map_image

EXAMPLES_KEPT = 3
"""Examples at either end."""
_SIDE = 150  # pixels of a picture


def question_merits(scores: Scores) -> NDArray[np.float64]:
    """Compute (n,): AUC of the negative tests less that of the positive ones, mean over the methods but the floor."""
    signs = np.array([-1 if sign == "positive" else 1 for _, sign in scores.panels])
    methods = [i for i, name in enumerate(scores.methods) if name != FLOOR] or [0]
    return (scores.auc["accuracy"][:, methods] * signs).mean((1, 2))


def select_examples(found: Sequence[Mapping[str, Any]]) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """Select the best and the worst of examples from `make_examples`, none of them twice; of equals the earlier question comes first."""
    ranked = sorted(found, key=lambda e: (-e["merit"], e["index"]))
    best = ranked[:EXAMPLES_KEPT]
    return best, sorted(ranked[EXAMPLES_KEPT:], key=lambda e: (e["merit"], e["index"]))[:EXAMPLES_KEPT]


def make_examples(explainer: Explainer, samples: Sequence[Sample], scores: Scores, request: Request) -> list[dict[str, Any]]:
    """Explain again, and draw, the questions at either end that the model gets right; `samples` are the whole run's, in its order."""
    methods = request.methods
    merits = question_merits(scores)
    right = np.flatnonzero(scores.unperturbed > 0)
    order = right[np.argsort(-merits[right], kind="stable")]
    chosen = dict.fromkeys([*order[:EXAMPLES_KEPT], *right[np.argsort(merits[right], kind="stable")][:EXAMPLES_KEPT]])
    found = []
    for row in chosen:
        index = int(scores.indices[row])
        sample = samples[index]
        maps = _explain_sample(explainer, sample, request, (request.seed << 32) + index)
        first = maps[methods[0].name]
        auc = {
            name: {panel_name(p): round(float(scores.auc["accuracy"][row, i, j]), 1) for j, p in enumerate(scores.panels)}
            for i, name in enumerate(scores.methods)
        }
        found.append(
            {
                "index": index,
                "question_id": sample.question_id,
                "image": sample.image,
                "question": sample.question,
                "label": dict(sample.label),
                "answer": first.answer.text,
                "merit": round(float(merits[row]), 4),
                "picture": _uri(_crop(first)),
                "maps": {name: _uri(_overlay(e)) for name, e in maps.items()},
                "auc": auc,
            }
        )
    return found


def _explain_sample(explainer: Explainer, sample: Sample, request: Request, seed: int) -> dict[str, Explanation]:
    names = [method.name for method in request.methods]
    image = _prepare(explainer, sample, request.boxes)
    return dict(zip(names, explainer.explain_methods(image, sample.question, names, seed=seed), strict=True))


def _prepare(explainer: Explainer, sample: Sample, boxes: BoxSource | None) -> PreparedImage:
    """The picture, or its boxes alone: the test does not look at a picture that has boxes, so that it may be missing or broken."""
    if boxes is None:
        return explainer.prepare(sample.picture())
    found = boxes.read(sample.image)
    try:
        return explainer.prepare(sample.picture(), found)
    except BadInput:
        return explainer.prepare(found)


def _crop(explanation: Explanation) -> Image.Image:
    """What the model saw, `_SIDE` pixels along its longer side."""
    seen = explanation.picture.crop(explanation.crop.box)
    scale = _SIDE / max(seen.size)
    return seen.resize((max(1, round(scale * seen.width)), max(1, round(scale * seen.height))), Image.Resampling.LANCZOS)


def _overlay(explanation: Explanation) -> Image.Image:
    seen = _crop(explanation)
    return Image.alpha_composite(seen.convert("RGBA"), map_image(explanation, _SIDE).resize(seen.size)).convert("RGB")


def _uri(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "jpeg", quality=88)
    return data_uri("image/jpeg", buffer.getvalue())
