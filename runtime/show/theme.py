"""What pictures, pages and the terminal share besides the scale: colours, the part of the picture that is shown, wording."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xai.runtime.explanation import Answer, Explanation
from xai.runtime.show.boxes import MARKED, spread_boxes
from xai.runtime.show.scale import EQUAL, NEARLY, is_flat, scaled

RAMP = np.frombuffer(
    bytes.fromhex("260b50 3e0966 550f6d 6b176e 801f6b 962666 ac2f5c c13a50 d24742 e35832 ef6d21 f7850e fb9d06 fbb71c f6d33f f1ed70 fcfea4"),
    dtype=np.uint8,
).reshape(-1, 3)
"""Colours at even steps from the lowest to the highest, linear in between: "inferno" of matplotlib without its black end, in which
one could not read that there is something."""
CONTRAST = np.frombuffer(
    bytes.fromhex("7a2e00 a84a06 d4701c ee9d55 f8cca4 f5f5f5 b5d3ea 74addb 3b82c0 175a9c 063670"), dtype=np.uint8
).reshape(-1, 3)
"""The same for scores with signs, from one answer by a pale grey for 0 to the other: orange and blue, which people who see colours
differently tell apart, both sides equally dark at equal scores."""
PALETTES = {
    name: np.frombuffer(bytes.fromhex(codes), dtype=np.uint8).reshape(-1, 3)
    for name, codes in {
        "viridis": (
            "46085c 481d6f 46327e 404588 39558c 31668e 2b758e 25838e 20928c 1fa187 29af7f 40bd72 60ca60 84d44b addc30 d8e219 fde725"
        ),
        "cividis": (
            "00224e 002e6a 1a386f 32436d 434e6c 535a6d 61656f 6f7073 7d7c78 8c8878 9b9476 aba072 bcae6c cdbb63 dec958 f0d846 fee838"
        ),
    }.items()
}
"""What a page offers in place of `RAMP`, from matplotlib; all grow brighter evenly, whatever colours an eye sees."""
_STEPS = np.linspace(0, len(RAMP) - 1, 256)
_TABLE = np.stack([np.interp(_STEPS, np.arange(len(RAMP)), channel) for channel in RAMP.T], axis=-1).round().astype(np.uint8)
_SIDES = np.linspace(0, len(CONTRAST) - 1, 255)  # an odd number, so that 0 has a colour of its own
_CONTRASTS = np.stack([np.interp(_SIDES, np.arange(len(CONTRAST)), channel) for channel in CONTRAST.T], axis=-1).round().astype(np.uint8)
FLAT = np.array((0xB4, 0xB8, 0xBE), dtype=np.uint8)
"""Grey, none of the ramp's colours: for scores that are nearly constant."""
_OPACITY = 0.15, 0.72
"""Of the overlay where relevance is lowest and highest: the picture stays visible beneath."""
_FLAT_OPACITY = 0.45
FADED = 0.65
"""How much of the picture's own colour goes beneath an overlay, lest red things look relevant."""
_LONGEST = 2.0
"""An overlay shows at most this many crop sides of the picture's length: a thin panorama would leave no room for the crop."""


def colours(values: NDArray[np.floating], signed: bool = False) -> NDArray[np.uint8]:
    """Paint scaled values, an array of any shape (...) but (): RGB (..., 3)."""
    if signed:
        return _CONTRASTS[np.round((np.asarray(values) + 1) / 2 * (len(_CONTRASTS) - 1)).astype(np.intp)]
    return _TABLE[np.round(np.asarray(values) * (len(_TABLE) - 1)).astype(np.intp)]


def paint(relevance: NDArray[np.floating], signed: bool = False) -> NDArray[np.uint8]:
    """Paint raw scores, an array of any shape (...) but (): RGB (..., 3), all `FLAT` where they are nearly constant."""
    if is_flat(relevance, signed):
        return np.broadcast_to(FLAT, (*np.shape(relevance), 3))
    return colours(scaled(relevance, signed), signed)


