"""Fiedler vectors of feature graphs: arrays in, arrays out."""

from xai.spectral.affinity import colour, cosine_relu, nearest_neighbours, threshold
from xai.spectral.result import Certificate, FiedlerResult, Method, Status
from xai.spectral.solve import fiedler

__all__ = [
    "Certificate",
    "FiedlerResult",
    "Method",
    "Status",
    "colour",
    "cosine_relu",
    "fiedler",
    "nearest_neighbours",
    "threshold",
]
