"""Which model was measured."""

from __future__ import annotations

import hashlib
from pathlib import Path

import xai
from xai import XaiError


def identify(path: Path | None, session: str) -> dict[str, str]:
    """What is run, by name and hash: of a checkpoint, or of a bundle's manifest, which holds those of its files."""
    demo = Path(xai.__file__).parent / "meter" / "demo"
    if path is None:
        file, name = (demo / "model.safetensors" if session == "eager" else demo / "bundle" / "manifest.json"), "demo"
    else:
        file, name = (path / "manifest.json" if path.is_dir() else path), path.name
    try:
        with file.open("rb") as opened:
            return {"name": name, "sha256": hashlib.file_digest(opened, "sha256").hexdigest()}
    except OSError as error:
        raise XaiError(f"{file} cannot be read: {error.strerror}") from error
