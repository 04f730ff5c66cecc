"""Evidence -> relevance of every text token and every image patch or box: the spectral methods and the baselines (docs/methods.md,
Methods and Baselines).

Every method is one pure function Evidence -> Relevance of a whole batch that loops over the sites and streams of the model's description.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from xai.runtime.description import IMAGE, TEXT, Site, Stream
from xai.runtime.evidence import Evidence, crossing, fiedler_name, graph_name, reading, self_sites
from xai.runtime.needs import weighted_layers
from xai.runtime.propagation import propagate, read_jointly, times
from xai.spectral.arrays import Array, namespace


class Relevance(NamedTuple):
    """`text` (T,), special tokens included, and `image` (P,): patches row by row, without a class token, or boxes.

    Methods give those of a batch, (B, T) and (B, P), what lies behind a question's own to be left out (`one`).
    """

    text: Array
    image: Array

    def one(self, b: int, tokens: int, patches: int) -> Relevance:
        """That of question b of a batch, which has so many."""
        return Relevance(self.text[b, :tokens], self.image[b, :patches])


def start(evidence: Evidence, stream: Stream, like: Array) -> Array:
    """The weights (B, tokens) with which the answer reads a stream's tokens: of one of them, of all alike, or of none."""
    real = evidence.real(stream.name)
    weights = np.zeros(real.shape, like.dtype)
    if stream.read == "mean":
        weights[:] = real / real.sum(1, keepdims=True)
    elif stream.read:
        weights[np.arange(len(real)), evidence.read_rows(stream)] = 1
    return namespace(like).asarray(weights)


def finish(evidence: Evidence, rows: Mapping[str, Array]) -> Relevance:
    """Rows (B, tokens of the modality, special ones included) -> relevance: what stands before the text is set to 0, what stands
    around the image is left out."""
    text, image = rows[TEXT], rows[IMAGE]
    xp = namespace(text)
    before, (first, behind) = evidence.description.special[TEXT].before, evidence.description.special[IMAGE]
    kept = xp.concatenate([xp.zeros_like(text[:, :before]), text[:, before:]], axis=1)
    return Relevance(kept, image[:, first : image.shape[1] - behind])


def finish_content(evidence: Evidence, text: Array, image: Array) -> Relevance:
    """Relevance (B, nodes) of words and patches alone: special tokens of the text get 0."""
    xp = namespace(text)
    before, behind = evidence.description.special[TEXT]
    tokens = evidence.tokens(TEXT)[:, None]
    if (tokens < evidence.masks[TEXT].shape[1]).any():  # there a shorter question's last special tokens stand
        text = xp.where(xp.asarray(np.arange(text.shape[1]) < tokens - before - behind), text, text.dtype.type(0))
    rows = xp.zeros(evidence.masks[TEXT].shape, text.dtype)
    rows[:, before : rows.shape[1] - behind] = text
    return Relevance(rows, image)


def dsmi(evidence: Evidence) -> Relevance:
    """|v| of the last layer's features, per modality (reference name `dsm`)."""
    description = evidence.description
    text, image = (evidence[fiedler_name(graph_name(description, description.stream_of(m).layers[-1], m))] for m in (TEXT, IMAGE))
    return finish_content(evidence, text, image)


def weighted_fiedler(kind: str, layers: str) -> Callable[[Evidence], Relevance]:
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
                matrix = evidence[f"{layer}/self/{kind}"][:, inner, inner]
                found[modality] = found[modality] + (matrix @ vector[:, :, None])[:, :, 0]
        return finish_content(evidence, found[TEXT], found[IMAGE])

    return relevance


def raw_attention(evidence: Evidence) -> Relevance:
    """What the answer reads of the last self-attention, head mean, or of the last attention to a stream that it does not read
    (`raw_attn`)."""

    def row(modality: str) -> Array:
        site = reading(evidence.description, modality)
        return _read(evidence, site, evidence[f"{site.name}/attention"])[:, evidence.part(modality)]

    return finish(evidence, {modality: row(modality) for modality in (TEXT, IMAGE)})


def _read(evidence: Evidence, site: Site, matrix: Array) -> Array:
    """The rows (B, keys) of a site's matrix that the answer reads, or the mean of all."""
    stream = evidence.description.stream(site.queries)
    if stream.read == "mean":
        return times(start(evidence, stream, matrix), matrix)
    if stream.read == "last":
        rows = namespace(matrix).asarray(evidence.read_rows(stream))
        return matrix[namespace(matrix).arange(len(matrix)), rows]
    return matrix[:, 0]


