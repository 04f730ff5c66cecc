"""Relevances by autograd in float64, those of a contrast by their formulas, without clamps that cancel (docs/methods.md, Contrasts)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xai.models.contract import Family
from xai.models.eager import differentiate, find_sites
from xai.models.reduce import REDUCTIONS, Attended
from xai.runtime.description import IMAGE, TEXT
from xai.runtime.evidence import Evidence, features_name, fiedler_name, of_gradients, solved_graphs
from xai.runtime.methods import METHODS, Method
from xai.runtime.relevance import Relevance
from xai.runtime.solver import solve
from xai.runtime.target import Contrast, Target, directions

MIN_GAP = 1e-2
"""Rounding in features is divided by it."""
DEPENDENT = [method for method in METHODS.values() if method.dependence != "none" and not method.lrp]
"""Methods whose scores depend on what is explained; relevance propagation has tests of its own."""


def _grad_cam(site: Attended) -> Tensor:
    weight = site.gradient.mean((2, 3))
    return (site.read_attention() * weight[:, :, None]).mean(1)


def _terms_of_grad_cam(site: Attended) -> Tensor:
    weight = site.gradient.mean((2, 3)).abs()
    return (site.read_attention() * weight[:, :, None]).mean(1)


Reductions = Mapping[str, Callable[[Attended], Tensor]]

SIGNED: Reductions = {
    "gradient": lambda site: site.gradient.mean(1),
    "product": lambda site: (site.attention * site.gradient).mean(1),
    "grad-cam": _grad_cam,
}
SIZES: Reductions = {
    "gradient": lambda site: site.gradient.abs().mean(1),
    "product": lambda site: (site.attention * site.gradient).abs().mean(1),
    "grad-cam": _terms_of_grad_cam,
}
"""The same of what they add up over heads, by size."""


class Expected(NamedTuple):
    """A relevance by one method, what its error is measured by, and the narrowest gap of the graphs that it read."""

    relevance: Relevance
    sizes: Relevance
    """Its own scores; where heads of both signs cancel, in grad-cam and in what has signs, the scores if they all had one. Of the
    tiny LXMERT's grad-cam a twentieth is left: gradients in float32, which are 1e-6 off, make autograd itself 4e-5 off in the sum,
    and as much if that is accumulated in float64."""
    gap: float


def by_formula(
    family: Family,
    image_tokens: NDArray[Any],
    ids: NDArray[np.int64],
    target: Target,
    methods: Sequence[Method] = DEPENDENT,
    side: bool = False,
) -> list[Expected]:
    """Of one question by each method; as a `side` of a contrast, the sizes are of terms that are linear in the gradient."""
    description, exact = family.description, copy.deepcopy(family).double()
    tokens = torch.from_numpy(np.asarray(image_tokens)).double()
    with torch.no_grad():
        text = exact.embed_text(torch.from_numpy(ids[None]))
    masks = {IMAGE: torch.ones(tokens.shape[:2], dtype=torch.bool), TEXT: torch.ones(text.shape[:2], dtype=torch.bool)}
    direction = torch.from_numpy(directions([target], description.answers)).double()
    explained = differentiate(exact, tokens, masks[IMAGE], text, masks[TEXT], direction)
    sites = find_sites(exact, explained, masks[IMAGE], masks[TEXT])
    real = {modality: mask.numpy() for modality, mask in masks.items()}
    solved = {}
    for graph in dict.fromkeys(graph for method in methods for graph in solved_graphs(method.needs(description))):
        features = explained.features[features_name(graph).split("/")[0]].numpy()
        solved[graph] = solve(graph, features, description, real)

    def relevance(method: Method, reductions: Reductions) -> Relevance:
        arrays: dict[str, Any] = {fiedler_name(graph): one.fiedler() for graph, one in solved.items()}
        for name in of_gradients(method.needs(description)):
            site, _, kind = name.rpartition("/")
            arrays[name] = reductions[kind](sites[site]).numpy()
        return Relevance(*(part[0] for part in method.relevance(Evidence(arrays, description, real, [0]))))

    found = []
    sides = []
    if isinstance(target, Contrast):
        sides = [by_formula(family, image_tokens, ids, answer, methods, side=True) for answer in target]
    for i, method in enumerate(methods):
        signed = isinstance(target, Contrast) and method.dependence == "linear"
        scores = relevance(method, SIGNED if signed else REDUCTIONS)
        linear = signed or method.name == "grad-cam" or (side and method.dependence == "linear")
        sizes = relevance(method, SIZES) if linear else scores
        if sides:  # a difference of gradients is as exact as what is subtracted
            added = (sum(parts) for parts in zip(*(one[i].sizes for one in sides), strict=True))
            sizes = Relevance(*map(np.maximum, sizes, added))
        reports = [solved[graph].report(0) for graph in solved_graphs(method.needs(description))]
        gaps = [np.inf if report.status == "trivial" else report.gap for report in reports]
        found.append(Expected(scores, sizes, min(gaps, default=np.inf)))
    return found


def check_relevances(found: Sequence[Relevance], expected: Sequence[Expected], methods: Sequence[Method] = DEPENDENT) -> None:
    """Whether relevances in float32 are within 1e-5, where the gap of a graph leaves its vector that certain."""
    for method, ours, wanted in zip(methods, found, expected, strict=True):
        if not wanted.gap > MIN_GAP:
            continue
        for part, one, exact, sizes in zip(("text", "image"), ours, wanted.relevance, wanted.sizes, strict=True):
            assert abs(one - exact).max() <= 1e-5 * max(abs(sizes).max(), 1e-30), (
                method.name,
                part,
                float(abs(one - exact).max() / abs(sizes).max()),
            )
