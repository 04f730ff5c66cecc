"""Evidence -> relevance of every text token and image patch (docs/methods.md, Spectral methods; docs/methods.md, Baselines).

Every method is one pure function Evidence -> Relevance. To add one, write the function, say which evidence it needs, and give it a
row in `METHODS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from xai.base.errors import BadInput
from xai.runtime.evidence import ENCODER, IMAGE, STREAMS, TEXT, Depth, Evidence, entry, fiedler_name, graph_name
from xai.spectral.arrays import Array, namespace

FIRST, EVERY = "first", "all"
"""The cross-modal layers that a weighted spectral method sums over: the published code's choice, and what its paper describes."""


class Relevance(NamedTuple):
    """`text` (T,), special tokens included, and `image` (P,), row-major, without the class token."""

    text: Array
    image: Array


def without_first(x: Array) -> Array:
    """`x` (T,) with entry 0 set to 0."""
    xp = namespace(x)
    return xp.concatenate([xp.zeros_like(x[:1]), x[1:]])


def _pad_special(content: Array) -> Array:
    """(T - 2,) -> (T,), with 0 for the first and last token."""
    xp = namespace(content)
    zero = xp.zeros_like(content, shape=(1,))
    return xp.concatenate([zero, content, zero])


def _fiedler(evidence: Evidence, stream: str, layer: int) -> Array:
    return evidence[fiedler_name(graph_name(stream, layer))]


def dsmi(evidence: Evidence) -> Relevance:
    """|v| of the last layer's features, per stream (reference name `dsm`)."""
    text, image = (_fiedler(evidence, stream, evidence.depth.last) for stream in STREAMS)
    return Relevance(_pad_special(text), image)


def _summed(depth: Depth, layers: str) -> Iterable[int]:
    """The cross-modal layers that a weighted spectral method sums over."""
    return range(depth.cross if layers == EVERY else 1)


def _weighted_fiedler(kind: str, layers: str) -> Callable[[Evidence], Relevance]:
    """Sum over layers of | M |v| |, M the evidence of that kind without the special tokens' rows and columns."""

    def relevance(evidence: Evidence) -> Relevance:
        text = image = 0
        for layer in _summed(evidence.depth, layers):
            text = text + abs(evidence[entry(TEXT, layer, "self", kind)][1:-1, 1:-1] @ _fiedler(evidence, TEXT, layer))
            image = image + abs(evidence[entry(IMAGE, layer, "self", kind)][1:, 1:] @ _fiedler(evidence, IMAGE, layer))
        return Relevance(_pad_special(text), image)

    return relevance


def raw_attention(evidence: Evidence) -> Relevance:
    """Row 0 of the last layer's self-attention, head mean (`raw_attn`)."""
    text, image = (evidence[entry(stream, evidence.depth.last, "self", "attention")][0] for stream in STREAMS)
    return Relevance(without_first(text), image[1:])


def grad_cam(evidence: Evidence) -> Relevance:
    """Row 0 of relu(mean_h(A * mean_qk(G))) of the last text layer: self for text, cross for image (`attn_gradcam`)."""
    text, image = (evidence[entry(TEXT, evidence.depth.last, site, "grad-cam")] for site in ("self", "cross"))
    return Relevance(without_first(text), image[1:])


def _first_row(matrices: list[Array], advance: Callable[[Array, Array], Array]) -> Array:
    """Row 0 of a product with later layers on the left: a chain of vector products, no N x N product."""
    xp = namespace(matrices[0])
    row = xp.zeros_like(matrices[0][0])
    row[0] = 1
    for matrix in reversed(matrices):
        row = advance(row, matrix)
    return row


def _chains(evidence: Evidence, kind: str, advance: Callable[[Array, Array], Array]) -> Relevance:
    """Row 0 of each stream's product of self-attentions; text starts in the text encoder."""

    def matrices(stream: str, count: int) -> list[Array]:
        return [evidence[entry(stream, i, "self", kind)] for i in range(count)]

    encoder, cross = evidence.depth
    text = _first_row(matrices(ENCODER, encoder) + matrices(TEXT, cross), advance)
    return Relevance(without_first(text), _first_row(matrices(IMAGE, cross), advance)[1:])


