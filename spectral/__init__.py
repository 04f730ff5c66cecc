"""Fiedler vectors of feature graphs: arrays in, arrays out.

Methods give dense features (`fiedler(features=...)`). Weights as CSR (`SparseGraphs`, `solvers.thick_restart`) and the affinities
that make them (`colour`, `nearest_neighbours`, `threshold`) serve no method: they are for library users with graphs of their own,
such as deep spectral segmentation (Melas-Kyriazi et al. 2022) builds of features and colours.
"""

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
