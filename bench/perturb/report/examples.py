"""The best and the worst explained questions of a run, with pictures, for its report."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from xai.bench.data.sample import Sample
from xai.bench.perturb.report.scores import Scores, panel_name
from xai.bench.perturb.variants import FLOOR, Variant
from xai.runtime.explainer import Explainer
from xai.runtime.explanation import Explanation
from xai.runtime.show.theme import heat

KEPT = 3
"""Examples at either end."""
_SIDE = 150  # pixels of a picture


def merit(scores: Scores) -> np.ndarray:
    """(n,): AUC of the negative tests less that of the positive ones, mean over the methods but the floor."""
    signs = np.array([-1 if sign == "positive" else 1 for _, sign in scores.panels])
    methods = [i for i, name in enumerate(scores.methods) if name != FLOOR] or [0]
    return (scores.auc["accuracy"][:, methods] * signs).mean((1, 2))


def select(found: Sequence[Mapping[str, Any]]) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """The best and the worst of examples from `make`, none of them twice; of equals the earlier question comes first."""
    ranked = sorted(found, key=lambda e: (-e["merit"], e["index"]))
    best = ranked[:KEPT]
    return best, sorted(ranked[KEPT:], key=lambda e: (e["merit"], e["index"]))[:KEPT]


def make(explainer: Explainer, samples: Sequence[Sample], scores: Scores, variants: Sequence[Variant], seed: int) -> list[dict[str, Any]]:
    """Explain again, and draw, the questions at either end that the model gets right; `seed` is the floor's.

    `samples` are the whole run's, in its order.
    """
    merits = merit(scores)
    right = np.flatnonzero(scores.unperturbed > 0)
    order = right[np.argsort(-merits[right], kind="stable")]
    chosen = dict.fromkeys([*order[:KEPT], *right[np.argsort(merits[right], kind="stable")][:KEPT]])
    found = []
    for row in chosen:
        index = int(scores.indices[row])
        sample = samples[index]
        maps = _explain(explainer, sample, variants, (seed << 32) + index)
        first = maps[variants[0].name]
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


def _explain(explainer: Explainer, sample: Sample, variants: Sequence[Variant], seed: int) -> dict[str, Explanation]:
    names = [variant.name for variant in variants]
    return dict(zip(names, explainer.explain_methods(sample.picture(), sample.question, names, seed=seed), strict=True))


def _crop(explanation: Explanation) -> Image.Image:
    return explanation.picture.crop(explanation.crop.box).resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)


def _overlay(explanation: Explanation) -> Image.Image:
    return Image.alpha_composite(_crop(explanation).convert("RGBA"), heat(explanation.image_relevance, _SIDE)).convert("RGB")


def _uri(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "jpeg", quality=88)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
