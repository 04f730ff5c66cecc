"""Generated scenes of coloured shapes, and questions whose true region is known.

Needs no torch: benchmarks use the scenes where no torch is installed. Everything is drawn from a NumPy generator, so a
seed names a data set. Shapes and colours are those of easy-VQA, so that one model can learn both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from xai.bench.data.regions import Cells, Region, region_of, share_covered, square_cells
from xai.bench.data.sample import Progress, Sample

KINDS = ("circle", "rectangle", "triangle")
COLORS = {
    "black": (0, 0, 0),
    "blue": (0, 0, 255),
    "brown": (165, 42, 42),
    "gray": (128, 128, 128),
    "green": (0, 255, 0),
    "red": (255, 0, 0),
    "teal": (0, 128, 128),
    "yellow": (255, 255, 0),
}
COUNTS = tuple(str(n) for n in range(7))
SIDES = ("bottom", "left", "right", "top")
SCENES = 1000
"""Scenes that a run takes where the user names no number."""
SCENE_SIDE = 384
"""Pixels of a side of the pictures that benchmarks draw."""
UNSEEN_SEED = 1000
"""Names the scenes that the demo model is measured on: no part of its training."""
ANSWERS = ("no", "yes", *COLORS, *KINDS, *SIDES, *COUNTS)

_CLEARANCE = 0.02  # between two shapes, as a fraction of the side
_APART = 0.12  # least distance along an axis before a relation or a position is asked for
_SUPERSAMPLING = 2


@dataclass(frozen=True)
class Shape:
    """One shape; centre and half-extents are fractions of the scene's side."""

    kind: str
    color: str
    x: float
    y: float
    half_width: float
    half_height: float

    def paint(self, draw: ImageDraw.ImageDraw, side: int, fill: object) -> None:
        """Paint onto a canvas of side x side pixels."""
        left, right = (self.x - self.half_width) * side, (self.x + self.half_width) * side
        top, bottom = (self.y - self.half_height) * side, (self.y + self.half_height) * side
        if self.kind == "circle":
            draw.ellipse((left, top, right, bottom), fill=fill)  # type: ignore[arg-type]
        elif self.kind == "rectangle":
            draw.rectangle((left, top, right, bottom), fill=fill)  # type: ignore[arg-type]
        else:
            draw.polygon([(left, bottom), (right, bottom), (self.x * side, top)], fill=fill)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Scene:
    """Shapes that do not overlap, on a light background."""

    shapes: tuple[Shape, ...]
    background: tuple[int, int, int]

    def draw(self, side: int) -> Image.Image:
        """Draw the scene as an RGB image of side x side pixels, edges smoothed."""
        large = side * _SUPERSAMPLING
        image = Image.new("RGB", (large, large), self.background)
        draw = ImageDraw.Draw(image)
        for shape in self.shapes:
            shape.paint(draw, large, COLORS[shape.color])
        return image.reduce(_SUPERSAMPLING)

    def region(self, indices: tuple[int, ...], side: int) -> NDArray[np.bool_]:
        """Mark the pixels (side, side) that the shapes called `indices` cover."""
        canvas = Image.new("1", (side, side))
        draw = ImageDraw.Draw(canvas)
        for index in indices:
            self.shapes[index].paint(draw, side, 1)
        return np.asarray(canvas, dtype=bool)


@dataclass(frozen=True)
class Question:
    """A question about a scene; `region` holds the indices of the shapes that the answer rests on (none for "no" to
    an existence question and for a count of 0)."""

    text: str
    answer: str
    category: str
    region: tuple[int, ...]
    named: tuple[tuple[str, tuple[int, ...]], ...] = ()
    """Words that stand side by side in the text, such as "red circle", and the indices of the shapes that they name."""

    def words(self) -> dict[int, tuple[int, ...]]:
        """Map the place of each word that names shapes, counted from 0, to their indices."""
        spoken = [word.strip("?,") for word in self.text.split()]
        found: dict[int, tuple[int, ...]] = {}
        for name, indices in self.named:
            words = name.split()
            start = next(i for i in range(len(spoken)) if spoken[i : i + len(words)] == words)
            found |= {start + i: indices for i in range(len(words)) if indices}
        return found


def generate_scene(rng: np.random.Generator, least: int = 3, most: int = 6) -> Scene:
    """Generate a scene of `least` to `most` shapes, both included."""
    wanted = int(rng.integers(least, most + 1))
    while True:
        shapes: list[Shape] = []
        for _ in range(200):
            if len(shapes) == wanted:
                break
            shape = _random_shape(rng)
            if all(_clear(shape, other) for other in shapes):
                shapes.append(shape)
        if len(shapes) == wanted:
            red, green, blue = (int(v) for v in rng.integers(225, 256, 3))
            return Scene(tuple(shapes), (red, green, blue))


