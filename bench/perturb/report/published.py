"""The figures that were published of each family, to stand beside a run's own (docs/methods.md, Perturbation test)."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from xai.bench.perturb.report.scores import PANELS, panel_name


class Figures(NamedTuple):
    """What was published of one model on one set of questions, in percent."""

    what: str
    """The model and the questions."""
    remark: str
    """Where they differ from what is run here; empty where they do not."""
    areas: Mapping[str, Mapping[str, float]]
    """Method -> panel -> area under the accuracy."""
    curves: Mapping[str, Mapping[str, Sequence[float]]]
    """Method -> panel -> accuracy at each step; empty where only areas were published."""


_METER = {
    "relevance-maps": (55.27, 82.97, 31.70, 61.33),
    "transformer-attribution": (55.26, 82.96, 31.72, 61.29),
    "raw-attention": (55.33, 82.49, 36.72, 54.41),
    "grad-cam": (70.95, 73.52, 49.21, 49.83),
    "rollout": (59.96, 82.17, 44.32, 49.93),
    "dsmi": (60.07, 79.47, 45.14, 48.05),
    "dsmi-grad": (54.45, 82.93, 34.75, 57.64),
    "dsmi-grad-attn": (55.45, 82.45, 40.37, 52.38),
}
"""In the order of `PANELS`."""


def _meter() -> Figures:
    areas = {name: dict(zip(map(panel_name, PANELS), values, strict=True)) for name, values in _METER.items()}
    return Figures("METER at 576 px on 3,303 questions of VQAv2", "", areas, {})


def _lxmert() -> Figures:
    content = json.loads(Path(__file__).with_name("published_lxmert.json").read_text(encoding="utf-8"))
    return Figures(content["what"], content["remark"], content["areas"], content["curves"])


_FIGURES: dict[str, Callable[[], Figures]] = {"meter": _meter, "lxmert": _lxmert}
"""By family. Of the others nothing was published."""

_UNNAMED = "meter"
"""The family of settings that name none: models that take squares."""
PUBLISHED_SIDE = 576
"""Pixels of the squares that the published METER takes."""
PUBLISHED_QUESTIONS = "78bb99609ef4c89f1dbf0a347331ecea6e3c08aea1ae0d97e36cd7f78e9a75a1"
"""`data_sha256` of a run of all the published questions in the published order."""


@functools.cache
def _figures(family: str) -> Figures | None:
    return _FIGURES[family]() if family in _FIGURES else None


def published_figures(settings: Mapping[str, Any]) -> Figures | None:
    """What was published of the network that a run's settings name on the questions that they name.

    None where nothing was, and of other questions, fewer of them or another size of picture: figures of something else would be read as
    something to reach.
    """
    family = settings.get("family", _UNNAMED)
    if settings["data_sha256"] != PUBLISHED_QUESTIONS or (family == "meter" and settings.get("image_size") != PUBLISHED_SIDE):
        return None
    return _figures(family)
