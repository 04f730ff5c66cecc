"""Evidence -> relevance of every text token and every image patch or box: the spectral methods and the baselines (docs/methods.md,
Methods and Baselines).

Every method is one pure function Evidence -> Relevance that loops over the sites and streams of the model's description.
To add one, write the function, say which evidence it needs, and give it a row in `METHODS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from xai.base.errors import BadInput
from xai.runtime.description import IMAGE, TEXT, Description, Site, Stream
from xai.runtime.evidence import Evidence, crossing, fiedler_name, graph_name, reading, self_sites
from xai.runtime.needs import (
    EVERY,
    FIRST,
    Needs,
    need_alike,
    need_chains,
    need_every_product,
    need_fiedler,
    need_grad_cam,
    need_nothing,
    need_reading,
    need_weighted,
    summed,
    weighted_layers,
)
from xai.runtime.propagation import alike_to_words, handed_to_words, propagate
from xai.spectral.arrays import Array, namespace


class Relevance(NamedTuple):
    """`text` (T,), special tokens included, and `image` (P,): patches row by row, without a class token, or boxes."""

    text: Array
    image: Array


def start(stream: Stream, like: Array, length: int) -> Array:
    """The weights (length,) with which the answer reads a stream's tokens: of its first one, or of all alike."""
    xp = namespace(like)
    if stream.read == "mean":
        return xp.full(length, 1 / length, like.dtype)
    row = xp.zeros(length, like.dtype)
    row[0] = 1
    return row


def finish(evidence: Evidence, rows: Mapping[str, Array]) -> Relevance:
    """Rows (tokens of the modality, special ones included) -> relevance: what stands before the text is set to 0, what stands
    around the image is left out."""
    text, image = rows[TEXT], rows[IMAGE]
    xp = namespace(text)
    before, (first, behind) = evidence.description.special[TEXT].before, evidence.description.special[IMAGE]
    return Relevance(xp.concatenate([xp.zeros_like(text[:before]), text[before:]]), image[first : len(image) - behind])


def finish_content(evidence: Evidence, text: Array, image: Array) -> Relevance:
    """Relevance of words and patches alone: special tokens of the text get 0."""
    xp = namespace(text)
    before, behind = evidence.description.special[TEXT]
    zeros = [xp.zeros_like(text, shape=(count,)) for count in (before, behind)]
    return Relevance(xp.concatenate([zeros[0], text, zeros[1]]), image)


def dsmi(evidence: Evidence) -> Relevance:
    """|v| of the last layer's features, per modality (reference name `dsm`)."""
    description = evidence.description
    text, image = (evidence[fiedler_name(graph_name(description, description.stream_of(m).layers[-1], m))] for m in (TEXT, IMAGE))
    return finish_content(evidence, text, image)


def _weighted_fiedler(kind: str, layers: str) -> Callable[[Evidence], Relevance]:
    """Sum over layers of M |v|, M the evidence of that kind within a modality, without the special tokens' rows and columns.

    The reference takes the absolute value of each layer's product, which changes nothing: M is not negative, unless it is the
    difference of two for a contrast, which has signs.
    """

    def relevance(evidence: Evidence) -> Relevance:
        found: dict[str, Any] = {TEXT: 0, IMAGE: 0}
        for modality in found:
            inner = evidence.content(modality)
            for layer in weighted_layers(evidence.description, modality, layers):
                vector = evidence[fiedler_name(graph_name(evidence.description, layer, modality))]
                found[modality] = found[modality] + evidence[f"{layer}/self/{kind}"][inner, inner] @ vector
        return finish_content(evidence, found[TEXT], found[IMAGE])

    return relevance


def raw_attention(evidence: Evidence) -> Relevance:
    """What the answer reads of the last self-attention, head mean, or of the last attention to a stream that it does not read
    (`raw_attn`)."""

    def row(modality: str) -> Array:
        site = reading(evidence.description, modality)
        return _read(evidence, site, evidence[f"{site.name}/attention"])[evidence.part(modality)]

    return finish(evidence, {modality: row(modality) for modality in (TEXT, IMAGE)})


def _read(evidence: Evidence, site: Site, matrix: Array) -> Array:
    """The row of a site's matrix that the answer reads, or the mean of all."""
    return matrix.mean(0) if evidence.description.stream(site.queries).read == "mean" else matrix[0]


def grad_cam(evidence: Evidence) -> Relevance:
    """Row 0 of relu(mean_h(A * mean_qk(G))) of the last attention from the first stream to each modality (`attn_gradcam`)."""

    def row(modality: str) -> Array:
        site = crossing(evidence.description, evidence.description.stream_of(modality))
        return evidence[f"{site.name}/grad-cam"][evidence.part(modality)]

    return finish(evidence, {modality: row(modality) for modality in (TEXT, IMAGE)})


