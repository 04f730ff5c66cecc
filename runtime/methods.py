"""The table of explanation methods: a name, the function that it is, and which evidence it reads (docs/methods.md).

To add one, write the function in `xai.runtime.relevance`, say which evidence it needs, and give it a row in `METHODS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from xai.base.errors import BadInput
from xai.runtime.description import Description
from xai.runtime.evidence import Evidence
from xai.runtime.needs import (
    EVERY,
    FIRST,
    Needs,
    need_alike,
    need_chains,
    need_every,
    need_fiedler,
    need_grad_cam,
    need_nothing,
    need_reading,
    need_weighted,
    summed,
)
from xai.runtime.propagation import alike_to_words, handed_to_words
from xai.runtime.relevance import (
    Relevance,
    attribution,
    dsmi,
    grad_cam,
    joint,
    partial_lrp,
    random,
    raw_attention,
    relevance_maps,
    rollout,
    weighted_fiedler,
)
from xai.spectral.arrays import Array

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
    published: bool = True
    """Whether it is one of the methods that were published, or the floor `random`; else its reference name is its own."""
    between: Between = AFFINITY
    """What goes with a word of the picture, for who asks."""

    def __reduce__(self) -> tuple[Callable[[str], Method], tuple[str]]:
        """Be sent to another process by name: the functions are there as well."""
        return find_method, (self.name,)

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
    return Method(name + suffix, reference_name + suffix, weighted_fiedler(kind, layers), need_weighted(kind, layers), layers, "linear")


_HANDED = Between("relevance", handed_to_words, need_every("product"))

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("dsmi", "dsm", dsmi, need_fiedler, dependence="none"),
        _weighted("dsmi-grad", "dsm_grad", "gradient", FIRST),
        _weighted("dsmi-grad-attn", "dsm_grad_cam", "product", FIRST),
        Method("relevance-maps", "rm", relevance_maps, need_every("product"), between=_HANDED),
        Method("joint-relevance-maps", "joint-relevance-maps", joint("product"), need_every("product"), published=False),
        Method("transformer-attribution", "transformer_attr", attribution("product"), need_chains("product")),
        Method("transformer-attribution-lrp", "transformer_att", attribution("lrp-product"), need_chains("lrp-product"), lrp=True),
        Method("partial-lrp", "partial_lrp", partial_lrp, need_reading("lrp"), lrp=True),
        Method("raw-attention", "raw_attn", raw_attention, need_reading("attention"), dependence="none"),
        Method("grad-cam", "attn_gradcam", grad_cam, need_grad_cam, dependence="linear"),
        Method("rollout", "rollout", rollout, need_chains("attention"), dependence="none"),
        Method("joint-rollout", "joint-rollout", joint("attention"), need_every("attention"), dependence="none", published=False),
        Method("random", "random", random, need_nothing, dependence="none"),
        _weighted("dsmi-grad", "dsm_grad", "gradient", EVERY),
        _weighted("dsmi-grad-attn", "dsm_grad_cam", "product", EVERY),
    )
}
"""Every method by name."""

AS_PUBLISHED = tuple(name for name, m in METHODS.items() if m.published and m.layers != EVERY and not m.lrp)
"""The methods that were published and that every model offers, in their published form, and the floor `random`."""

ALL = ("all", "all@all")
"""Names that stand for every method that a model offers: with the published layers, or with all layers where they choose layers."""

DEFAULT_METHOD = "dsmi-grad"


def find_method(name: str) -> Method:
    """The method of that name, or of that name in the reference code. Raises `BadInput` with the valid names."""
    for method in METHODS.values():
        if name in (method.name, method.reference_name):
            return method
    raise BadInput(f"unknown method {name!r}: choose from {', '.join(METHODS)}")


def find_methods(asked: str | Iterable[str], description: Description | None = None) -> tuple[Method, ...]:
    """The methods asked for, by one name or several, each once; `all` stands for every method that a model offers, or, where no model is
    given, that every model does; `all@all` for the same with all layers.

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
            f"method {missing[0]} needs layer-wise relevance propagation, which this model does not give "
            "(LXMERT's folder does, or its bundle exported with --lrp): choose another method, such as transformer-attribution"
        )


def _find_all(name: str, description: Description | None) -> list[Method]:
    """The methods that one of `ALL` stands for."""
    every = [method for method in METHODS.values() if method.layers != EVERY]
    offered = [method for method in every if (method.offered(description) if description else not method.lrp)]
    return [METHODS.get(f"{method.name}@all", method) for method in offered] if name == "all@all" else offered