def ink(rgb: NDArray[np.uint8]) -> str:
    """Choose `#000000` or `#ffffff`, whichever is easier to read on `rgb` (WCAG contrast)."""
    linear = ((rgb / 255 + 0.055) / 1.055) ** 2.4
    return "#000000" if linear @ (0.2126, 0.7152, 0.0722) > 0.179 else "#ffffff"


def hexadecimal(rgb: NDArray[np.uint8]) -> str:
    """Write a colour as `#rrggbb`."""
    return f"#{rgb[0]:02x}{rgb[1]:02x}{rgb[2]:02x}"


def painting() -> dict[str, Any]:
    """Give what a script needs to know to paint as this module does."""
    palettes = {"inferno": RAMP, **PALETTES}
    return {
        "palettes": {name: [hexadecimal(rgb) for rgb in ramp] for name, ramp in palettes.items()},
        "contrast": [hexadecimal(rgb) for rgb in CONTRAST],
        "flat": hexadecimal(FLAT),
        "nearly": NEARLY,
        "equal": EQUAL,
        "opacity": _OPACITY,
        "flat_opacity": _FLAT_OPACITY,
        "faded": FADED,
        "longest": _LONGEST,
        "marked": MARKED,
    }


def heat(relevance: NDArray[np.floating], size: tuple[int, int], signed: bool = False) -> Image.Image:
    """Draw raw scores (grid, grid) as the RGBA overlay of a size (width, height) in pixels, to be laid on the crop."""
    if is_flat(relevance, signed):
        return Image.new("RGBA", size, (*FLAT.tolist(), round(255 * _FLAT_OPACITY)))
    values = scaled(relevance, signed)
    table = _CONTRASTS if signed else _TABLE
    last = len(table) - 1
    places = (values + 1) / 2 * last if signed else values * last
    smooth = np.asarray(Image.fromarray(places.astype(np.float32)).resize(size, Image.Resampling.BICUBIC))
    painted = Image.fromarray((smooth.clip(0, last) + 0.5).astype(np.uint8))  # bicubic overshoots
    low, high = _OPACITY
    opacity = low + (high - low) * abs(np.linspace(-1 if signed else 0, 1, len(table)))
    painted.putpalette(np.column_stack([table, np.round(255 * opacity).astype(np.uint8)]).tobytes(), "RGBA")
    return painted.convert("RGBA")


def overlay(explanation: Explanation, size: tuple[int, int]) -> Image.Image:
    """Draw an explanation's map as RGBA, of a size (width, height) in pixels, to be laid on the crop."""
    if explanation.boxes is None:
        return heat(explanation.image_relevance, size, explanation.signed)
    values, covered = spread_boxes(scaled(explanation.image_relevance, explanation.signed), explanation.boxes, size[1], size[0])
    low, high = _OPACITY
    opacity, rgb = low + (high - low) * abs(values), colours(values, explanation.signed)
    if is_flat(explanation.image_relevance, explanation.signed):
        opacity, rgb = np.full_like(values, _FLAT_OPACITY), np.broadcast_to(FLAT, rgb.shape)
    return Image.fromarray(np.dstack([rgb, np.round(255 * opacity * covered).astype(np.uint8)]))


def map_image(explanation: Explanation, side: int) -> Image.Image:
    """Draw an explanation's map as the RGBA overlay, `side` pixels along its longer side where it has boxes, square where it has a grid,
    to be laid on the crop."""
    if explanation.boxes is None:
        return overlay(explanation, (side, side))
    width, height = explanation.picture.size
    scale = side / max(width, height)
    return overlay(explanation, (max(1, round(scale * width)), max(1, round(scale * height))))


def outside(size: tuple[int, int], box: tuple[int, int, int, int]) -> list[tuple[int, int, int, int]]:
    """Give the parts of the picture outside the crop that are not empty."""
    (width, height), (left, top, right, bottom) = size, box
    sides = [(0, 0, left, height), (right, 0, width, height), (left, 0, right, top), (left, bottom, right, height)]
    return [s for s in sides if s[2] > s[0] and s[3] > s[1]]


