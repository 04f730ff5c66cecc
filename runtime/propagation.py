"""Relevance that attentions hand on within and between the streams of tokens (docs/methods.md, Baselines)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from xai.runtime.description import Description, Site
from xai.spectral.arrays import Array, namespace


class Propagated:
    """A relevance R = I after updates R += C R and R += U V, held as that list of updates instead of as a matrix."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.updates: list[tuple[Array, Array | None]] = []

    def add_product(self, c: Array) -> None:
        """R += C R."""
        self.updates.append((c, None))

    def add_outer(self, u: Array, v: Array) -> None:
        """R += U V, U (N, k) and V (k, N)."""
        self.updates.append((u, v))

    def rows(self, x: Array) -> Array:
        """X R for X (k, N)."""
        if len(x) > self.length:
            return x @ self.rows(namespace(x).eye(self.length, dtype=x.dtype))
        total = 0
        for left, right in reversed(self.updates):
            if right is None:
                x = x + x @ left
            else:
                total = total + (x @ left) @ right
        return x + total

    def transposed(self, x: Array) -> Array:
        """R^T X for X (N, k)."""
        return self.rows(x.T).T

    def read(self, x: Array) -> Array:
        """x (R - I) for x (N,)."""
        return self.rows(x[None])[0] - x


class Normalised:
    """The same relevance as a matrix, handed on as I + rownorm(R - I) (Chefer et al. 2021, eq. 8 and 9); a row of 0 stays one.

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

    def _scaled(self) -> Array:
        sums = self.difference.sum(-1, keepdims=True)
        return self.difference / namespace(sums).where(sums == 0, 1, sums)

    def rows(self, x: Array) -> Array:
        """X N for X (k, N)."""
        return x if self.difference is None else x + x @ self._scaled()

    def transposed(self, x: Array) -> Array:
        """N^T X for X (N, k)."""
        return x if self.difference is None else x + self._scaled().T @ x

    def read(self, x: Array) -> Array:
        """x (R - I) for x (N,), not normalised."""
        return namespace(x).zeros_like(x) if self.difference is None else x @ self.difference


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
    """Multiply a row over all streams by I + A of every step, the last one first; `normalised` divides A + I's rows by their sums.

    `start` (tokens,) and what is returned are the row's part in each stream; `matrix` gives a site's block (queries, keys) of A.
    No product of two matrices is formed, and no matrix over more than one pair of streams.
    """
    rows = dict(start)
    for sites in reversed(joint_steps(description)):
        blocks = [(site, matrix(site)) for site in sites]
        if normalised:
            for stream in rows:
                rows[stream] = rows[stream] / (1 + sum(block.sum(-1) for site, block in blocks if site.queries == stream))
        handed = {stream: [rows[site.queries] @ block for site, block in blocks if site.keys == stream] for stream in rows}
        rows = {stream: sum(parts, rows[stream]) for stream, parts in handed.items()}
    return rows
