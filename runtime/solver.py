"""Features of a stream -> the Fiedler vectors of its graphs, and how they were found (docs/methods.md, Fiedler solver)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from xai.runtime.description import Description
from xai.runtime.evidence import features_name, modality_of, part
from xai.spectral import Algorithm, Certificate, FiedlerResult, Status, fiedler
from xai.spectral.arrays import Array, namespace

TOLERANCE = 3e-5
"""Of a Fiedler vector's angle: relevances are to agree to 1e-4 of their maximum, and a digit costs one product in ten."""


@dataclass(frozen=True)
class SolverReport:
    """How one modality's graph at one layer was solved."""

    graph: str
    """Such as `image0`, or `joint0/image` where a layer holds both modalities (`runtime.evidence.graph_name`)."""
    nodes: int
    eigenvalue: float
    gap: float
    residual: float
    angle_bound: float
    """Bound on the sine of the angle to the true eigenvector; NaN where nothing was solved."""
    multiplicity: int
    components: int
    status: str
    method: str
    certificate: str
    """Why the answer is known to be right (`spectral.result.Certificate`)."""
    products: int
    """Products with the affinity that were spent."""

    @property
    def note(self) -> str | None:
        """What a person should know before trusting the map; None where the solution is simple."""
        sentence = Status[self.status.upper().replace("-", "_")].sentence
        return f"{self.graph}: {sentence.format(components=self.components, multiplicity=self.multiplicity)}" if sentence else None


@dataclass(frozen=True)
class Solved:
    """One modality's graphs at one layer, of each of B questions; `nodes` (B,) counts theirs, special tokens left out."""

    graph: str
    result: FiedlerResult
    nodes: NDArray[np.int64]
    dtype: np.dtype[np.floating]
    """Of the features."""

    def fiedler(self) -> Array:
        """|v| (B, nodes of the longest), 0 behind a question's own."""
        return self.result.map.astype(self.dtype)

    def report(self, b: int) -> SolverReport:
        """How one question's graph was solved."""
        result = self.result
        return SolverReport(
            graph=self.graph,
            nodes=int(self.nodes[b]),
            eigenvalue=float(result.eigenvalue[b]),
            gap=float(result.gap[b]),
            residual=float(result.residual[b]),
            angle_bound=float(result.angle_bound[b]),
            multiplicity=int(result.multiplicity[b]),
            components=int(result.n_components[b]),
            status=_spelt(Status(result.status[b])),
            method=_spelt(Algorithm(result.method[b])),
            certificate=_spelt(Certificate(result.certificate[b])),
            products=int(result.products[b]),
        )


def solve_all(
    graphs: Sequence[str], features: Mapping[str, Array], description: Description, masks: Mapping[str, NDArray[np.bool_]]
) -> list[Solved]:
    """Solve several graphs for a batch, all layers of a modality at once: what `solve` gives of each, features by `features_name`."""
    of = {graph: modality_of(graph, description) for graph in graphs}
    found: dict[str, Solved] = {}
    for modality in dict.fromkeys(of.values()):
        names = [graph for graph in graphs if of[graph] == modality]
        arrays = [features[features_name(graph)] for graph in names]
        batch, several = len(arrays[0]), {name: np.concatenate([mask] * len(names)) for name, mask in masks.items()}
        together = solve(names[0], namespace(arrays[0]).concatenate(arrays) if len(arrays) > 1 else arrays[0], description, several)
        for i, graph in enumerate(names):
            rows = slice(i * batch, (i + 1) * batch)
            found[graph] = Solved(graph, together.result.part(rows), together.nodes[rows], together.dtype)
    return [found[graph] for graph in graphs]


def solve(graph: str, features: Array, description: Description, masks: Mapping[str, NDArray[np.bool_]]) -> Solved:
    """Solve one modality at one layer for a batch: `features` (B, tokens of the stream, width), padded on the right of each modality.

    `masks` (B, tokens) are true where a modality's token is real. Special tokens are no nodes.
    """
    modality = modality_of(graph, description)
    special = description.special[modality]
    whole = part(description, modality, {name: mask.shape[1] for name, mask in masks.items()})
    inner = features[:, whole.start + special.before : whole.stop - special.behind]
    nodes = masks[modality].sum(1) - sum(special)
    if bool((nodes == inner.shape[1]).all()):
        return Solved(graph, fiedler(features=inner, tol=TOLERANCE), nodes, features.dtype)
    mask = np.arange(inner.shape[1]) < nodes[:, None]
    return Solved(graph, fiedler(features=inner, mask=mask, tol=TOLERANCE), nodes, features.dtype)


def _spelt(value: IntEnum) -> str:
    return value.name.lower().replace("_", "-")
