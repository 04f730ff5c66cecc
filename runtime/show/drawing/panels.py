"""What the panels of a sheet show: the picture, greyed where the model did not see it, and overlays on it, at any size."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from PIL import Image

from xai.runtime.explanation import Explanation
from xai.runtime.show.boxes import left_out_boxes, marks
from xai.runtime.show.drawing.paper import Area, Paper
from xai.runtime.show.theme import FADED, outside, overlay, window

Box = tuple[int, int, int, int]
"""Left, top, right and bottom, in pixels of the picture."""
_PALE = 0.6
"""Of the white over what the model did not see."""


class Panels:
    """Pictures of explanations that share their picture and crop; what several panels show is made once."""

    def __init__(self, explanation: Explanation) -> None:
        self._picture, self._crop = explanation.picture, explanation.crop.box
        self._made: dict[tuple[Box, tuple[int, int], bool], Image.Image] = {}
        self._resized: dict[tuple[Box, tuple[int, int]], Image.Image] = {}

    def draw(self, paper: Paper, area: Area, shown: Box, explanation: Explanation | None) -> None:
        """Draw a part of the picture into an area, under the explanation's map where there is one; hatched what the model did not see."""
        paper.picture(area, partial(self._composed, shown, explanation))
        for strip in outside(self._picture.size, self._crop):
            _within(paper.hatch, area, shown, strip)
        if explanation is not None:
            for away in left_out_boxes(explanation):
                _within(paper.hatch, area, shown, away)
        paper.outline(_place(area, shown, self._crop))

    def _composed(self, shown: Box, explanation: Explanation | None, size: tuple[int, int]) -> Image.Image:
        plain = self._plain(shown, size, explanation is not None)
        if explanation is None:
            return plain
        made = plain.copy()
        left, top, right, bottom = self._seen(shown, size)
        painted = overlay(explanation, (right - left, bottom - top))
        made.paste(painted, (left, top), painted)
        return made

    def _plain(self, shown: Box, size: tuple[int, int], faded: bool) -> Image.Image:
        """The picture alone; `faded` where the model saw it, as it goes beneath an overlay."""
        key = shown, size, faded
        if key not in self._made:
            left, top, right, bottom = self._seen(shown, size)
            seen = self._part(self._crop, (right - left, bottom - top))
            if faded:
                seen = Image.blend(seen, _grey(seen), FADED)
            if seen.size != size:
                whole = self._part(shown, size)
                whole = Image.blend(_grey(whole), Image.new("RGB", size, "white"), _PALE)
                whole.paste(seen, (left, top))
                seen = whole
            self._made[key] = seen
        return self._made[key]

    def _part(self, box: Box, size: tuple[int, int]) -> Image.Image:
        key = box, size
        if key not in self._resized:
            self._resized[key] = _resized(self._picture, box, size)
        return self._resized[key]

    def _seen(self, shown: Box, size: tuple[int, int]) -> Box:
        """Where the crop is, in pixels of a panel of that size; a pixel at least."""
        left, top, width, height = _place(Area(0, 0, *size), shown, self._crop)
        left, top, right, bottom = (round(side) for side in (left, top, left + width, top + height))
        return left, top, max(left + 1, right), max(top + 1, bottom)


def number_boxes(paper: Paper, area: Area, shown: Box, explanation: Explanation) -> None:
    """Outline and number the highest boxes of an explanation that has boxes, in a panel that shows it."""
    for mark in reversed(marks(explanation)):  # the highest lies on top
        paper.box_mark(_place(area, shown, mark.corners), mark.number)


def shown_part(explanation: Explanation) -> Box:
    """The part of the picture that an overlay shows."""
    return window(explanation.picture.size, explanation.crop.box)


def _place(area: Area, shown: Box, part: tuple[float, float, float, float]) -> Area:
    """Where a part of the picture lies, if `shown` fills the area."""
    across, down = area.width / (shown[2] - shown[0]), area.height / (shown[3] - shown[1])
    left, top, right, bottom = part
    return Area(area.x + across * (left - shown[0]), area.y + down * (top - shown[1]), across * (right - left), down * (bottom - top))


def _within(draw: Callable[[Area], None], area: Area, shown: Box, part: Box) -> None:
    """Draw that much of a part as is shown."""
    left, top, right, bottom = max(part[0], shown[0]), max(part[1], shown[1]), min(part[2], shown[2]), min(part[3], shown[3])
    if left < right and top < bottom:
        draw(_place(area, shown, (left, top, right, bottom)))


def _resized(image: Image.Image, box: Box, size: tuple[int, int]) -> Image.Image:
    """A part of a picture in that size; pixels stay squares where there are far fewer of them."""
    across = size[0] / (box[2] - box[0])
    if across >= 3:
        return image.resize(size, Image.Resampling.NEAREST, box)
    return image.resize(size, Image.Resampling.BICUBIC, box, reducing_gap=2.0)


def _grey(image: Image.Image) -> Image.Image:
    """Take the colours out of an RGB picture."""
    return image.convert("L").convert("RGB")
