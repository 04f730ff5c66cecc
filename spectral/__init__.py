"""Fiedler vectors of feature graphs: arrays in, arrays out. SciPy is loaded when the first of these names is asked for.

Methods give dense features (`fiedler(features=...)`). Weights as CSR (`SparseGraphs`, `solvers.thick_restart`) and the affinities
that make them (`colour`, `nearest_neighbours`, `threshold`) serve no method: they are for library users with graphs of their own,
such as deep spectral segmentation (Melas-Kyriazi et al. 2022) builds of features and colours.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xai.spectral.affinity import colour, cosine_relu, nearest_neighbours, threshold
    from xai.spectral.result import Algorithm, Certificate, FiedlerResult, Status
    from xai.spectral.solve import fiedler

__all__ = [
    "Algorithm",
    "Certificate",
    "FiedlerResult",
    "Status",
    "colour",
    "cosine_relu",
    "fiedler",
    "nearest_neighbours",
    "threshold",
]

_HOMES = {"affinity": ("colour", "cosine_relu", "nearest_neighbours", "threshold"), "solve": ("fiedler",)}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = next((home for home, names in _HOMES.items() if name in names), "result")
    return getattr(import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return __all__