def _random_shape(rng: np.random.Generator) -> Shape:
    kind = KINDS[rng.integers(len(KINDS))]
    color = tuple(COLORS)[rng.integers(len(COLORS))]
    half = rng.uniform(0.085, 0.15)
    half_height = half * rng.uniform(0.75, 1.0) if kind == "rectangle" else half
    x, y = rng.uniform(half, 1 - half), rng.uniform(half_height, 1 - half_height)
    return Shape(kind, color, float(x), float(y), float(half), float(half_height))


def _clear(a: Shape, b: Shape) -> bool:
    return abs(a.x - b.x) > a.half_width + b.half_width + _CLEARANCE or abs(a.y - b.y) > a.half_height + b.half_height + _CLEARANCE


# Each function below asks one question of its category, or returns None where the scene allows none.


def _name(shape: Shape) -> str:
    return f"{shape.color} {shape.kind}"


def _pick(rng: np.random.Generator, items: list[int]) -> int | None:
    return items[int(rng.integers(len(items)))] if items else None


def _choose(rng: np.random.Generator, *texts: str) -> str:
    return texts[int(rng.integers(len(texts)))]


def _matching(scene: Scene, color: str | None, kind: str | None) -> tuple[int, ...]:
    """Find the indices of the shapes of that colour and kind; None matches any."""
    return tuple(i for i, s in enumerate(scene.shapes) if color in (None, s.color) and kind in (None, s.kind))


def _unique(scene: Scene, describe: Callable[[Shape], str]) -> list[int]:
    """Find the indices of the shapes that their description tells from all others."""
    names = [describe(s) for s in scene.shapes]
    return [i for i, name in enumerate(names) if names.count(name) == 1]


def _color(scene: Scene, rng: np.random.Generator) -> Question | None:
    index = _pick(rng, _unique(scene, lambda s: s.kind))
    if index is None:
        return None
    kind = scene.shapes[index].kind
    text = _choose(rng, f"What color is the {kind}?", f"What is the color of the {kind}?", f"Which color does the {kind} have?")
    return Question(text, scene.shapes[index].color, "color", (index,), ((kind, (index,)),))


def _shape(scene: Scene, rng: np.random.Generator) -> Question | None:
    index = _pick(rng, _unique(scene, lambda s: s.color))
    if index is None:
        return None
    color = scene.shapes[index].color
    text = _choose(rng, f"What shape is the {color} object?", f"What is the {color} shape?", f"Which shape is {color}?")
    return Question(text, scene.shapes[index].kind, "shape", (index,), ((color, (index,)),))


def _existence(scene: Scene, rng: np.random.Generator) -> Question | None:
    by_color, by_kind = ((True, True), (True, False), (False, True))[int(rng.integers(3))]
    wanted = bool(rng.integers(2))
    options = [
        (color, kind)
        for color in (COLORS if by_color else (None,))
        for kind in (KINDS if by_kind else (None,))
        if bool(_matching(scene, color, kind)) is wanted
    ]
    if not options:
        return None
    color, kind = options[int(rng.integers(len(options)))]
    name = f"{color or ''} {kind or 'shape'}".strip()
    text = _choose(rng, f"Is there a {name}?", f"Is there a {name} in the image?", f"Does the image contain a {name}?")
    found = _matching(scene, color, kind)
    return Question(text, "yes" if wanted else "no", "existence", found, ((name, found),))


def _verify(scene: Scene, rng: np.random.Generator) -> Question | None:
    index = _pick(rng, _unique(scene, lambda s: s.kind))
    if index is None:
        return None
    shape = scene.shapes[index]
    color = shape.color
    if rng.integers(2):
        others = [c for c in COLORS if c != shape.color]
        color = others[int(rng.integers(len(others)))]
    text = _choose(rng, f"Is the {shape.kind} {color}?", f"Is the color of the {shape.kind} {color}?")
    return Question(text, "yes" if color == shape.color else "no", "yes/no", (index,), ((shape.kind, (index,)),))


def _position(scene: Scene, rng: np.random.Generator) -> Question | None:
    horizontal = bool(rng.integers(2))
    places = [(s.x if horizontal else s.y) - 0.5 for s in scene.shapes]
    index = _pick(rng, [i for i in _unique(scene, _name) if abs(places[i]) > _APART / 2])
    if index is None:
        return None
    low, high = ("left", "right") if horizontal else ("top", "bottom")
    name, preposition = _name(scene.shapes[index]), "on" if horizontal else "at"
    text = _choose(
        rng,
        f"Is the {name} {preposition} the {low} or {preposition} the {high}?",
        f"Is the {name} {preposition} the {high} or {preposition} the {low}?",
        f"Is the {name} in the {low} or the {high} half?",
    )
    return Question(text, low if places[index] < 0 else high, "position", (index,), ((name, (index,)),))


