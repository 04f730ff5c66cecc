"""What `xai bench sanity` writes: its content, the verdicts in it, and the page for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xai.base.versions import XAI_VERSION
from xai.bench.sanity.asking import Asked
from xai.bench.sanity.randomise import DRAWS, MEASURES, Randomised
from xai.bench.sanity.steady import NOISES, RADIUS, WITHIN, Steady
from xai.bench.statistics import FEWEST, bootstrap
from xai.bench.tables import aligned
from xai.runtime.description import Description
from xai.runtime.methods import METHODS

SCHEMA_VERSION = 1

LIMIT = 0.5
"""Of a rank correlation: less than a quarter of the variance of one map's ranks is the other's."""

SIMILARITIES = MEASURES[:3]
"""What a verdict rests on."""

RULE = (
    f"A method passes where, with all weights drawn anew, the 95 % intervals of its mean similarities to the original maps lie within "
    f"±{LIMIT}: Spearman and SSIM of images, Spearman of words. {DRAWS} networks are drawn; intervals resample whole images. A method that "
    f"reads no weights has no verdict, nor has one on fewer than {FEWEST} images. Methods that pass are not ranked: how fast a "
    "curve falls says how deep a method looks, not how well."
)

PARTS = ("image", "words")

Interval = dict[str, float | None]


def sanity_report(
    description: Description,
    settings: Mapping[str, Any],
    asked: Sequence[Asked],
    methods: Sequence[str],
    randomised: Randomised,
    steady: Steady,
) -> dict[str, Any]:
    """The content of sanity.json (docs/formats.md, Sanity checks); `settings` say what was run."""
    groups = np.array([one.group for one in asked])
    layers = [
        {"name": layer.name, "numbers": sum(weight.size for weight in layer.weights), "weights": [weight.name for weight in layer.weights]}
        for layer in randomised.network.layers
    ]
    found = {}
    for m, method in enumerate(methods):
        ends = _intervals(randomised.redrawn[m], groups)
        reads = bool(METHODS[method].needs(description))
        judged = reads and len(set(groups.tolist())) >= FEWEST
        failed = [name for name, one in zip(SIMILARITIES, ends, strict=False) if judged and not _within(one)]
        sensitivity = _intervals(steady.sensitivity[m], groups)
        found[method] = {
            "reads_weights": reads,
            "passes": not failed if judged else None,
            "fails_by": failed,
            "redrawn": dict(zip(MEASURES, ends, strict=True)),
            "cascade": _curves(randomised.cascade[:, m], groups),
            "alone": _curves(randomised.alone[:, m], groups),
            "sensitivity": dict(zip(PARTS, sensitivity, strict=True)),
            "repeatability": {
                "twice_equal": bool(steady.twice[m]),
                "batched": dict(zip(PARTS, steady.batched[m].tolist(), strict=True)),
                "batched_within": bool((steady.batched[m] <= WITHIN).all()),
            },
        }
    return {
        "kind": "sanity",
        "schema_version": SCHEMA_VERSION,
        "xai": XAI_VERSION,
        **settings,
        "questions": len(asked),
        "images": int(groups.max()) + 1,
        "rule": RULE,
        "limit": LIMIT,
        "draws": DRAWS,
        "noise": {"radius": RADIUS, "images": NOISES * len(asked), "answered_otherwise": steady.answered_otherwise},
        "batched_bound": WITHIN,
        "layers": layers,
        "constants": list(randomised.network.constants),
        "methods": found,
    }


def _intervals(values: NDArray[np.float64], groups: NDArray[np.int64]) -> list[Interval]:
    """Mean and 95 % interval of each column of values (questions, columns); None where a column has no value."""
    low, high = bootstrap(values, groups)
    known = ~np.isnan(values)
    counts = known.sum(0)
    sums = np.where(known, values, 0).sum(0)
    return [
        {"mean": sums[i] / counts[i], "low": low[i], "high": high[i]} if counts[i] else {"mean": None, "low": None, "high": None}
        for i in range(values.shape[1])
    ]


def _curves(values: NDArray[np.float64], groups: NDArray[np.int64]) -> dict[str, list[Interval]]:
    """By measure, an interval for each layer of values (layers, questions, measures)."""
    return {name: _intervals(values[:, :, i].T, groups) for i, name in enumerate(MEASURES)}


def _within(one: Interval) -> bool:
    """Whether an interval lies within the limit; one of what is not defined fails nothing."""
    low, high = one["low"], one["high"]
    return low is None or high is None or -LIMIT < low <= high < LIMIT


def markdown(report: Mapping[str, Any]) -> str:
    """sanity.md."""
    heads = [
        "method",
        "verdict",
        "images: Spearman",
        "SSIM",
        "words: Spearman",
        "entropy rise",
        "noise: image",
        "noise: words",
        "twice",
        "batched",
    ]
    rows = []
    for method, one in report["methods"].items():
        repeat = one["repeatability"]
        rows.append(
            [
                method,
                verdict(one),
                *(_shown(one["redrawn"][name]) for name in MEASURES),
                *(_mean(one["sensitivity"][part]) for part in PARTS),
                "equal" if repeat["twice_equal"] else "differs",
                f"{max(repeat['batched'].values()):.0e}{'' if repeat['batched_within'] else ' (beyond)'}",
            ]
        )
    noise = report["noise"]
    numbers = sum(layer["numbers"] for layer in report["layers"])
    parts = [
        "# Sanity checks",
        f"Model {report['model']['name']}, session {report['session']} {report['precision']}, {report['provider']}; {report['questions']} "
        f"questions on {report['images']} images of {report['data']}, seed {report['seed']}. {numbers:,} weights in "
        f"{len(report['layers'])} layers were drawn anew.",
        report["rule"],
        aligned(heads, rows, words=2),
        "The first four columns of numbers compare maps of the network with all weights drawn anew to the original ones, with 95 % "
        "intervals. *Entropy rise* is by what part the image's map became more complex; it enters no verdict. *Noise* is the largest "
        f"relative change of a map under noise of up to {noise['radius']:.0%} of an image's span ({noise['answered_otherwise']} of "
        f"{noise['images']} noisy images were answered otherwise, and do not count); a constant map would score 0. *Twice*: the same "
        "question again, byte by byte. *Batched*: the largest relative difference to the question asked alone; "
        f"{report['batched_bound']:.0e} is allowed.",
        "Curves: sanity.png, and with intervals sanity.json. Formulas and sources: docs/methods.md, Sanity checks.",
    ]
    return "\n\n".join(parts) + "\n"


def verdict(one: Mapping[str, Any]) -> str:
    """Say what a method's verdict is, and by what it fails."""
    if not one["reads_weights"]:
        return "reads no weights"
    if one["passes"] is None:
        return "too few images"
    return "passes" if one["passes"] else f"fails: {', '.join(name.replace('_', ' ') for name in one['fails_by'])}"


def _shown(one: Interval) -> str:
    return "-" if one["mean"] is None else f"{one['mean']:.2f} [{one['low']:.2f}, {one['high']:.2f}]"


def _mean(one: Interval) -> str:
    return "-" if one["mean"] is None else f"{one['mean']:.3f}"
