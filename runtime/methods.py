"""Evidence -> relevance of every text token and every image patch or box: the spectral methods and the baselines (docs/methods.md,
Methods and Baselines).

Every method is one pure function Evidence -> Relevance that loops over the sites and streams of the model's description.
To add one, write the function, say which evidence it needs, and give it a row in `METHODS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from xai.base.errors import BadInput
from xai.runtime.description import IMAGE, TEXT, Description, Site, Stream
from xai.runtime.evidence import Evidence, crossing, fiedler_name, graph_name, reading, self_sites
from xai.runtime.joint import read_jointly
from xai.runtime.needs import (
    EVERY,
    FIRST,
    Needs,
    need_chains,
    need_every,
    need_fiedler,
    need_grad_cam,
    need_nothing,
    need_reading,
    need_weighted,
    summed,
    weighted_layers,
)
from xai.runtime.propagation import Normalised, Propagated, steps
from xai.spectral.arrays import Array, namespace


class Relevance(NamedTuple):
    """`text` (T,), special tokens included, and `image` (P,): patches row by row, without a class token, or boxes."""

    text: Array
    image: Array


def start(stream: Stream, like: Array, length: int) -> Array:
    """The weights (length,) with which the answer reads a stream's tokens: of its first one, of all alike, or of none."""
    xp = namespace(like)
    if stream.read == "mean":
        return xp.full(length, 1 / length, like.dtype)
    row = xp.zeros(length, like.dtype)
    if stream.read:
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
    """Sum over layers of | M |v| |, M the evidence of that kind within a modality, without the special tokens' rows and columns."""

    def relevance(evidence: Evidence) -> Relevance:
        found: dict[str, Any] = {TEXT: 0, IMAGE: 0}
        for modality in found:
            inner = evidence.content(modality)
            for layer in weighted_layers(evidence.description, modality, layers):
                vector = evidence[fiedler_name(graph_name(evidence.description, layer, modality))]
                found[modality] = found[modality] + abs(evidence[f"{layer}/self/{kind}"][inner, inner] @ vector)
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


def _joint(kind: str) -> Callable[[Evidence], Relevance]:
    """What the answer reads, of every stream that it reads, of one matrix over all streams: `rollout` of attention, R += C R of C."""

    def relevance(evidence: Evidence) -> Relevance:
        description = evidence.description
        like = evidence[f"{description.sites[0].name}/{kind}"]
        first = {stream.name: start(stream, like, evidence.length(stream.name)) for stream in description.streams}
        rows = read_jointly(description, first, lambda site: evidence[f"{site.name}/{kind}"], normalised=kind == "attention")
        if kind == "product":
            rows = {name: row - first[name] for name, row in rows.items()}
        return finish(evidence, {m: rows[description.stream_of(m).name][evidence.part(m)] for m in (TEXT, IMAGE)})

    return relevance


def transformer_attribution(evidence: Evidence) -> Relevance:
    """R = I; R += C R over a stream's layers; of a stream that the answer does not read, C of the last attention to it
    (`transformer_attr`)."""
    description = evidence.description

    def row(modality: str) -> Array:
        stream = description.stream_of(modality)
        if not stream.read:
            site = crossing(description, stream)
            return _read(evidence, site, evidence[f"{site.name}/product"])[evidence.part(modality)]
        products = [evidence[f"{site.name}/product"] for site in self_sites(description, stream)]
        first = found = start(stream, products[0], evidence.length(stream.name))
        for product in reversed(products):
            found = found + found @ product
        return (found - first)[evidence.part(modality)]

    return finish(evidence, {modality: row(modality) for modality in (TEXT, IMAGE)})