def rollout(evidence: Evidence) -> Relevance:
    """Product over a stream's layers of rownorm(mean_h A + I); to a stream that the answer does not read, from the stream that it
    reads, by the last attention between them."""
    description = evidence.description

    def matrices(stream: Stream, before: Site | None = None) -> list[Array]:
        sites = self_sites(description, stream)
        stop = len(description.sites) if before is None else description.sites.index(before)
        return [evidence[f"{site.name}/attention"] for site in sites if description.sites.index(site) < stop]

    def chain(row: Array, layers: list[Array]) -> Array:
        for attention in reversed(layers):  # later layers stand on the left: a chain of vector products, no N x N product
            row = row / (attention.sum(-1) + 1)  # rows of A + I sum to this
            row = row @ attention + row
        return row

    def row(modality: str) -> Array:
        stream = description.stream_of(modality)
        layers = matrices(stream)
        if stream.read:
            return chain(start(stream, layers[0], evidence.length(stream.name)), layers)[evidence.part(modality)]
        site, first = crossing(description, stream), description.streams[0]
        between = evidence[f"{site.name}/attention"]
        column = start(first, between, evidence.length(first.name))
        for attention in matrices(first, before=site):
            column = (attention @ column + column) / (attention.sum(-1) + 1)
        return chain(column @ between, layers)[evidence.part(modality)]

    return finish(evidence, {modality: row(modality) for modality in (TEXT, IMAGE)})


def _attribution(kind: str) -> Callable[[Evidence], Relevance]:
    """R = I; R += C R over a stream's layers, C the evidence of that kind; of a stream that the answer does not read, C of the last
    attention to it."""

    def relevance(evidence: Evidence) -> Relevance:
        description = evidence.description

        def row(modality: str) -> Array:
            stream = description.stream_of(modality)
            if not stream.read:
                site = crossing(description, stream)
                return _read(evidence, site, evidence[f"{site.name}/{kind}"])[evidence.part(modality)]
            products = [evidence[f"{site.name}/{kind}"] for site in self_sites(description, stream)]
            first = found = start(stream, products[0], evidence.length(stream.name))
            for product in reversed(products):
                found = found + found @ product
            return (found - first)[evidence.part(modality)]

        return finish(evidence, {modality: row(modality) for modality in (TEXT, IMAGE)})

    return relevance


def partial_lrp(evidence: Evidence) -> Relevance:
    """What the answer reads of the last attention's relevance, head mean, after the whole matrix was scaled to [0, 1] (`partial_lrp`)."""

    def row(modality: str) -> Array:
        site = reading(evidence.description, modality)
        matrix = evidence[f"{site.name}/lrp"]
        low, high = matrix.min(), matrix.max()
        scaled = (matrix - low) / (high - low) if high > low else matrix * 0
        return _read(evidence, site, scaled)[evidence.part(modality)]

    return finish(evidence, {modality: row(modality) for modality in (TEXT, IMAGE)})


def relevance_maps(evidence: Evidence) -> Relevance:
    """Relevance propagated within and between the streams (`rm`; docs/methods.md, Baselines)."""
    description = evidence.description
    own, other = propagate(evidence)
    like = evidence[f"{description.sites[0].name}/product"]

    def row(modality: str) -> Array:
        stream, first = description.stream_of(modality), description.streams[0]
        read = stream if stream.read else first
        weights = start(read, like, evidence.length(read.name))
        found = own[stream.name].read(weights[None])[0] if stream.read else weights @ other[first.name, stream.name]
        return found[evidence.part(modality)]

    return finish(evidence, {modality: row(modality) for modality in (TEXT, IMAGE)})


def random(evidence: Evidence) -> Relevance:
    """Uniform noise in [0, 1): the floor under every table. Depends on the seed and the two lengths only."""
    before, behind = evidence.description.special[TEXT]
    tokens, patches = (evidence.lengths[m] - sum(evidence.description.special[m]) for m in (TEXT, IMAGE))
    rng = np.random.default_rng(evidence.seed)  # on the host: CuPy's numbers are others
    text, image = rng.random(before + tokens + behind), rng.random(patches)
    text[:before] = text[before + tokens :] = 0
    return Relevance(text, image)


Dependence = Literal["none", "clamped", "linear"]
"""How a method's scores depend on the answer that is explained: not at all; by gradients whose negative parts it leaves out where
they cannot be put back; or by a sum that is linear in the gradients but for one such clamp, so that a contrast has signs."""


class Between(NamedTuple):
    """What goes with each text token of the picture, (T, P), and the evidence that it reads, for who asks for it only."""

    kind: Literal["relevance", "affinity"]
    """The method's own relevance between the streams, or an affinity of features that knows nothing of method and answer."""
    regions: Callable[[Evidence], Array]
    needs: Needs


AFFINITY = Between("affinity", alike_to_words, need_alike)
"""Of methods that hand no relevance from one modality to the other."""


