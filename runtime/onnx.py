"""A bundle's ONNX graphs, run by ONNX Runtime. Imports no torch.

Arrays go in and come out where they are: NumPy's on the CPU, CuPy's on a GPU, bound to the run and handed over by DLPack.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from xai import XaiError
from xai.runtime.manifest import Bundle, BundleModel, onnx_file
from xai.runtime.session import choose_graph, check_inputs
from xai.spectral.arrays import Array

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
"""Short names; ONNX Runtime's own names are taken too."""

CPU = PROVIDERS["cpu"]