def relevance_maps(evidence: Evidence) -> Relevance:
    """Relevance propagated within and between the streams (`rm`; docs/methods.md, Baselines).

    Unless it is normalised, what a stream gathers of itself is only ever multiplied by a thin matrix and read in one row, so it is
    not formed; what it gathers of another stream is thin.
    """
    description = evidence.description
    kind = Normalised if description.published.normalised else Propagated
    own: dict[str, Any] = {stream.name: kind(evidence.length(stream.name)) for stream in description.streams}
    other: dict[tuple[str, str], Array] = {}  # absent while it is 0
    like = evidence[f"{description.sites[0].name}/product"]
    for step in steps(description.sites):
        added: dict[tuple[str, str], Array] = {}
        outer: list[tuple[str, Array, Array]] = []
        for site in step:
            c, q, k = evidence[f"{site.name}/product"], site.queries, site.keys
            if q == k:
                own[q].add_product(c)
                added |= {pair: c @ x for pair, x in other.items() if pair[0] == q}
                continue
            added[q, k] = own[q].transposed(own[k].rows(c))
            if (k, q) in other:
                outer.append((q, c, other[k, q]))
        other |= {pair: other[pair] + x if pair in other else x for pair, x in added.items()}
        for q, left, right in outer:
            own[q].add_outer(left, right)

    def row(modality: str) -> Array:
        stream, first = description.stream_of(modality), description.streams[0]
        read = stream if stream.read else first
        weights = start(read, like, evidence.length(read.name))
        found = own[stream.name].read(weights) if stream.read else weights @ other[first.name, stream.name]
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

    published: bool = True
    """Whether it is one of the methods that were published, or the floor `random`; else its reference name is its own."""

    @property
    def base(self) -> str:
        """The name without the choice of layers, for whoever gives `layers` beside it."""
        return self.name.partition("@")[0]

    def summed(self, description: Description) -> str | None:
        """`FIRST` or `EVERY`: which layers it sums over for a model; None where it has no choice."""
        return None if self.layers is None else summed(description, self.layers)


def _weighted(name: str, reference_name: str, kind: str, layers: str) -> Method:
    suffix = "@all" if layers == EVERY else ""
    return Method(name + suffix, reference_name + suffix, _weighted_fiedler(kind, layers), need_weighted(kind, layers), layers)


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("dsmi", "dsm", dsmi, need_fiedler),
        _weighted("dsmi-grad", "dsm_grad", "gradient", FIRST),
        _weighted("dsmi-grad-attn", "dsm_grad_cam", "product", FIRST),
        Method("relevance-maps", "rm", relevance_maps, need_every("product")),
        Method("joint-relevance-maps", "joint-relevance-maps", _joint("product"), need_every("product"), published=False),
        Method("transformer-attribution", "transformer_attr", transformer_attribution, need_chains("product")),
        Method("raw-attention", "raw_attn", raw_attention, need_reading("attention")),
        Method("grad-cam", "attn_gradcam", grad_cam, need_grad_cam),
        Method("rollout", "rollout", rollout, need_chains("attention")),
        Method("joint-rollout", "joint-rollout", _joint("attention"), need_every("attention"), published=False),
        Method("random", "random", random, need_nothing),
        _weighted("dsmi-grad", "dsm_grad", "gradient", EVERY),
        _weighted("dsmi-grad-attn", "dsm_grad_cam", "product", EVERY),
    )
}
"""Every method by name."""

ALL_METHODS = tuple(name for name, method in METHODS.items() if method.layers != EVERY)
"""What `all` stands for: every method, those that choose layers as they were published."""

AS_PUBLISHED = tuple(name for name in ALL_METHODS if METHODS[name].published)
"""The methods as they were published, and the floor `random`."""

DEFAULT_METHOD = "dsmi-grad"


def find_method(name: str) -> Method:
    """The method of that name, or of that name in the reference code. Raises `BadInput` with the valid names."""
    for method in METHODS.values():
        if name in (method.name, method.reference_name):
            return method
    raise BadInput(f"unknown method {name!r}: choose from {', '.join(METHODS)}")


def find_methods(asked: str | Iterable[str]) -> tuple[Method, ...]:
    """The methods asked for, by one name or several, each once; `all` stands for `ALL_METHODS`.

    Raises `BadInput` on an unknown name, with the valid ones, and on none.
    """
    if not isinstance(asked, Iterable):
        raise BadInput(f"methods is {asked!r}: name one, or several in a list")
    names = [asked] if isinstance(asked, str) else list(asked)
    if not names:
        raise BadInput("no method is named: name some, or all")
    wanted = [name for given in names for name in (ALL_METHODS if given == "all" else (given,))]
    return tuple({method.name: method for method in map(find_method, wanted)}.values())
