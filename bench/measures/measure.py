"""What a measure is: which token subsets it needs of a question, and what it makes of the answers to them.

A measure is one file of this folder and one row in `bench.measures.table.MEASURES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xai.base.reading import Fields
from xai.bench.data.regions import Region
from xai.bench.data.sample import Sample
from xai.bench.perturb.plan import MODALITIES, Maps, Subset

DIGITS = 6
"""Digits behind the point of a probability, or of a share."""

Key = Mapping[str, str]
"""Says which line of a question it is: the fields that tell it from the others."""
Line = Mapping[str, Any]
"""A line of `results.jsonl`."""


@dataclass(frozen=True)
class Scope:
    """What a run is asked for: names of methods, and some of `MODALITIES` and `SIGNS`."""

    methods: tuple[str, ...]
    modalities: tuple[str, ...]
    signs: tuple[str, ...]


class WordMaps(NamedTuple):
    """What one method says goes with each word of the picture."""

    values: NDArray[np.floating]
    """(words, patches or boxes)."""
    kind: str
    """`relevance` of the method's own, or `affinity` of features (docs/methods.md, Words and regions)."""


@dataclass(frozen=True)
class QuestionMaps:
    """What measures may look at of one question before anything is left out; its tuples have one entry a method."""

    sample: Sample
    scope: Scope
    maps: Maps
    """Of the model's answer."""
    follows_answer: tuple[bool, ...]
    """Whether a method depends on which answer is explained."""
    open_graphs: tuple[Mapping[str, Mapping[str, str]], ...]
    """By modality, the graphs that a method reads and that have no simple solution, with the solver's status."""
    region: Region | None
    """What the answer rests on, as shares of the patches; None where that is unknown."""
    runner_up: Maps | None = None
    """The maps of the model's second answer, where a measure reads them."""
    words: Mapping[int, Region] = field(default_factory=dict)
    """Regions of what the question's words name, by the word's place, where a measure reads them."""
    word_maps: tuple[WordMaps, ...] = ()
    """Where a measure reads them."""


class Answers(NamedTuple):
    """What the model says to the subsets that a measure asked for, in its order."""

    names: Sequence[str]
    """(subsets,): the answers themselves."""
    probabilities: NDArray[np.float64]
    """(subsets,): softmax shares of the answer that is explained, the one with nothing left out."""


@dataclass(frozen=True)
class Column:
    """A number per question and method that a table shows the mean of."""

    name: str
    value: Callable[[Line], float | None]
    """Reads it from a line of the measure; None where the question has none."""
    better: Literal["higher", "lower"] | None = "higher"
    modality: str | None = None
    """The column is shown where this modality was asked for; None means always."""
    group: str = ""
    """Columns of one group stand side by side, and their tests are corrected together."""
    marked: bool = True
    """Whether the measure's marks are of this column."""


@dataclass(frozen=True)
class LineKind:
    """The fields that a line has beside its question's and its key's, and how they are checked when they are read again."""

    fields: tuple[str, ...]
    check: Callable[[Fields], None]
    """Raises `XaiError` at a field that is not what the measure writes."""


def no_mark(_: Line) -> None:
    """Say nothing: the `mark` of a measure whose rows need no remark."""


@dataclass(frozen=True)
class Measure:
    """One measure; `keys`, `subsets` and `fields` keep one order."""

    name: str
    title: str
    """What its table says."""
    keys: Callable[[Scope], list[Key]]
    """List the lines that it writes of one question."""
    subsets: Callable[[QuestionMaps], list[Subset]]
    """List the subsets that it needs answered."""
    fields: Callable[[QuestionMaps, Answers], list[dict[str, Any]]]
    """Make the fields of its lines."""
    line: LineKind
    columns: tuple[Column, ...] = ()
    """What its table shows; the published test's is a table of its own."""
    mark: Callable[[Line], str | None] = no_mark
    """Say what a reader must know of a row, from one of its lines."""
    reads_runner_up: bool = False
    reads_words: bool = False


def key_per_method(measure: str) -> Callable[[Scope], list[Key]]:
    """Let a measure write one line a method."""
    return lambda scope: [{"measure": measure, "method": method} for method in scope.methods]


def rounded(value: float, digits: int = DIGITS) -> float:
    """Round a number that is written, without a minus in front of 0."""
    return round(float(value), digits) + 0.0


def check_numbers(fields: Fields, name: str, count: int, low: float, high: float) -> list[float]:
    """Read a list of `count` numbers within [`low`, `high`]. Raises `XaiError` where it is none."""
    values = fields.items(name, int, float)
    if len(values) != count:
        raise fields.refuse(name, f"has not {count} values")
    if not all(low <= value <= high for value in values):
        raise fields.refuse(name, f"holds a number that is not within {low:g} and {high:g}")
    return values


def check_modalities(fields: Fields, name: str) -> list[Fields]:
    """Read an object that holds another one, or null, for each modality: those that there are. Raises `XaiError` where it is none."""
    inner = fields.inner(name)
    inner.only(*MODALITIES)
    return [inner.inner(modality) for modality in MODALITIES if inner.get(modality, dict, type(None)) is not None]