def rollout(evidence: Evidence) -> Relevance:
    """Product over layers of rownorm(mean_h A + I); text starts in the text encoder."""

    def advance(row: Array, attention: Array) -> Array:
        row = row / (attention.sum(-1) + 1)  # rows of A + I sum to this
        return row @ attention + row

    return _chains(evidence, "attention", advance)


def transformer_attribution(evidence: Evidence) -> Relevance:
    """R = I; R += C R over layers; text starts in the text encoder (`transformer_attr`)."""

    def advance(row: Array, product: Array) -> Array:
        return row + row @ product

    return _chains(evidence, "product", advance)


_SHAPED = entry(TEXT, 0, "cross", "product")
"""Evidence (T, N) of every model, which tells how many tokens there are."""


class _Propagated:
    """A relevance R = I after updates R += C R and R += U V, held as that list of updates instead of as a matrix."""

    def __init__(self) -> None:
        self.updates: list[tuple[Array, Array | None]] = []

    def add_product(self, c: Array) -> None:
        """R += C R."""
        self.updates.append((c, None))

    def add_outer(self, u: Array, v: Array) -> None:
        """R += U V, U (N, k) and V (k, N)."""
        self.updates.append((u, v))

    def rows(self, x: Array) -> Array:
        """X R for X (k, N)."""
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


def relevance_maps(evidence: Evidence) -> Relevance:
    """Relevance propagated within and between the streams (`rm`; the recurrence of docs/methods.md, Baselines).

    R_tt and R_ii are only ever multiplied by a thin matrix and read in row 0, so neither is formed; R_ti and R_it are thin.
    """
    tokens, patches = evidence[_SHAPED].shape
    xp, dtype = namespace(evidence[_SHAPED]), evidence[_SHAPED].dtype
    r_tt, r_ii = _Propagated(), _Propagated()
    r_ti, r_it = xp.zeros((tokens, patches), dtype), xp.zeros((patches, tokens), dtype)
    for i in range(evidence.depth.encoder):
        r_tt.add_product(evidence[entry(ENCODER, i, "self", "product")])  # R_ti is still 0
    identity = xp.eye(tokens, dtype=dtype)
    for i in range(evidence.depth.cross):
        image_self, image_cross = (evidence[entry(IMAGE, i, site, "product")] for site in ("self", "cross"))
        r_ii.add_product(image_self)
        r_it = r_it + image_self @ r_it

        r_it = r_it + r_ii.transposed(image_cross @ r_tt.rows(identity))
        r_ii.add_outer(image_cross, r_ti)

        text_self, text_cross = (evidence[entry(TEXT, i, site, "product")] for site in ("self", "cross"))
        r_tt.add_product(text_self)
        r_ti = r_ti + text_self @ r_ti

        r_ti = r_ti + r_tt.transposed(r_ii.rows(text_cross))
        r_tt.add_outer(text_cross, r_it)
    first_token, first_patch = identity[:1], xp.zeros((1, patches), dtype)
    first_patch[0, 0] = 1
    return Relevance(without_first(r_tt.rows(first_token)[0]), r_ii.rows(first_patch)[0, 1:])


def random(evidence: Evidence) -> Relevance:
    """Uniform noise in [0, 1): the floor under every table. Depends on the seed and the two lengths only."""
    tokens, patches = evidence[_SHAPED].shape
    xp = namespace(evidence[_SHAPED])
    rng = np.random.default_rng(evidence.seed)  # on the host: CuPy's numbers are others
    text, image = rng.random(tokens), rng.random(patches - 1)
    text[[0, -1]] = 0
    return Relevance(xp.asarray(text), xp.asarray(image))


Needs = Callable[[Depth], list[str]]


def _need_fiedler(depth: Depth) -> list[str]:
    return [fiedler_name(graph_name(stream, depth.last)) for stream in STREAMS]