def _relation(scene: Scene, rng: np.random.Generator) -> Question | None:
    horizontal = bool(rng.integers(2))
    places = [s.x if horizontal else s.y for s in scene.shapes]
    named = _unique(scene, _name)
    pairs = [(i, j) for i in named for j in named if abs(places[i] - places[j]) > _APART]
    if not pairs:
        return None
    i, j = pairs[int(rng.integers(len(pairs)))]
    before = bool(rng.integers(2))  # "left of" or "above"
    if horizontal:
        word = _choose(rng, "left of", "to the left of") if before else _choose(rng, "right of", "to the right of")
    else:
        word = "above" if before else "below"
    first, second = _name(scene.shapes[i]), _name(scene.shapes[j])
    answer = "yes" if (places[i] < places[j]) is before else "no"
    return Question(f"Is the {first} {word} the {second}?", answer, "relation", (i, j), ((first, (i,)), (second, (j,))))


def _count(scene: Scene, rng: np.random.Generator) -> Question | None:
    by = ("any", "kind", "kind", "color")[int(rng.integers(4))]
    kind = KINDS[rng.integers(len(KINDS))] if by == "kind" else None
    color = tuple(COLORS)[rng.integers(len(COLORS))] if by == "color" else None
    found = _matching(scene, color, kind)
    if by == "color" and not found and rng.integers(4):
        return None  # most colours are absent: keep "0" from being the answer to most of these
    name = f"{color or ''} {kind or 'shape'}s".strip()
    text = _choose(rng, f"How many {name} are there?", f"How many {name} do you see?")
    return Question(text, COUNTS[len(found)], "count", found, ((name, found),))


ASKERS: dict[str, Callable[[Scene, np.random.Generator], Question | None]] = {
    "color": _color,
    "shape": _shape,
    "existence": _existence,
    "yes/no": _verify,
    "position": _position,
    "relation": _relation,
    "count": _count,
}
CATEGORIES = tuple(ASKERS)


def ask(scene: Scene, rng: np.random.Generator, categories: tuple[str, ...] = CATEGORIES) -> Question:
    """Ask a question about the scene, its category drawn evenly from those that it allows."""
    while True:
        for index in rng.permutation(len(categories)):
            for _ in range(4):
                if question := ASKERS[categories[index]](scene, rng):
                    return question
        if "existence" not in categories:
            raise ValueError(f"the scene allows no question of {', '.join(categories)}")


def samples(seed: int, count: int, categories: tuple[str, ...] = CATEGORIES) -> Iterator[tuple[Scene, Question]]:
    """Generate `count` scenes with one question each; sample i depends on `seed` and i alone, and categories take turns."""
    for i in range(count):
        rng = np.random.default_rng((seed, i))
        category = categories[i % len(categories)]
        while True:
            scene = generate_scene(rng)
            if question := ASKERS[category](scene, rng):
                yield scene, question
                break


def patch_coverage(region: NDArray[np.bool_], rows: int, columns: int) -> Region:
    """Compute the share (rows, columns) of each patch that a region (side, side) of the whole picture covers."""
    return share_covered(region, square_cells(rows, columns))


def true_region(scene: Scene, indices: tuple[int, ...], cells: Cells) -> Region | None:
    """Compute the share of each cell that belongs to the shapes called `indices`; None where none of them lies there."""
    return region_of(scene.region(indices, SCENE_SIDE), cells)


def named_regions(scene: Scene, words: Mapping[int, tuple[int, ...]], cells: Cells) -> dict[int, Region]:
    """Compute the same for the shapes that each word names; without the words whose shapes lie in no cell."""
    regions = {word: true_region(scene, indices, cells) for word, indices in words.items()}
    return {word: region for word, region in regions.items() if region is not None}


def scene_samples(count: int | None, seed: int, progress: Progress | None) -> list[Sample]:
    """Generate `count` samples (`SCENES` where None) from the seed; about a millisecond each, of which `progress` hears."""
    wanted = SCENES if count is None else count
    found = []
    for i, (scene, question) in enumerate(samples(seed, wanted)):
        found.append(_sample(f"{seed}-{i}", scene, question))
        if progress is not None:
            progress(i + 1, wanted)
    return found


def _sample(name: str, scene: Scene, question: Question) -> Sample:
    truth, words = partial(true_region, scene, question.region), partial(named_regions, scene, question.words())
    return Sample(name, f"scene {name}", question.text, {question.answer: 1.0}, partial(scene.draw, SCENE_SIDE), truth, words)