@dataclass(frozen=True)
class Method:
    """A way to turn evidence into relevance; `needs` names the evidence it reads, and no more leaves the graph."""

    name: str
    reference_name: str
    relevance: Callable[[Evidence], Relevance]
    needs: Needs
    layers: str | None = None
    """`FIRST` (as published for the model, which is all layers of some) or `EVERY` of a method that has one row for either; None of
    the others."""
    dependence: Dependence = "clamped"
    lrp: bool = False
    """Whether it reads what layer-wise relevance propagation gives."""
    between: Between = AFFINITY
    """What goes with a word of the picture, for who asks."""

    @property
    def base(self) -> str:
        """The name without the choice of layers, for whoever gives `layers` beside it."""
        return self.name.partition("@")[0]

    def offered(self, description: Description) -> bool:
        """Whether a model gives what it reads."""
        return description.published.lrp or not self.lrp

    def summed(self, description: Description) -> str | None:
        """`FIRST` or `EVERY`: which layers it sums over for a model; None where it has no choice."""
        return None if self.layers is None else summed(description, self.layers)


def _weighted(name: str, reference_name: str, kind: str, layers: str) -> Method:
    suffix = "@all" if layers == EVERY else ""
    return Method(name + suffix, reference_name + suffix, _weighted_fiedler(kind, layers), need_weighted(kind, layers), layers, "linear")


_HANDED = Between("relevance", handed_to_words, need_every_product)

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("dsmi", "dsm", dsmi, need_fiedler, dependence="none"),
        _weighted("dsmi-grad", "dsm_grad", "gradient", FIRST),
        _weighted("dsmi-grad-attn", "dsm_grad_cam", "product", FIRST),
        Method("relevance-maps", "rm", relevance_maps, need_every_product, between=_HANDED),
        Method("transformer-attribution", "transformer_attr", _attribution("product"), need_chains("product")),
        Method("transformer-attribution-lrp", "transformer_att", _attribution("lrp-product"), need_chains("lrp-product"), lrp=True),
        Method("partial-lrp", "partial_lrp", partial_lrp, need_reading("lrp"), lrp=True),
        Method("raw-attention", "raw_attn", raw_attention, need_reading("attention"), dependence="none"),
        Method("grad-cam", "attn_gradcam", grad_cam, need_grad_cam, dependence="linear"),
        Method("rollout", "rollout", rollout, need_chains("attention"), dependence="none"),
        Method("random", "random", random, need_nothing, dependence="none"),
        _weighted("dsmi-grad", "dsm_grad", "gradient", EVERY),
        _weighted("dsmi-grad-attn", "dsm_grad_cam", "product", EVERY),
    )
}
"""Every method by name."""

AS_PUBLISHED = tuple(name for name, method in METHODS.items() if method.layers != EVERY and not method.lrp)
"""What `all` stands for with every model: the methods as they were published, and the floor `random`."""

ALL = ("all", "all@all")
"""Names that stand for several methods: as published, or with all layers where they choose layers."""

DEFAULT_METHOD = "dsmi-grad"


def find_method(name: str) -> Method:
    """The method of that name, or of that name in the reference code. Raises `BadInput` with the valid names."""
    for method in METHODS.values():
        if name in (method.name, method.reference_name):
            return method
    raise BadInput(f"unknown method {name!r}: choose from {', '.join(METHODS)}")


def find_methods(asked: str | Iterable[str], description: Description | None = None) -> tuple[Method, ...]:
    """The methods asked for, by one name or several, each once; `all` stands for `AS_PUBLISHED` and what else a model offers, `all@all`
    for the same with all layers.

    Raises `BadInput` on an unknown name, with the valid ones, on none, and on one that needs what the model does not give.
    """
    if not isinstance(asked, Iterable):
        raise BadInput(f"methods is {asked!r}: name one, or several in a list")
    names = [asked] if isinstance(asked, str) else list(asked)
    if not names:
        raise BadInput("no method is named: name some, or all")
    found = [method for name in names for method in (_find_all(name, description) if name in ALL else (find_method(name),))]
    if description:
        check_offered(found, description)
    return tuple({method.name: method for method in found}.values())


def check_offered(methods: Iterable[Method], description: Description) -> None:
    """Raises `BadInput` for the first method that needs what the model does not give."""
    if missing := [method.name for method in methods if not method.offered(description)]:
        raise BadInput(
            f"method {missing[0]} needs layer-wise relevance propagation, which {description.family} does not give: "
            "choose another method, such as transformer-attribution"
        )


def _find_all(name: str, description: Description | None) -> list[Method]:
    """The methods that one of `ALL` stands for."""
    offered = [m.name for m in METHODS.values() if m.name in AS_PUBLISHED or (m.lrp and description and m.offered(description))]
    return [METHODS.get(f"{each}@all", METHODS[each]) if name == "all@all" else METHODS[each] for each in offered]
