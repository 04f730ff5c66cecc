"""Evidence -> relevance of every text token and every image patch: the spectral methods and the baselines of spec.md.

Every method is one pure function (evidence, options) -> Relevance. To add one, write the function, say which evidence it
needs, and give it a row in `METHODS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from xai.base.errors import XaiError
from xai.runtime.evidence import Evidence
from xai.spectral.arrays import Array, namespace

LAYERS = ("first", "all")


class Relevance(NamedTuple):
    """`text` (T,), special tokens included, and `image` (P,), row-major, without the class token."""

    text: Array
    image: Array


class Options(NamedTuple):
    """`layers`: "first" is the published behaviour of the weighted spectral methods, "all" the described one.
    `seed` feeds `random` and nothing else."""

    layers: str = "first"
    seed: int = 0


class Depth(NamedTuple):
    """Number of text-encoder layers and of cross-modal layer pairs."""

    encoder: int
    cross: int


def without_first(x: Array) -> Array:
    """`x` (T,) with entry 0 set to 0."""
    xp = namespace(x)
    return xp.concatenate([xp.zeros_like(x[:1]), x[1:]])


def _pad_special(content: Array) -> Array:
    """(T - 2,) -> (T,), with 0 for the first and last token."""
    xp = namespace(content)
    zero = xp.zeros_like(content, shape=(1,))
    return xp.concatenate([zero, content, zero])


def _weighted_layers(options: Options, depth: int) -> Iterable[int]:
    return range(1) if options.layers == "first" else range(depth)


def dsmi(evidence: Evidence, options: Options) -> Relevance:
    """|v| of the last layer's features, per stream (reference name `dsm`)."""
    last = evidence.layers - 1
    return Relevance(_pad_special(evidence[f"text{last}/fiedler"]), evidence[f"image{last}/fiedler"])


def _weighted_fiedler(evidence: Evidence, options: Options, kind: str) -> Relevance:
    """Sum over layers of | M |v| |, M the evidence of that kind without the special tokens' rows and columns."""
    text = image = 0
    for layer in _weighted_layers(options, evidence.layers):
        text = text + abs(evidence[f"text{layer}/self/{kind}"][1:-1, 1:-1] @ evidence[f"text{layer}/fiedler"])
        image = image + abs(evidence[f"image{layer}/self/{kind}"][1:, 1:] @ evidence[f"image{layer}/fiedler"])
    return Relevance(_pad_special(text), image)


def dsmi_grad(evidence: Evidence, options: Options) -> Relevance:
    """Sum over layers of | mean_h relu(G) |v| | (`dsm_grad`)."""
    return _weighted_fiedler(evidence, options, "gradient")


def dsmi_grad_attn(evidence: Evidence, options: Options) -> Relevance:
    """Sum over layers of | C |v| | (`dsm_grad_cam`)."""
    return _weighted_fiedler(evidence, options, "product")


def raw_attention(evidence: Evidence, options: Options) -> Relevance:
    """Row 0 of the last layer's self-attention, head mean (`raw_attn`)."""
    last = evidence.layers - 1
    text, image = (evidence[f"{stream}{last}/self/attention"][0] for stream in ("text", "image"))
    return Relevance(without_first(text), image[1:])


def grad_cam(evidence: Evidence, options: Options) -> Relevance:
    """Row 0 of relu(mean_h(A * mean_qk(G))) of the last text layer: self for text, cross for image (`attn_gradcam`)."""
    last = evidence.layers - 1
    text, image = (evidence[f"text{last}/{site}/grad-cam"] for site in ("self", "cross"))
    return Relevance(without_first(text), image[1:])


def _first_row(matrices: list[Array], advance: Callable[[Array, Array], Array]) -> Array:
    """Row 0 of a product with later layers on the left: a chain of vector products, no N x N product."""
    xp = namespace(matrices[0])
    row = xp.zeros_like(matrices[0][0])
    row[0] = 1
    for matrix in reversed(matrices):
        row = advance(row, matrix)
    return row


def rollout(evidence: Evidence, options: Options) -> Relevance:
    """Product over layers of rownorm(mean_h A + I); text starts in the text encoder."""

    def advance(row: Array, attention: Array) -> Array:
        row = row / (attention.sum(-1) + 1)  # rows of A + I sum to this
        return row @ attention + row

    def attention(stream: str, count: int) -> list[Array]:
        return [evidence[f"{stream}{i}/self/attention"] for i in range(count)]

    text = _first_row(attention("encoder", evidence.encoder_layers) + attention("text", evidence.layers), advance)
    return Relevance(without_first(text), _first_row(attention("image", evidence.layers), advance)[1:])


def transformer_attribution(evidence: Evidence, options: Options) -> Relevance:
    """R = I; R += C R over layers; text starts in the text encoder (`transformer_attr`)."""

    def advance(row: Array, product: Array) -> Array:
        return row + row @ product

    def products(stream: str, count: int) -> list[Array]:
        return [evidence[f"{stream}{i}/self/product"] for i in range(count)]

    text = _first_row(products("encoder", evidence.encoder_layers) + products("text", evidence.layers), advance)
    return Relevance(without_first(text), _first_row(products("image", evidence.layers), advance)[1:])


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


