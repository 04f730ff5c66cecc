"""What `xai explain` is asked to do with an image and a question, whichever they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

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
    versus: str | int | None = None
    as_published: bool = False
    boxes: str | None = None
    """Box features of the images: a file, or a folder of files."""
    words: bool = False
    without_words: tuple[int, ...] = ()
    without_regions: tuple[Region, ...] = ()

    def __post_init__(self) -> None:
        for name, answer in (("the target", self.target), ("versus", self.versus)):
            if isinstance(answer, str) and not answer.strip():
                raise BadInput(f"{name} is empty: name an answer, or its id")
        if self.as_published and not (self.target is None and self.versus is None):
            raise BadInput("--as-published explains the model's own answer: leave out --target and --versus")
        if self.versus is not None:
            from xai.runtime.methods import find_methods
            from xai.runtime.target import check_contrast

            check_contrast(find_methods(self.methods))

    @property
    def leaves_out(self) -> bool:
        """Whether words or regions are to be left out."""
        return bool(self.without_words or self.without_regions)

    @property
    def graphs(self) -> tuple[str, ...]:
        """Those of a bundle that are sure to be run."""
        sure = ("encode_image", "embed_text")
        return sure if self.words or any(name.endswith("@all") for name in self.methods) else (*sure, "evidence")

    @property
    def passes(self) -> int:
        """How many passes of the evidence graph there are, at most."""
        return 1 if self.versus is None and not self.as_published else 2

    def of_pair(self, target: str | int | None, versus: str | int | None) -> Asked:
        """The same for a pair that may name its own answers."""
        return replace(self, target=self.target if target is None else target, versus=self.versus if versus is None else versus)

    def check(self, explainer: Explainer, question: str) -> EncodedQuestion:
        """The question, encoded. Raises the `XaiError` that explaining would, as far as the image does not matter."""
        if self.boxes is not None:
            from xai.runtime.inputs.prepare import check_takes_boxes

            check_takes_boxes(explainer.session.description)
        return explainer.check(question, self.target, self.truncate, self.versus, self.methods)

    def prepare(self, explainer: Explainer, image: str | Path | BinaryIO, own: Path | None = None) -> PreparedImage:
        """An image, with the box features of its own, or those of all."""
        return explainer.prepare(image, self.boxes if own is None else own)

    def explain(self, explainer: Explainer, image: PreparedImage, question: EncodedQuestion) -> list[Explanation]:
        """One image and question, by every method; without the words and regions that are to be left out."""
        if not self.leaves_out:
            return self.explain_batch(explainer, [(image, question)], self.seed)[0]
        words, patches = words_mask(self.without_words, question), patches_mask(self.without_regions, image)
        return self.explain_batch(explainer, [(image, question)], self.seed, without_words=words, without_patches=patches)[0]

    def explain_batch(
        self, explainer: Explainer, pairs: Sequence[tuple[PreparedImage, str | EncodedQuestion]], seed: int, **without: Any
    ) -> list[list[Explanation]]:
        """Several pairs at once that have their answers in common; `seed` + i feeds the method `random` for pair i."""
        return explainer.explain_batch(
            pairs,
            self.methods,
            self.target,
            self.versus,
            as_published=self.as_published,
            top_k=self.top_k,
            truncate=self.truncate,
            seed=seed,
            word_regions=self.words,
            **without,
        )


def method_names(asked: Sequence[str], layers: str) -> list[str]:
    """Names of methods, and `all`, each once; `layers` "all" is another way to write `NAME@all`. Raises `BadInput` on an unknown name."""
    from xai.runtime.methods import ALL, DEFAULT_METHOD, METHODS, find_method

    names = [name if name in ALL else find_method(name).name for name in asked or [DEFAULT_METHOD]]
    if layers == "all":
        names = [f"{name}@all" if f"{name}@all" in (*ALL, *METHODS) else name for name in names]
    return list(dict.fromkeys(names))
