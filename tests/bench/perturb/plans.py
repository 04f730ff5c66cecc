"""Plans of the published test alone."""

from __future__ import annotations

from collections.abc import Sequence

from xai.bench.measures.areas import curve_subsets
from xai.bench.measures.measure import Scope
from xai.bench.perturb.plan import MODALITIES, SIGNS, Maps, QuestionPlan, content_maps, plan_question
from xai.runtime.description import Special
from xai.runtime.relevance import Relevance


def scope_of(methods: int, modalities: Sequence[str] = MODALITIES, signs: Sequence[str] = SIGNS) -> Scope:
    """So many methods, whatever their names."""
    return Scope(tuple(map(str, range(methods))), tuple(modalities), tuple(signs))


def published_plan(
    relevances: Sequence[Relevance], words: Special, modalities: Sequence[str] = MODALITIES, signs: Sequence[str] = SIGNS
) -> tuple[Maps, QuestionPlan]:
    """What the published test needs of one question."""
    maps = content_maps(relevances, words)
    return maps, plan_question(maps.keep(), {"published": curve_subsets(maps, scope_of(len(relevances), modalities, signs))})