def relevance_maps(evidence: Evidence, options: Options) -> Relevance:
    """Relevance propagated within and between the streams (`rm`; the recurrence of spec.md, Baselines).

    R_tt and R_ii are only ever multiplied by a thin matrix and read in row 0, so neither is formed; R_ti and R_it are thin.
    """
    tokens, patches = evidence["text0/cross/product"].shape
    xp = namespace(evidence["text0/cross/product"])
    dtype = evidence["text0/cross/product"].dtype
    r_tt, r_ii = _Propagated(), _Propagated()
    r_ti, r_it = xp.zeros((tokens, patches), dtype), xp.zeros((patches, tokens), dtype)
    for i in range(evidence.encoder_layers):
        r_tt.add_product(evidence[f"encoder{i}/self/product"])  # R_ti is still 0
    identity = xp.eye(tokens, dtype=dtype)
    for i in range(evidence.layers):
        image_self, image_cross = evidence[f"image{i}/self/product"], evidence[f"image{i}/cross/product"]
        r_ii.add_product(image_self)
        r_it = r_it + image_self @ r_it

        r_it = r_it + r_ii.transposed(image_cross @ r_tt.rows(identity))
        r_ii.add_outer(image_cross, r_ti)

        text_self, text_cross = evidence[f"text{i}/self/product"], evidence[f"text{i}/cross/product"]
        r_tt.add_product(text_self)
        r_ti = r_ti + text_self @ r_ti

        r_ti = r_ti + r_tt.transposed(r_ii.rows(text_cross))
        r_tt.add_outer(text_cross, r_it)
    first_token, first_patch = identity[:1], xp.zeros((1, patches), dtype)
    first_patch[0, 0] = 1
    return Relevance(without_first(r_tt.rows(first_token)[0]), r_ii.rows(first_patch)[0, 1:])


def random(evidence: Evidence, options: Options) -> Relevance:
    """Uniform noise in [0, 1): the floor under every table. Depends on the seed and the two lengths only."""
    tokens, patches = evidence["text0/cross/product"].shape
    xp = namespace(evidence["text0/cross/product"])
    rng = np.random.default_rng(options.seed)  # on the host: CuPy's numbers are others
    text, image = rng.random(tokens), rng.random(patches - 1)
    text[[0, -1]] = 0
    return Relevance(xp.asarray(text), xp.asarray(image))


Needs = Callable[[Depth, Options], list[str]]


def _need_fiedler(depth: Depth, options: Options) -> list[str]:
    return [f"{stream}{depth.cross - 1}/fiedler" for stream in ("text", "image")]


def _need_weighted(kind: str) -> Needs:
    def needs(depth: Depth, options: Options) -> list[str]:
        layers = _weighted_layers(options, depth.cross)
        return [f"{stream}{i}/{part}" for i in layers for stream in ("text", "image") for part in ("fiedler", f"self/{kind}")]

    return needs


def _need_last_attention(depth: Depth, options: Options) -> list[str]:
    return [f"{stream}{depth.cross - 1}/self/attention" for stream in ("text", "image")]


def _need_grad_cam(depth: Depth, options: Options) -> list[str]:
    return [f"text{depth.cross - 1}/{site}/grad-cam" for site in ("self", "cross")]


def _need_every(kind: str, *, cross: bool = False) -> Needs:
    def needs(depth: Depth, options: Options) -> list[str]:
        names = [f"encoder{i}/self/{kind}" for i in range(depth.encoder)]
        sites = ("self", "cross") if cross else ("self",)
        return names + [f"{stream}{i}/{site}/{kind}" for i in range(depth.cross) for stream in ("text", "image") for site in sites]

    return needs


def _need_shape(depth: Depth, options: Options) -> list[str]:
    return ["text0/cross/product"]


@dataclass(frozen=True)
class Method:
    """A way to turn evidence into relevance; `needs` names the evidence it reads, and no more leaves the graph."""

    name: str
    reference_name: str
    relevance: Callable[[Evidence, Options], Relevance]
    needs: Needs
    layered: bool = False
    """Whether `Options.layers` changes the result."""


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("dsmi", "dsm", dsmi, _need_fiedler),
        Method("dsmi-grad", "dsm_grad", dsmi_grad, _need_weighted("gradient"), layered=True),
        Method("dsmi-grad-attn", "dsm_grad_cam", dsmi_grad_attn, _need_weighted("product"), layered=True),
        Method("relevance-maps", "rm", relevance_maps, _need_every("product", cross=True)),
        Method("transformer-attribution", "transformer_attr", transformer_attribution, _need_every("product")),
        Method("raw-attention", "raw_attn", raw_attention, _need_last_attention),
        Method("grad-cam", "attn_gradcam", grad_cam, _need_grad_cam),
        Method("rollout", "rollout", rollout, _need_every("attention")),
        Method("random", "random", random, _need_shape),
    )
}


def find_method(name: str) -> Method:
    """The method of that name, or of that name in the reference code. Raises `XaiError` with the valid names."""
    for method in METHODS.values():
        if name in (method.name, method.reference_name):
            return method
    raise XaiError(f"unknown method {name!r}: choose from {', '.join(METHODS)}")


def method_names(asked: Sequence[str]) -> list[str]:
    """The methods asked for, each once, `dsmi-grad` where none is; `all` stands for every one. Raises `XaiError` as `find_method`."""
    found = [find_method(name).name for name in asked or ("dsmi-grad",) if name != "all"]
    return list(METHODS) if "all" in asked else list(dict.fromkeys(found))
