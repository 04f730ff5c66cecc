from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from xai.bench.data.regions import WHOLE, square_cells
from xai.bench.data.scenes import scene_samples
from xai.bench.measures.measure import QuestionMaps, WordMaps
from xai.bench.measures.truth import SIZES, TRUTH, Truth, judge_map, judge_words, relevance_rank, size_class
from xai.tests.bench.measures.models import SAMPLE, lines_of, question, values_of

WHOLE_PATCHES = np.zeros((6, 8))
WHOLE_PATCHES[1:3, 2:5] = 1
PARTS = np.array([[0, 0.25, 0.5], [0, 1, 0.75], [0, 0, 0]])


def rank_of_pixels(relevance: np.ndarray, mask: np.ndarray) -> float:
    """Relevance rank accuracy as arXiv 2003.07258 has it: with K pixels in the mask, the share of the K most relevant ones in it."""
    most = np.argsort(-relevance.ravel(), kind="stable")[: int(mask.sum())]
    return mask.ravel()[most].sum() / mask.sum()


def mass_of_pixels(relevance: np.ndarray, mask: np.ndarray) -> float:
    """Relevance mass accuracy as arXiv 2003.07258 has it."""
    return relevance[mask].sum() / relevance.sum()


def test_whole_patches_give_the_papers_accuracies() -> None:
    rng = np.random.default_rng(5)
    for _ in range(50):
        mask = rng.random((6, 8)) < rng.uniform(0.05, 0.9)
        mask[0, 0] = True
        relevance = rng.random((6, 8))  # no two are equal
        found = judge_map(relevance, mask.astype(float))
        assert found is not None
        assert found.rank == pytest.approx(rank_of_pixels(relevance, mask))
        assert found.mass == pytest.approx(mass_of_pixels(relevance, mask))
        assert found.hit == mask.flat[relevance.argmax()]


@pytest.mark.parametrize("region", [WHOLE_PATCHES, PARTS, PARTS.ravel()], ids=["whole patches", "parts", "boxes"])
def test_the_perfect_map_reaches_1_and_the_reversed_one_0(region) -> None:
    perfect = judge_map(region, region)
    assert perfect is not None
    assert perfect.hit
    assert perfect.rank == 1
    reversed_one = judge_map((region == 0).astype(float), region)
    assert reversed_one == Truth(False, 0.0, 0.0)
    most = np.zeros_like(region)
    most.flat[region.argmax()] = 3
    found = judge_map(most, region)
    assert found is not None
    assert found.mass == 1  # that place is covered as a whole


def test_a_constant_map_has_the_share_of_the_area() -> None:
    for region in (WHOLE_PATCHES, PARTS):
        found = judge_map(np.full_like(region, 0.7), region)
        assert found is not None
        assert found.mass == pytest.approx(region.mean())
        order = np.sort(region.ravel())[::-1]
        area = region.sum()
        best = order[: int(area)].sum() + (area - int(area)) * order[int(area)]
        assert found.rank == pytest.approx(region.mean() * area / best)
    whole = judge_map(np.ones_like(WHOLE_PATCHES), WHOLE_PATCHES)
    assert whole is not None
    assert whole.rank == pytest.approx(WHOLE_PATCHES.mean())


def test_equals_count_as_the_mean_over_their_orders() -> None:
    rng = np.random.default_rng(8)
    relevance = rng.integers(0, 3, (6, 8)).astype(float)
    drawn = [rank_of_pixels(relevance + 1e-6 * rng.random((6, 8)), WHOLE_PATCHES.astype(bool)) for _ in range(4000)]
    assert relevance_rank(relevance, WHOLE_PATCHES) == pytest.approx(np.mean(drawn), abs=0.01)


def test_noise_finds_its_share() -> None:
    rng = np.random.default_rng(9)
    found = [judge_map(rng.random((6, 8)), WHOLE_PATCHES) for _ in range(3000)]
    hit, mass, rank = np.mean([truth for truth in found if truth is not None], 0)
    assert (hit, mass, rank) == pytest.approx((WHOLE_PATCHES.mean(),) * 3, abs=0.02)


def test_only_the_order_and_only_what_is_above_0_counts() -> None:
    rng = np.random.default_rng(10)
    relevance = rng.standard_normal((3, 3))
    found, cubed = judge_map(relevance, PARTS), judge_map(relevance**3, PARTS)
    assert found is not None
    assert cubed is not None
    assert found.rank == cubed.rank
    positive = np.maximum(relevance, 0)
    assert found.mass == pytest.approx((positive * PARTS).sum() / positive.sum())
    silent = judge_map(np.zeros((3, 3)), PARTS)
    assert silent is not None
    assert silent.mass == 0
    assert judge_map(relevance, np.zeros((3, 3))) is None


