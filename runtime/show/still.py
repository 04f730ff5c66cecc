"""What a page shows without scripts: two methods beside each other, what goes with each word, and the answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from html import escape

from PIL import Image

from xai.runtime.explanation import Explanation
from xai.runtime.show.notebook import LONGEST, fragment, heading
from xai.runtime.show.page import direction, jpeg_uri, text
from xai.runtime.show.scale import score_label
from xai.runtime.show.theme import FADED, WordMaps, overlay, word_maps

_LONGEST = 1200
"""Pixels of the first picture's longer side, which the script draws with."""
_WORD = 160
"""Pixels of a word's map, on its longer side."""
_SHOWN = 2
"""Methods beside each other."""


def still(explanations: Sequence[Explanation]) -> str:
    """Write the part of a page that stands there until a script takes its place; explanations are of one answer."""
    first, *others = explanations[:_SHOWN]
    maps = "".join(fragment(e, LONGEST if e is not first else _LONGEST, headed=False) for e in (first, *others))
    shown = " and ".join(text(e.full_name) for e in (first, *others))
    rest = f"<p>Without scripts, this page shows {shown} only.</p>" if len(explanations) > _SHOWN else ""
    regions = "".join(_word_maps(found) for found in word_maps([first, *others]))
    return f'{heading(first)}<div class="beside">{maps}</div>{regions}{_answers(first)}{rest}'


def _answers(explanation: Explanation) -> str:
    rows = "".join(f'<tr><td dir="auto">{text(a.text)}</td><td class="number">{escape(a.shown)}</td></tr>' for a in explanation.top)
    head = '<thead><tr><th scope="col">Answer</th><th scope="col">Probability</th></tr></thead>'
    return f"<table><caption>Most probable answers</caption>{head}<tbody>{rows}</tbody></table>"


def _word_maps(found: WordMaps) -> str:
    """One small map for each word, on what the model saw of the picture."""
    explanation = found.explanation
    away = explanation.left_out.words if explanation.left_out else ()
    seen = explanation.picture.crop(explanation.crop.box)
    seen.thumbnail((_WORD, _WORD))
    faded = Image.blend(seen, seen.convert("L").convert("RGB"), FADED).convert("RGBA")
    parts = []
    for i, (word, values) in enumerate(zip(explanation.question.words, found.maps, strict=True)):
        drawn = Image.alpha_composite(faded, overlay(replace(explanation, image_relevance=values, signed=False), faded.size))
        said = "left out" if i in away else f"highest {score_label(float(values.max()))}"
        name = f"<del>{text(word.text)}</del>" if i in away else text(word.text)
        parts.append(
            f'<li><strong dir="auto">{name}</strong><br><img src="{jpeg_uri(drawn.convert("RGB"))}" '
            f'alt="What goes with {text(word.text)}: {said}"><br><small>{said}</small></li>'
        )
    return (
        f"<h3>{text(found.title)}</h3><p><small>{text(found.caption)}</small></p>"
        f'<ul class="beside" dir="{direction(explanation)}">{"".join(parts)}</ul>'
    )
