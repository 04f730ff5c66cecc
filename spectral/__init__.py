"""Fiedler vectors of feature graphs: arrays in, arrays out."""

from xai.spectral.affinity import cosine_relu
from xai.spectral.result import FiedlerResult, Status
from xai.spectral.solve import fiedler

__all__ = ["FiedlerResult", "Status", "cosine_relu", "fiedler"]
