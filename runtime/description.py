"""What the runtime knows of a model, as data: an adapter states it, a bundle's manifest stores it, methods loop over it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from xai.base.errors import BadInput, XaiError
from xai.base.records import parse, plain

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TEXT, IMAGE = "text", "image"
"""The two modalities: tokens of the question, and tokens of the picture (patches or boxes)."""


class Site(NamedTuple):
    """One attention of the network, from tokens of one stream to those of the same stream ("self") or of another ("cross")."""

    layer: str
    """Such as `text3`; unique together with `kind`."""
    kind: str
    queries: str
    keys: str
    heads: int
    reached: bool = True
    """Whether the answer depends on it; where not, its gradient is 0 by definition and no method reads it."""

    @property
    def name(self) -> str:
        """What its evidence is called, such as `text3/self`."""
        return f"{self.layer}/{self.kind}"


class Stream(NamedTuple):
    """Tokens that the network carries side by side: of one modality, or of several one behind the other."""

    name: str
    parts: tuple[str, ...]
    """Its modalities in their order."""
    read: Literal["first", "mean"] | None
    """What of its last features the answer is read from: the first token, the mean of all, or nothing."""
    layers: tuple[str, ...]
    """Layers whose features a spectral method may cut, in their order: cross-modal ones that the answer depends on."""


class Special(NamedTuple):
    """How many tokens of a modality stand for no word or patch, at its beginning and at its end."""

    before: int
    behind: int


class Square(NamedTuple):
    """A picture becomes a square of `size` pixels in patches: by a centre crop of the scaled picture, or by squashing it."""

    size: int
    patch: int
    fit: Literal["crop", "squash"]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    kind: Literal["square"] = "square"

    @property
    def grid(self) -> int:
        """Patches along a side."""
        return self.size // self.patch


class Aspect(NamedTuple):
    """A picture keeps its shape: shorter side `shorter` pixels, longer at most `longer`, both cut down to whole patches."""

    shorter: int
    longer: int
    patch: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    kind: Literal["aspect"] = "aspect"


class Boxes(NamedTuple):
    """A picture is given as boxes with `width` features each and corners (x0, y0, x1, y1) in [0, 1]."""

    width: int
    kind: Literal["boxes"] = "boxes"


def picture_inputs(picture: Square | Aspect | Boxes) -> tuple[str, ...]:
    """The names of the arrays that a picture is given as: pixels (B, 3, h, w), or features (B, N, width) and boxes (B, N, 4)."""
    return ("features", "boxes") if isinstance(picture, Boxes) else ("pixels",)


class Published(NamedTuple):
    """How the family's methods were published, where families differ."""

    layers: Literal["first", "all"]
    """Layers that the weighted spectral methods sum over."""
    target: Literal["answer", "all"]
    """What spectral methods differentiate: the answer's logit, or the sum of all logits."""
    normalised: bool
    """Whether relevance maps normalise what one modality hands to the other (Chefer et al. 2021, eq. 8 and 9)."""
    lrp: bool
    """Whether methods with layer-wise relevance propagation are; where not, the model does not give what they read."""
    positions: Literal["anew"] | None = None
    """How the perturbation test numbers the words that stay: anew, from the first on, or (None) as in the whole question."""


