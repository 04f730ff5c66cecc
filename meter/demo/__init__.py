"""A small METER that ships with the package, and everything it was trained with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

WEIGHTS = Path(__file__).parent / "model.safetensors"
TOKENIZER = Path(__file__).parent / "tokenizer.json"
ANSWERS = Path(__file__).parent / "answers.json"

_FLAT_COLORS = 9  # eight shape colours and the background
_FLAT_SHARE = 0.8


def remark(picture: Image.Image) -> str | None:
    """What to say about a picture that the demo model cannot know: it has only ever seen flat coloured shapes."""
    small = np.asarray(picture.resize((96, 96), Image.Resampling.NEAREST)) // 16
    _, counts = np.unique(small.reshape(-1, 3), axis=0, return_counts=True)
    if np.sort(counts)[-_FLAT_COLORS:].sum() >= _FLAT_SHARE * small[..., 0].size:
        return None
    return (
        "this looks like a photograph, and the demo model knows coloured shapes only: "
        "load METER with --checkpoint FILE --tokenizer FILE --answers FILE"
    )
