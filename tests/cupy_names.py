"""Writes `tests/data/cupy.json`, what CuPy has and takes, from the package that is installed; it needs no GPU.

pip install --target /tmp/cupy --no-deps cupy-cuda12x cuda-pathfinder
PYTHONPATH=/tmp/cupy python tests/cupy_names.py
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

NAMES = Path(__file__).parent / "data" / "cupy.json"


def parameters(function: Any) -> list[str] | None:
    """The names of what a function takes; None where it does not say (ufuncs, and what is compiled)."""
    try:
        return list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return None


def record() -> dict[str, Any]:
    """Names of functions with their parameters, of ufuncs, of types and constants, and of an array's methods."""
    import cupy  # type: ignore[import-not-found, unused-ignore]

    functions = {name: parameters(one) for name, one in vars(cupy).items() if inspect.isroutine(one) and not name.startswith("_")}
    linalg = {f"linalg.{name}": parameters(one) for name, one in vars(cupy.linalg).items() if inspect.isroutine(one)}
    return {
        "version": cupy.__version__,
        "functions": functions | linalg,
        "ufuncs": sorted(name for name, one in vars(cupy).items() if isinstance(one, cupy.ufunc)),
        "methods": sorted(name for name in dir(cupy.ndarray) if not name.startswith("_")),
    }


if __name__ == "__main__":
    NAMES.write_text(json.dumps(record(), indent=1, sort_keys=True) + "\n")