@dataclass(frozen=True)
class Description:
    """Everything that depends on the network and not on the question. `sites` stand in the order of propagation: cross-attentions
    side by side read the same tokens, all else goes one after the other."""

    family: str
    sites: tuple[Site, ...]
    streams: tuple[Stream, ...]
    """The first is the one that the answer is read from."""
    special: Mapping[str, Special]
    picture: Square | Aspect | Boxes
    max_text_tokens: int
    """Longest question, special tokens included."""
    vocab_size: int
    answers: int
    image_width: int
    """Numbers of an image token where the graphs are cut."""
    text_width: int
    width: int
    """Numbers of a feature."""
    published: Published
    shown: Literal["score"] | None = None
    """What is said of an answer: its share of the softmax, or where `score` its logit, a number to rank pairs by and no probability."""

    def __post_init__(self) -> None:
        """Raise `XaiError` where the parts do not fit each other."""
        streams = {stream.name for stream in self.streams}
        names = [site.name for site in self.sites]
        if unknown := [s.name for s in self.sites if not {s.queries, s.keys} <= streams]:
            raise XaiError(f"{self.family}: attention {unknown[0]} joins streams that are not described")
        if len(set(names)) < len(names):
            raise XaiError(f"{self.family}: two attentions have the same name")
        if sorted(part for stream in self.streams for part in stream.parts) != [IMAGE, TEXT] or set(self.special) != {IMAGE, TEXT}:
            raise XaiError(f"{self.family}: text and image must each lie in one stream and have their special tokens counted")
        if missing := [layer for s in self.streams for layer in s.layers if f"{layer}/self" not in names]:
            raise XaiError(f"{self.family}: layer {missing[0]} has features and no self-attention")
        if self.streams[0].read is None:
            raise XaiError(f"{self.family}: the first stream must be one that the answer is read from")
        sizes = ("max_text_tokens", "vocab_size", "answers", "image_width", "text_width", "width")
        if wrong := [name for name in sizes if getattr(self, name) < 1]:
            raise XaiError(f"{self.family}: {wrong[0]} is not a positive number")
        if not isinstance(self.picture, Boxes) and min(self.picture.std) <= 0:
            raise XaiError(f"{self.family}: picture.std is not above zero")
        if wrong := [name for name, (before, behind) in self.special.items() if min(before, behind) < 0]:
            raise XaiError(f"{self.family}: special tokens of {wrong[0]} are counted below 0")

    def image_tokens(self, *picture: NDArray[np.float32]) -> int:
        """How many tokens a picture becomes, special ones included: pixels (3, h, w), or features (N, D) and boxes (N, 4)."""
        if isinstance(self.picture, Boxes):
            return len(picture[0]) + sum(self.special[IMAGE])
        _, height, width = picture[0].shape
        return (height // self.picture.patch) * (width // self.picture.patch) + sum(self.special[IMAGE])

    def depended_on(self) -> set[str]:
        """The attentions that the answer depends on, as the order of `sites` has it: backwards from the streams that it is read from."""
        needed = {stream.name for stream in self.streams if stream.read}
        found: set[str] = set()
        for crossing, group in groupby(reversed(self.sites), key=lambda site: site.queries != site.keys):
            sites = list(group)
            for step in [sites] if crossing else [[site] for site in sites]:  # crossing ones stand side by side
                reached = [site for site in step if site.queries in needed]
                found |= {site.name for site in reached}
                needed |= {site.keys for site in reached}
        return found

    def stream_of(self, modality: str) -> Stream:
        """The stream that holds a modality."""
        return next(stream for stream in self.streams if modality in stream.parts)

    def stream(self, name: str) -> Stream:
        """The stream of that name."""
        return next(stream for stream in self.streams if stream.name == name)

    def site(self, name: str) -> Site:
        """The attention of that name."""
        return next(site for site in self.sites if site.name == name)

    def stream_of_layer(self, layer: str) -> str:
        """The stream whose tokens a layer puts out."""
        return next(site.queries for site in self.sites if site.layer == layer)

    @property
    def token_type(self) -> str:
        """NumPy's name of the type of tokens where the graphs are cut: relevance propagation would make a few per mille of its values
        of what float32 rounds there."""
        return "float64" if self.published.lrp else "float32"

    @property
    def square(self) -> Square:
        """The recipe of a model that takes squares. Raises `BadInput` where it takes something else."""
        if isinstance(self.picture, Square):
            return self.picture
        raise BadInput(f"{self.family} does not take square pictures, and this works with square ones only")

    @property
    def image_size(self) -> int:
        """Side of the square that the model takes. Raises `BadInput` where it takes no square."""
        return self.square.size

    @property
    def grid(self) -> int:
        """Patches along a side. Raises `BadInput` where the model takes no square."""
        return self.square.grid

    @property
    def layers(self) -> int:
        """Layers with features of the stream that the answer is read from."""
        return len(self.streams[0].layers)

    @property
    def text_layers(self) -> int:
        """Self-attentions of that stream before them."""
        first = self.streams[0]
        return sum(site.queries == site.keys == first.name for site in self.sites) - len(first.layers)

    @property
    def counts(self) -> dict[str, int]:
        """Every size that is one number, by name; side and grid of a picture only where the model takes squares."""
        square = ("image_size", "grid") if isinstance(self.picture, Square) else ()
        names = (*square, "max_text_tokens", "vocab_size", "text_layers", "layers", "answers")
        return {name: getattr(self, name) for name in names}

    def differences(self, other: Description) -> list[str]:
        """In which parts another model differs, such as `answers 17, not 3129`."""
        pairs = ((name, value, getattr(other, name)) for name, value in vars(self).items())
        return [f"{name} {value}, not {wanted}" if isinstance(value, int) else name for name, value, wanted in pairs if value != wanted]

    def to_json(self) -> dict[str, Any]:
        """As objects, lists, strings and numbers."""
        found: dict[str, Any] = plain(self)
        return found

    @classmethod
    def from_json(cls, content: object, where: str = "model") -> Description:
        """What `to_json` gave. Raises `XaiError`, which names the field, where something is missing, of another type, or does not fit."""
        return parse(cls, content, where)