def window(size: tuple[int, int], box: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """Give the part of the picture around the crop that an overlay shows: all, unless it is very long and thin."""
    reach = round((_LONGEST - 1) / 2 * (box[2] - box[0]))
    return max(0, box[0] - reach), max(0, box[1] - reach), min(size[0], box[2] + reach), min(size[1], box[3] + reach)


def cut_away(explanation: Explanation) -> str:
    """Say what the hatching means; empty where the model saw all of the picture."""
    size, box = explanation.picture.size, explanation.crop.box
    if not outside(size, box):
        return ""
    rest = "" if window(size, box) == (0, 0, *size) else " The map leaves its far ends out."
    return "Hatched: cut away, the model did not see it." + rest


def answer_lines(explanation: Explanation) -> list[tuple[str, Answer]]:
    """Give the answers to show above an explanation, each with what it is called."""
    lines = [("Answer", explanation.answer)]
    if explanation.left_out:
        lines.append(("With nothing left out", explanation.left_out.before))
    if explanation.target.id != explanation.answer.id:
        lines.append(("Explained instead", explanation.target))
    if explanation.versus:
        lines.append(("Versus", explanation.versus))
    return lines


def sides(explanations: Sequence[Explanation]) -> list[tuple[NDArray[np.uint8], str]]:
    """Give the key to maps with signs, a colour and the answer that it speaks for; nothing where there is none."""
    for explanation in explanations:
        if explanation.signed and explanation.versus:
            return [(CONTRAST[-2], explanation.target.text), (CONTRAST[1], explanation.versus.text)]
    return []


def layers_label(explanation: Explanation) -> str:
    """Say which layers a method took; empty for the methods that choose none."""
    return f"layers: {explanation.layers}" if explanation.layers else ""


def explains_label(explanation: Explanation) -> str:
    """Say which answers a map speaks of, where it is not the explained one alone: `any`, where it depends on none; of a contrast both
    sides or what speaks for the explained one."""
    match explanation.explains:
        case None:
            return "any answer"
        case "sum":
            return "all answers"
        case "difference":
            return "signed" if explanation.signed else "one side"
        case "answer":
            return ""


def labels(explanation: Explanation) -> str:
    """Say both beside a method's name; empty where there is nothing to say."""
    return ", ".join(part for part in (layers_label(explanation), explains_label(explanation)) if part)


class WordMaps(NamedTuple):
    """What goes with each word of the picture, as the first of the explanations that say the same has it."""

    explanation: Explanation
    maps: NDArray[np.floating]
    title: str
    caption: str


def word_maps(explanations: Sequence[Explanation]) -> list[WordMaps]:
    """Give each set of maps once, whichever methods it belongs to; none where nobody asked for them."""
    found: list[tuple[NDArray[np.floating], list[Explanation]]] = []
    for explanation in explanations:
        if (regions := explanation.word_regions) is None or not regions.size:  # of no box there is nothing to show
            continue
        same = next((members for maps, members in found if np.array_equal(maps, regions)), None)
        if same is None:
            found.append((regions, [explanation]))
        else:
            same.append(explanation)
    return [WordMaps(members[0], maps, *_word_maps_said(members)) for maps, members in found]


def _word_maps_said(members: Sequence[Explanation]) -> tuple[str, str]:
    if members[0].word_regions_kind == "relevance":
        names = ", ".join(e.full_name for e in members)
        return f"What goes with each word, by {names}", "Relevance that each word gathers of the picture. Each map is scaled by itself."
    return "What goes with each word, by features", (
        "No relevance, and the same for every answer: how alike the features of word and place are at their last layer (cosine). "
        "Of the methods, relevance-maps has a relevance of its own between words and places. Each map is scaled by itself."
    )


def highest_place(values: NDArray[np.floating]) -> str:
    """Name the highest place of a map: row and column of a patch, or a box, from 1."""
    place = [int(i) + 1 for i in np.unravel_index(int(values.argmax()), values.shape)]
    return f"row {place[0]}, column {place[1]}" if len(place) == 2 else f"box {place[0]}"