def _need_weighted(kind: str, layers: str) -> Needs:
    def needs(depth: Depth) -> list[str]:
        at = [(stream, i) for i in _summed(depth, layers) for stream in STREAMS]
        return [name for stream, i in at for name in (fiedler_name(graph_name(stream, i)), entry(stream, i, "self", kind))]

    return needs


def _need_last_attention(depth: Depth) -> list[str]:
    return [entry(stream, depth.last, "self", "attention") for stream in STREAMS]


def _need_grad_cam(depth: Depth) -> list[str]:
    return [entry(TEXT, depth.last, site, "grad-cam") for site in ("self", "cross")]


def _need_every(kind: str, *, cross: bool = False) -> Needs:
    def needs(depth: Depth) -> list[str]:
        sites = ("self", "cross") if cross else ("self",)
        names = [entry(ENCODER, i, "self", kind) for i in range(depth.encoder)]
        return names + [entry(stream, i, site, kind) for i in range(depth.cross) for stream in STREAMS for site in sites]

    return needs


def _need_shape(depth: Depth) -> list[str]:
    del depth  # every model has a first pair of layers
    return [_SHAPED]


@dataclass(frozen=True)
class Method:
    """A way to turn evidence into relevance; `needs` names the evidence it reads, and no more leaves the graph."""

    name: str
    reference_name: str
    relevance: Callable[[Evidence], Relevance]
    needs: Needs
    layers: str | None = None
    """`FIRST` or `EVERY` of a method that has one row for either; None of the others."""

    @property
    def base(self) -> str:
        """The name without the choice of layers, for whoever gives `layers` beside it."""
        return self.name.partition("@")[0]


def _weighted(name: str, reference_name: str, kind: str, layers: str) -> Method:
    suffix = "@all" if layers == EVERY else ""
    return Method(name + suffix, reference_name + suffix, _weighted_fiedler(kind, layers), _need_weighted(kind, layers), layers)


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("dsmi", "dsm", dsmi, _need_fiedler),
        _weighted("dsmi-grad", "dsm_grad", "gradient", FIRST),
        _weighted("dsmi-grad-attn", "dsm_grad_cam", "product", FIRST),
        Method("relevance-maps", "rm", relevance_maps, _need_every("product", cross=True)),
        Method("transformer-attribution", "transformer_attr", transformer_attribution, _need_every("product")),
        Method("raw-attention", "raw_attn", raw_attention, _need_last_attention),
        Method("grad-cam", "attn_gradcam", grad_cam, _need_grad_cam),
        Method("rollout", "rollout", rollout, _need_every("attention")),
        Method("random", "random", random, _need_shape),
        _weighted("dsmi-grad", "dsm_grad", "gradient", EVERY),
        _weighted("dsmi-grad-attn", "dsm_grad_cam", "product", EVERY),
    )
}
"""Every method by name."""

AS_PUBLISHED = tuple(name for name, method in METHODS.items() if method.layers != EVERY)
"""What `all` stands for: the methods as they were published, and the floor `random`."""

DEFAULT_METHOD = "dsmi-grad"


def find_method(name: str) -> Method:
    """The method of that name, or of that name in the reference code. Raises `BadInput` with the valid names."""
    for method in METHODS.values():
        if name in (method.name, method.reference_name):
            return method
    raise BadInput(f"unknown method {name!r}: choose from {', '.join(METHODS)}")


def find_methods(asked: str | Iterable[str]) -> tuple[Method, ...]:
    """The methods asked for, by one name or several, each once; `all` stands for `AS_PUBLISHED`.

    Raises `BadInput` on an unknown name, with the valid ones, and on none.
    """
    if not isinstance(asked, Iterable):
        raise BadInput(f"methods is {asked!r}: name one, or several in a list")
    names = [asked] if isinstance(asked, str) else list(asked)
    if not names:
        raise BadInput("no method is named: name some, or all")
    wanted = [name for given in names for name in (AS_PUBLISHED if given == "all" else (given,))]
    return tuple({method.name: method for method in map(find_method, wanted)}.values())
