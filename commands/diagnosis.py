"""Find out what is installed, what it can run on, and what stands in the way."""

from __future__ import annotations

import os
import platform
import sys
from typing import NamedTuple

from xai.base.errors import first_line
from xai.base.versions import versions


class Diagnosis(NamedTuple):
    """Says what an installation is: (name, value) of what was found, and one line for each problem."""

    facts: list[tuple[str, str]]
    problems: list[str]


def examine() -> Diagnosis:
    """Look at this installation. Imports ONNX Runtime if it is there, and PyTorch only to ask for its GPU."""
    facts = [
        ("python", f"{platform.python_version()} on {platform.platform()}"),
        ("executable", sys.executable),
        ("cores", str(os.cpu_count())),
    ]
    found = versions()
    facts += [(name, version or "not installed") for name, version in found.items()]
    problems = []
    if found["onnxruntime"] and found["onnxruntime-gpu"]:
        problems.append("onnxruntime and onnxruntime-gpu are both installed and overwrite each other: uninstall both, then install one")
    if not found["onnxruntime"] and not found["onnxruntime-gpu"]:
        problems.append("no ONNX Runtime: pip install 'xai-vqa[cpu]'")
    if found["cupy-cuda12x"] and found["onnxruntime-gpu"]:
        problems.append("cupy-cuda12x brings CUDA 12 into a process whose onnxruntime-gpu wants CUDA 13: install cupy-cuda13x")
    if found["onnxruntime"] or found["onnxruntime-gpu"]:
        try:
            import onnxruntime

            facts.append(("providers", ", ".join(onnxruntime.get_available_providers())))
        except ImportError as error:
            problems.append(f"onnxruntime is installed and cannot be imported: {first_line(error)}")
    if found["torch"]:
        try:
            import torch

            facts.append(("GPU of PyTorch", torch.cuda.get_device_name() if torch.cuda.is_available() else "none"))
        except ImportError as error:
            problems.append(f"torch is installed and cannot be imported: {first_line(error)}")
    return Diagnosis(facts, problems)
