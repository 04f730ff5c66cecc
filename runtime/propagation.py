"""Relevance that attentions hand on within and between the streams of tokens, and what goes with a word where a method hands nothing on
(docs/methods.md, Baselines; Words and regions)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from xai.runtime.description import IMAGE, TEXT, Description, Site, Stream
from xai.runtime.evidence import Evidence, features_name, graph_name
from xai.spectral.affinity import unit_rows
from xai.spectral.arrays import Array, namespace


def times(rows: Array, matrices: Array) -> Array:
    """One row each (B, N) times one matrix each (B, N, M): (B, M)."""
    return (rows[:, None] @ matrices)[:, 0]


class Propagated:
    """Relevances R = I of a batch after updates R += C R and R += U V, held as that list of updates instead of as matrices."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.updates: list[tuple[Array, Array | None]] = []

    def add_product(self, c: Array) -> None:
        """R += C R."""
        self.updates.append((c, None))

    def add_outer(self, u: Array, v: Array) -> None:
        """R += U V, U (B, N, k) and V (B, k, N)."""
        self.updates.append((u, v))

    def rows(self, x: Array) -> Array:
        """X R for X (B, k, N)."""
        if x.shape[-2] > self.length:
            return x @ self.rows(namespace(x).eye(self.length, dtype=x.dtype))
        handed = []
        for left, right in reversed(self.updates):
            if right is None:
                x = x + x @ left
            else:
                handed.append((x @ left) @ right)
        return sum(handed, x)

    def transposed(self, x: Array) -> Array:
        """R^T X for X (B, N, k)."""
        return self.rows(x.swapaxes(-1, -2)).swapaxes(-1, -2)

    def read(self, x: Array) -> Array:
        """X (R - I) for X (B, k, N)."""
        return self.rows(x) - x


class Formed:
    """The same relevances as matrices: of a stream of words alone, whose few tokens make them cheaper than any list of updates.

    R - I is what is held: added to I its digits would be lost.
    """

    def __init__(self, length: int) -> None:
        self.length = length
        self.difference: Any = None

    def add_product(self, c: Array) -> None:
        """R += C R."""
        self.difference = c if self.difference is None else self.difference + c + c @ self.difference

    def add_outer(self, u: Array, v: Array) -> None:
        """R += U V."""
        self.difference = u @ v if self.difference is None else self.difference + u @ v

    def handed(self) -> Array:
        """R - I as it is handed on."""
        return self.difference

    def rows(self, x: Array) -> Array:
        """X R for X (B, k, N)."""
        return x if self.difference is None else x + x @ self.handed()

    def transposed(self, x: Array) -> Array:
        """R^T X for X (B, N, k)."""
        return x if self.difference is None else x + self.handed().swapaxes(-1, -2) @ x

    def read(self, x: Array) -> Array:
        """X (R - I) for X (B, k, N), as it is held."""
        return namespace(x).zeros_like(x) if self.difference is None else x @ self.difference


class Normalised(Formed):
    """The same, handed on as I + rownorm(R - I) (Chefer et al. 2021, eq. 8 and 9); a row of 0 stays one."""

    def handed(self) -> Array:
        """rownorm(R - I)."""
        sums = self.difference.sum(-1, keepdims=True)
        return self.difference / namespace(sums).where(sums == 0, 1, sums)


def steps(sites: Sequence[Site]) -> Iterator[list[Site]]:
    """Reached sites in the order of propagation; cross-attentions that stand side by side are one step."""
    waiting: list[Site] = []
    for site in (site for site in sites if site.reached):
        if site.queries != site.keys:
            waiting.append(site)
            continue
        if waiting:
            yield waiting
            waiting = []
        yield [site]
    if waiting:
        yield waiting


def joint_steps(description: Description) -> list[list[Site]]:
    """The attentions that the answer depends on, in the order of propagation; those of one layer of all streams are one step."""
    numbers = {layer: str(i) for stream in description.streams for i, layer in enumerate(stream.layers)}
    reached = (site for site in description.sites if site.reached)
    return [list(sites) for _, sites in groupby(reached, key=lambda site: numbers.get(site.layer, site.layer))]


