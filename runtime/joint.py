"""Relevance read of one matrix over the tokens of all streams (docs/methods.md, Joint forms), by row vectors alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import groupby

from xai.runtime.description import Description, Site
from xai.spectral.arrays import Array


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