def test_each_word_is_held_against_its_own_object() -> None:
    rows = np.stack([WHOLE_PATCHES, np.ones((6, 8)), 1 - WHOLE_PATCHES])
    found = judge_words(rows, {0: WHOLE_PATCHES, 2: WHOLE_PATCHES, 7: WHOLE_PATCHES, 1: np.zeros((6, 8))})
    assert found == {0: judge_map(rows[0], WHOLE_PATCHES), 2: judge_map(rows[2], WHOLE_PATCHES)}
    assert (found[0].rank, found[2].rank) == (1, 0)


def test_sizes_are_told_apart_by_their_share_of_the_picture() -> None:
    assert [size_class(share) for share in (0.001, 0.02, 0.0201, 0.1, 0.11, 1)] == ["small"] * 2 + ["medium"] * 2 + ["large"] * 2
    assert list(SIZES.values())[-1] == 1


def test_scenes_say_which_shapes_a_word_names() -> None:
    cells = square_cells(12, 12)
    asked = 0
    for sample in scene_samples(140, 21, None):
        spoken = [word.strip("?,") for word in sample.question.split()]
        words = sample.words(cells)
        region = sample.truth(cells)
        for place, own in words.items():
            asked += 1
            assert spoken[place] not in ("the", "is", "of", "how", "there")
            assert region is not None
            assert (own <= region + 1e-9).all()  # what a question names is part of what its answer rests on
        if region is not None:
            assert np.allclose(np.max(list(words.values()), 0), region) or len(words) == 4  # a relation names two shapes
            whole = sample.truth(WHOLE)
            assert whole is not None
            assert whole[0] == pytest.approx(region.mean(), abs=1e-6)
        if " left " in sample.question and len(words) == 4:
            first, _, second, _ = (words[place] for place in sorted(words))
            assert np.allclose(first + second, region, atol=1e-6)
    assert asked > 150


def truthful(label: dict[str, float], area: float, words=None, word_maps=()) -> QuestionMaps:
    """A question of 6 x 8 patches whose region is `WHOLE_PATCHES`, on `area` of the picture, with a perfect, a reversed and an even map."""
    sample = replace(SAMPLE, label=label, truth=lambda cells: np.full(len(cells), area) if cells is WHOLE else WHOLE_PATCHES)
    maps = [WHOLE_PATCHES.ravel(), 1 - WHOLE_PATCHES.ravel(), np.ones(48)]
    made = question(maps, [[1.0, 2.0]] * 3)
    word_maps = word_maps or (WordMaps(np.zeros((2, 48)), "affinity"),) * 3
    return replace(made, sample=sample, region=WHOLE_PATCHES, words=words or {}, word_maps=word_maps)


def test_the_measure_counts_right_answers_and_sizes() -> None:
    share = WHOLE_PATCHES.mean()
    best = {"hit": [1, 0, 0], "mass": [1, 0, pytest.approx(share, abs=1e-6)], "rank": [1, 0, pytest.approx(share, abs=1e-6)]}
    for name, expected in best.items():
        asked = truthful({"yes": 0.3}, 0.05)
        assert values_of(TRUTH, asked, lambda *_: 0.5, name) == expected
        assert values_of(TRUTH, asked, lambda *_: 0.5, f"medium {name}") == expected
        for other in (f"small {name}", f"large {name}", f"word {name}"):
            assert values_of(TRUTH, asked, lambda *_: 0.5, other) == [None] * 3
        assert values_of(TRUTH, truthful({"no": 1.0}, 0.05), lambda *_: 0.5, name) == [None] * 3


def test_a_question_counts_with_the_mean_over_its_words() -> None:
    perfect, wrong = WHOLE_PATCHES.ravel(), 1 - WHOLE_PATCHES.ravel()
    maps = tuple(WordMaps(np.array(two), "relevance") for two in ([perfect, perfect], [perfect, wrong], [wrong, wrong]))
    asked = truthful({"yes": 1.0}, 0.5, {0: WHOLE_PATCHES, 1: WHOLE_PATCHES, 7: WHOLE_PATCHES}, maps)
    for name in ("word hit", "word mass", "word rank"):
        assert values_of(TRUTH, asked, lambda *_: 0.5, name) == [1, 0.5, 0]
    (line, *_) = lines_of(TRUTH, asked, lambda *_: 0.5)
    assert set(line["words"]) == {"0", "1"}  # the model read no word 7
    assert line["between"] == "relevance"
    assert TRUTH.mark(line) is None
    assert "affinity" in TRUTH.mark(line | {"between": "affinity"})
