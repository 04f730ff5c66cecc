"""Versions: xai's own, and those of the packages that decide how fast or how exact something runs."""

from __future__ import annotations

XAI_VERSION = "0.2.0"

PACKAGES = (
    "xai-vqa",
    "numpy",
    "scipy",
    "onnxruntime",
    "onnxruntime-gpu",
    "torch",
    "onnx",
    "onnxscript",
    "transformers",
    "cupy-cuda13x",
    "cupy-cuda12x",
)


def versions() -> dict[str, str | None]:
    """Of every package that matters to how fast or how exact something runs; None where it is not installed."""
    return {name: _version(name) for name in PACKAGES}


def _version(name: str) -> str | None:
    import importlib.metadata  # late: it takes longer to load than every command

    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
