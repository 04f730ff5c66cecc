"""What `xai explain` is asked to do with an image and a question, whichever they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xai.base.errors import BadInput
from xai.commands.explain.leaving import Region, patches_mask, words_mask

if TYPE_CHECKING:
    from xai.runtime.explainer import Explainer
    from xai.runtime.explanation import Explanation
    from xai.runtime.inputs.prepare import PreparedImage
    from xai.runtime.inputs.question import EncodedQuestion


@dataclass(frozen=True)
class Asked:
    """The options of an explanation, as `Explainer.explain_batch` takes them."""

    methods: list[str]
    target: str | int | None
    top_k: int
    truncate: bool
    seed: int
    words: bool = False
    without_words: tuple[int, ...] = ()
    without_regions: tuple[Region, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.target, str) and not self.target.strip():
            raise BadInput("the target is empty: name an answer, or its id")

    @property
    def leaves_out(self) -> bool:
        """Whether words or regions are to be left out."""
        return bool(self.without_words or self.without_regions)

    def target_of(self, own: str | int | None) -> str | int | None:
        """The target of a pair that may name its own."""
        return self.target if own is None else own

    def explain(self, explainer: Explainer, image: PreparedImage, question: EncodedQuestion) -> list[Explanation]:
        """One image and question, by every method; without the words and regions that are to be left out."""
        if not self.leaves_out:
            return self.explain_batch(explainer, [(image, question)], self.target, self.seed)[0]
        words, patches = words_mask(self.without_words, question), patches_mask(self.without_regions, image)
        return self.explain_batch(explainer, [(image, question)], self.target, self.seed, without_words=words, without_patches=patches)[0]

    def explain_batch(
        self,
        explainer: Explainer,
        pairs: Sequence[tuple[PreparedImage, str | EncodedQuestion]],
        target: str | int | None,
        seed: int,
        **without: Any,
    ) -> list[list[Explanation]]:
        """Several pairs at once that have their target in common; `seed` + i feeds the method `random` for pair i."""
        return explainer.explain_batch(
            pairs, self.methods, target, top_k=self.top_k, truncate=self.truncate, seed=seed, word_regions=self.words, **without
        )


def method_names(asked: Sequence[str], layers: str) -> list[str]:
    """Rows of `METHODS`, each once; `layers` "all" is another way to write `NAME@all`. Raises `BadInput` on an unknown name."""
    from xai.runtime.methods import DEFAULT_METHOD, METHODS, find_methods

    names = [method.name for method in find_methods(asked or DEFAULT_METHOD)]
    if layers == "all":
        names = list(dict.fromkeys(f"{name}@all" if f"{name}@all" in METHODS else name for name in names))
    return names
