"""Relevances of a contrast by their formulas (docs/methods.md, Contrasts), in float64 and without any clamp that cancels."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xai.models.contract import Family
from xai.models.eager import differentiate, find_sites
from xai.models.reduce import REDUCTIONS, Attended
from xai.runtime.description import IMAGE, TEXT
from xai.runtime.evidence import Evidence, features_name, fiedler_name, solved_graphs
from xai.runtime.methods import Method, Relevance
from xai.runtime.solver import solve
from xai.runtime.target import Contrast, directions


def grad_cam_with_signs(site: Attended) -> Tensor:
    weight = site.gradient.mean((2, 3))
    return (site.attention[:, :, 0] * weight[:, :, None]).mean(1)


SIGNED: dict[str, Callable[[Attended], Tensor]] = {
    "gradient": lambda site: site.gradient.mean(1),
    "product": lambda site: (site.attention * site.gradient).mean(1),
    "grad-cam": grad_cam_with_signs,
}


def by_formula(
    family: Family, image_tokens: NDArray[Any], ids: NDArray[np.int64], target: Contrast, methods: Sequence[Method]
) -> list[tuple[Relevance, float]]:
    """Of one question by each method, the relevance by autograd of the difference, and the narrowest gap of the graphs that it read."""
    description, exact = family.description, copy.deepcopy(family).double()
    tokens = torch.from_numpy(np.asarray(image_tokens)).double()
    with torch.no_grad():
        text = exact.embed_text(torch.from_numpy(ids[None]))
    masks = {IMAGE: torch.ones(tokens.shape[:2], dtype=torch.bool), TEXT: torch.ones(text.shape[:2], dtype=torch.bool)}
    direction = torch.from_numpy(directions([target], description.answers)).double()
    explained = differentiate(exact, tokens, masks[IMAGE], text, masks[TEXT], direction)
    sites = find_sites(exact, explained, masks[IMAGE], masks[TEXT])
    lengths = {modality: mask.shape[1] for modality, mask in masks.items()}
    found = []
    for method in methods:
        needs = method.needs(description)
        reductions = REDUCTIONS | (SIGNED if method.dependence == "linear" else {})
        arrays: dict[str, Any] = {}
        for name in needs:
            site, _, kind = name.rpartition("/")
            if kind in reductions:
                arrays[name] = reductions[kind](sites[site])[0].numpy()
        gap = np.inf
        for graph in solved_graphs(needs):
            features = explained.features[features_name(graph).split("/")[0]].numpy()
            solved = solve(graph, features, description, {modality: mask.numpy() for modality, mask in masks.items()})
            arrays[fiedler_name(graph)] = solved.fiedler(0)
            gap = min(gap, solved.report(0).gap)
        found.append((method.relevance(Evidence(arrays, description, lengths)), gap))
    return found
