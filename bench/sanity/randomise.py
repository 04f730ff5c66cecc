"""Model randomisation (Adebayo et al. 2018, arXiv 1810.03292): what is left of a map when the network's weights are drawn anew."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xai.base.errors import XaiError
from xai.bench.data.sample import Progress
from xai.bench.sanity.asking import Asked, Found, Maps, explain
from xai.bench.sanity.redrawn import RedrawnBundle
from xai.bench.sanity.similarity import entropy_rise, rank_correlation, ssim
from xai.bench.sanity.weights import Layer, Network
from xai.runtime.bundle.manifest import Bundle
from xai.runtime.explainer import Explainer
from xai.runtime.sessions.protocol import Session

MEASURES = ("image_spearman", "image_ssim", "words_spearman", "image_entropy_rise")
"""What is measured of a map against the original one; all but the last are 1 for maps that are equal."""

AGREEMENT = {"float32": 1e-3, "float16": 3e-2}
"""How far the logits of two graphs of one network may lie apart, relative to the largest: they add up in another order."""

DRAWS = 5
"""Networks whose weights are all drawn anew: the verdict is about their mean, not about the luck of one."""

Reopen = Callable[[Bundle], Session]
"""Opens the session that runs a bundle."""


@dataclass(frozen=True)
class Randomised:
    """What was measured: `cascade` with all layers down to that one drawn anew, `alone` with that layer only.

    Both (layers, methods, questions, measures), layers from the answer down; NaN where a measure is not defined.
    """

    network: Network
    cascade: NDArray[np.float64]
    alone: NDArray[np.float64]
    redrawn: NDArray[np.float64]
    """(methods, questions, measures): with all weights drawn anew, the mean of `DRAWS` networks; the cascade ends with the first."""


def randomise(
    explainer: Explainer,
    bundle: Bundle,
    asked: Sequence[Asked],
    originals: Sequence[Found],
    methods: Sequence[str],
    seed: int,
    reopen: Reopen,
    progress: Progress,
) -> Randomised:
    """Draw the weights of the bundle anew, layer by layer from the answer down and one layer at a time, and compare the maps with
    `originals`. One copy is there at a time, in a temporary folder. Raises `XaiError` where that cannot be.

    `explainer` runs the bundle as it is: image tokens that it has kept are used again where the encoder is the same.
    """
    with tempfile.TemporaryDirectory(prefix="xai-sanity-") as folder:
        copy = RedrawnBundle(bundle, Path(folder), seed)
        layers = copy.network.layers
        steps = 2 * len(layers) - 2 + DRAWS
        cascade, alone = [], []
        for i, layer in enumerate(layers):
            copy.redraw([layer])
            cascade.append(_compare(explainer, copy, asked, originals, methods, reopen, check=i == len(layers) - 1))
            progress(i + 1, steps)
        for i, layer in enumerate(layers):
            if i == 0:  # one layer drawn anew is the cascade's first step
                alone.append(cascade[0])
                continue
            copy.restore()
            copy.redraw([layer])
            alone.append(_compare(explainer, copy, asked, originals, methods, reopen))
            progress(len(layers) + i, steps)
        ends = [cascade[-1]]
        for k in range(1, DRAWS):
            copy.redraw_all(seed + k)
            ends.append(_compare(explainer, copy, asked, originals, methods, reopen))
            progress(2 * len(layers) - 1 + k, steps)
        return Randomised(copy.network, np.stack(cascade), np.stack(alone), np.mean(ends, axis=0))


def _compare(
    explainer: Explainer,
    copy: RedrawnBundle,
    asked: Sequence[Asked],
    originals: Sequence[Found],
    methods: Sequence[str],
    reopen: Reopen,
    check: bool = False,
) -> NDArray[np.float64]:
    """(methods, questions, measures) of the copy as it is now."""
    redrawn = Explainer(reopen(copy.bundle), explainer.encoder, explainer.answers)
    if not any(reads(layer, "encode_image") for layer in copy.drawn.values()):
        redrawn.kept = explainer.kept
    if check:
        check_agreement(redrawn, asked[0])
    found = [
        [compare_maps(one, other) for one, other in zip(before.maps, after.maps, strict=True)]
        for before, after in zip(originals, explain(redrawn, asked, methods), strict=True)
    ]
    del redrawn
    gc.collect()  # ONNX Runtime holds the file of weights, which is written to next
    return np.array(found).transpose(1, 0, 2)


def reads(layer: Layer, graph: str) -> bool:
    """Whether a graph has weights of that layer."""
    return any(place.graph == graph for weight in layer.weights for place in weight.places)


def compare_maps(original: Maps, redrawn: Maps) -> tuple[float, ...]:
    """`MEASURES` of a method's maps; SSIM is not defined where an image is given as boxes, which have no neighbours."""
    structure = ssim(original.image, redrawn.image) if original.image.ndim == 2 else float("nan")
    ranks = rank_correlation(original.image, redrawn.image), rank_correlation(original.words, redrawn.words)
    return ranks[0], structure, ranks[1], entropy_rise(original.image, redrawn.image)


def check_agreement(explainer: Explainer, asked: Asked) -> None:
    """Raise `XaiError` where the graph that answers and the one that explains are no longer of one network: one of them would hold a
    weight in a form that was not recognised."""
    count = explainer.session.description.answers
    predicted = explainer.answer(asked.image, asked.question, top_k=count)
    explained = explainer.explain(asked.image, asked.question, "raw-attention", top_k=count)
    one, other = ({answer.id: answer.logit for answer in each} for each in (predicted.top, explained.top))
    largest = max(map(abs, other.values()))
    apart = max(abs(one[i] - other[i]) for i in other) / largest if largest else 0.0
    if not apart <= AGREEMENT[explainer.session.precision]:
        raise XaiError(
            f"with its weights drawn anew, the graphs of {explainer.session.source} that answer and that explain differ by {apart:.1e}: "
            "they hold a weight in a form that is not known; please report it"
        )
