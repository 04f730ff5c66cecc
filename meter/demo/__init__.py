"""A small METER that ships with the package, and everything it was trained with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

WEIGHTS = Path(__file__).parent / "model.safetensors"
TOKENIZER = Path(__file__).parent / "tokenizer.json"
BUNDLE = Path(__file__).parent / "bundle"
"""The same model, exported: it runs without PyTorch."""
ANSWERS = Path(__file__).parent / "answers.json"

_SIDE = 96
_COLORS = 9  # eight shape colours and the background
_SHARE = 0.8
_FLAT = 6  # levels by which neighbouring pixels of one colour may differ, as in a JPEG


def remark(picture: Image.Image) -> str | None:
    """What to say about a picture that the demo model cannot know: it has only ever seen flat coloured shapes."""
    small = np.asarray(picture.resize((_SIDE, _SIDE), Image.Resampling.NEAREST), dtype=np.int16)
    counts = np.bincount((small // 16 @ (256, 16, 1)).ravel())
    few_colors = np.sort(counts)[-_COLORS:].sum() >= _SHARE * _SIDE**2
    steps = np.concatenate([np.abs(np.diff(small, axis=axis)).max(-1).ravel() for axis in (0, 1)])
    if few_colors and np.mean(steps <= _FLAT) >= _SHARE:
        return None
    return (
        "this looks like a photograph, and the demo model knows coloured shapes only: "
        "load METER with --model CHECKPOINT --tokenizer FILE --answers FILE"
    )