def read_jointly(
    description: Description, start: Mapping[str, Array], matrix: Callable[[Site], Array], normalised: bool
) -> dict[str, Array]:
    """Multiply rows over all streams, one each, by I + A of every step, the last first; `normalised` divides A + I's rows by their sums.

    `start` (B, tokens) and what is returned are the rows' part in each stream; `matrix` gives a site's block (B, queries, keys) of A.
    No product of two matrices is formed, and no matrix over more than one pair of streams.
    """
    rows = dict(start)
    for sites in reversed(joint_steps(description)):
        blocks = [(site, matrix(site)) for site in sites]
        if normalised:
            for stream in {site.queries for site, _ in blocks}:
                rows[stream] = rows[stream] / sum((block.sum(-1) for site, block in blocks if site.queries == stream), 1)
        handed = {stream: [times(rows[site.queries], block) for site, block in blocks if site.keys == stream] for stream in rows}
        rows = {stream: sum(parts, rows[stream]) for stream, parts in handed.items()}
    return rows


class Handed(NamedTuple):
    """What every stream gathered: of itself, and by (queries, keys) of another (B, Nq, Nk), as far as that is asked for and not 0."""

    own: Mapping[str, Propagated | Formed]
    other: Mapping[tuple[str, str], Array]


Pair = tuple[str, str]
"""Two streams: queries, keys."""


def _needed(order: Sequence[Sequence[Site]], asked: Iterable[Pair]) -> list[set[Pair]]:
    """What streams gathered of others is read after each step, if these are `asked` for in the end."""
    after, found = set(asked), []
    for step in reversed(order):
        found.append(set(after))
        after |= {(site.keys, site.queries) for site in step if site.queries != site.keys}
    return found[::-1]


def propagate(evidence: Evidence, asked: Iterable[Pair]) -> Handed:
    """Hand relevance on through every attention that the answer depends on (docs/methods.md, Baselines, `relevance-maps`); of what
    streams gather of others these pairs are `asked` for.

    Unless it is normalised, what an image gathers of itself is only ever multiplied by a thin matrix and read in few rows, so it is
    not formed; what it gathers of another stream is thin.
    """
    description = evidence.description

    def begin(stream: Stream) -> Propagated | Formed:
        length = evidence.real(stream.name).shape[1]
        if description.published.normalised:
            return Normalised(length)
        return Formed(length) if stream.parts == (TEXT,) else Propagated(length)

    own = {stream.name: begin(stream) for stream in description.streams}
    other: dict[Pair, Array] = {}
    order = list(steps(description.sites))
    for step, needed in zip(order, _needed(order, asked), strict=True):
        added: dict[Pair, Array] = {}
        outer: list[tuple[str, Array, Array]] = []
        for site in step:
            c, q, k = evidence[f"{site.name}/product"], site.queries, site.keys
            if q == k:
                own[q].add_product(c)
                added |= {pair: c @ x for pair, x in other.items() if pair[0] == q and pair in needed}
                continue
            if (q, k) in needed:
                added[q, k] = own[q].transposed(own[k].rows(c))
            if (k, q) in other:
                outer.append((q, c, other[k, q]))
        other |= {pair: other[pair] + x if pair in other else x for pair, x in added.items()}
        for q, left, right in outer:
            own[q].add_outer(left, right)
    return Handed(own, other)


def handed_to_words(evidence: Evidence) -> Array:
    """(B, T, P): what every text token gathered of every patch or box, R_ti of Chefer et al. 2021, or that block of a stream of both.

    The rows of all T tokens are propagated, in place of the one that the answer reads.
    """
    description = evidence.description
    text, image = description.stream_of(TEXT), description.stream_of(IMAGE)
    handed = propagate(evidence, [(text.name, image.name)])
    if text.name != image.name:
        found = handed.other[text.name, image.name]
    else:
        like = evidence[f"{description.sites[0].name}/product"]
        rows = namespace(like).eye(like.shape[1], dtype=like.dtype)[evidence.part(TEXT)]
        found = handed.own[text.name].read(namespace(like).broadcast_to(rows, (len(like), *rows.shape)))
    return found[:, :, evidence.content(IMAGE)]


def alike_to_words(evidence: Evidence) -> Array:
    """(B, T, P): the cosine of every text token's features with every patch's or box's, each of its last layer with features; 0 where it
    is negative, as in the graphs of the spectral methods."""
    description = evidence.description

    def unit(modality: str, inner: slice) -> Array:
        graph = graph_name(description, description.stream_of(modality).layers[-1], modality)
        return unit_rows(evidence[features_name(graph)][:, inner])

    cosines = unit(TEXT, evidence.part(TEXT)) @ unit(IMAGE, evidence.content(IMAGE)).swapaxes(1, 2)
    return namespace(cosines).maximum(cosines, 0)