def grad_cam(evidence: Evidence) -> Relevance:
    """Row 0 of relu(mean_h(A * mean_qk(G))) of the last attention from the first stream to each modality (`attn_gradcam`)."""

    def row(modality: str) -> Array:
        site = crossing(evidence.description, evidence.description.stream_of(modality))
        return evidence[f"{site.name}/grad-cam"][:, evidence.part(modality)]

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
            row = times(row, attention) + row
        return row

    def row(modality: str) -> Array:
        stream = description.stream_of(modality)
        layers = matrices(stream)
        if stream.read:
            return chain(start(evidence, stream, layers[0]), layers)[:, evidence.part(modality)]
        site, first = crossing(description, stream), description.streams[0]
        between = evidence[f"{site.name}/attention"]
        column = start(evidence, first, between)
        for attention in matrices(first, before=site):
            column = ((attention @ column[:, :, None])[:, :, 0] + column) / (attention.sum(-1) + 1)
        return chain(times(column, between), layers)[:, evidence.part(modality)]

    return finish(evidence, {modality: row(modality) for modality in (TEXT, IMAGE)})


def joint(kind: str) -> Callable[[Evidence], Relevance]:
    """What the answer reads, of every stream that it reads, of one matrix over all streams: `rollout` of attention, R += C R of C."""

    def relevance(evidence: Evidence) -> Relevance:
        description = evidence.description
        like = evidence[f"{description.sites[0].name}/{kind}"]
        first = {stream.name: start(evidence, stream, like) for stream in description.streams}
        rows = read_jointly(description, first, lambda site: evidence[f"{site.name}/{kind}"], normalised=kind == "attention")
        if kind == "product":
            rows = {name: row - first[name] for name, row in rows.items()}
        return finish(evidence, {m: rows[description.stream_of(m).name][:, evidence.part(m)] for m in (TEXT, IMAGE)})

    return relevance


def attribution(kind: str) -> Callable[[Evidence], Relevance]:
    """R = I; R += C R over a stream's layers, C the evidence of that kind; of a stream that the answer does not read, C of the last
    attention to it."""

    def relevance(evidence: Evidence) -> Relevance:
        description = evidence.description

        def row(modality: str) -> Array:
            stream = description.stream_of(modality)
            if not stream.read:
                site = crossing(description, stream)
                return _read(evidence, site, evidence[f"{site.name}/{kind}"])[:, evidence.part(modality)]
            products = [evidence[f"{site.name}/{kind}"] for site in self_sites(description, stream)]
            first = found = start(evidence, stream, products[0])
            for product in reversed(products):
                found = found + times(found, product)
            return (found - first)[:, evidence.part(modality)]

        return finish(evidence, {modality: row(modality) for modality in (TEXT, IMAGE)})

    return relevance


def partial_lrp(evidence: Evidence) -> Relevance:
    """What the answer reads of the last attention's relevance, head mean, after the whole matrix was scaled to [0, 1] (`partial_lrp`)."""

    def row(modality: str) -> Array:
        site = reading(evidence.description, modality)
        matrix = evidence[f"{site.name}/lrp"]
        if not matrix.shape[2]:  # without a box, nothing is attended to
            return matrix[:, 0, evidence.part(modality)]
        xp = namespace(matrix)
        real = xp.asarray(evidence.real(site.queries)[:, :, None] & evidence.real(site.keys)[:, None])
        low = xp.where(real, matrix, np.inf).min((1, 2), keepdims=True)
        spread = xp.where(real, matrix, -np.inf).max((1, 2), keepdims=True) - low
        scaled = xp.where(real & (spread > 0), (matrix - low) / xp.where(spread > 0, spread, 1), matrix.dtype.type(0))
        return _read(evidence, site, scaled.astype(matrix.dtype, copy=False))[:, evidence.part(modality)]

    return finish(evidence, {modality: row(modality) for modality in (TEXT, IMAGE)})


def relevance_maps(evidence: Evidence) -> Relevance:
    """Relevance propagated within and between the streams (`rm`; docs/methods.md, Baselines)."""
    description = evidence.description
    own, other = propagate(evidence, [(description.streams[0].name, stream.name) for stream in description.streams if not stream.read])
    like = evidence[f"{description.sites[0].name}/product"]

    def row(modality: str) -> Array:
        stream, first = description.stream_of(modality), description.streams[0]
        read = stream if stream.read else first
        weights = start(evidence, read, like)
        found = own[stream.name].read(weights[:, None])[:, 0] if stream.read else times(weights, other[first.name, stream.name])
        return found[:, evidence.part(modality)]

    return finish(evidence, {modality: row(modality) for modality in (TEXT, IMAGE)})


def random(evidence: Evidence) -> Relevance:
    """Uniform noise in [0, 1): the floor under every table. Depends on a question's seed and its two lengths only."""
    before, behind = evidence.description.special[TEXT]
    around = sum(evidence.description.special[IMAGE])
    text, image = (
        np.zeros((len(evidence.seeds), count)) for count in (evidence.masks[TEXT].shape[1], evidence.masks[IMAGE].shape[1] - around)
    )
    for b, (seed, tokens, patches) in enumerate(zip(evidence.seeds, evidence.tokens(TEXT), evidence.tokens(IMAGE) - around, strict=True)):
        rng = np.random.default_rng(seed)  # on the host: CuPy's numbers are others
        text[b, :tokens] = rng.random(tokens)
        text[b, :before] = text[b, tokens - behind : tokens] = 0
        image[b, :patches] = rng.random(patches)
    return Relevance(text, image)
