"""Features with special tokens and padding -> one solution per question, with a sentence for a person."""

from __future__ import annotations

import numpy as np
import pytest

from xai.runtime.description import Description, Special
from xai.runtime.solver import TOLERANCE, solve
from xai.spectral import Status, fiedler
from xai.tests.runtime.test_methods import DESCRIPTIONS

METER = DESCRIPTIONS["meter"]


def masks(*texts: int, images: tuple[int, ...] = (9, 9)) -> dict[str, np.ndarray]:
    """Of questions of so many tokens, and pictures."""
    return {
        "text": np.arange(max(texts)) < np.array(texts)[:, None],
        "image": np.arange(max(images)) < np.array(images[: len(texts)])[:, None],
    }


def test_special_tokens_and_padding_are_no_nodes() -> None:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((2, 9, 16), dtype=np.float32) + 0.5
    text = solve("text1", features, METER, masks(9, 6))
    image = solve("image1", features, METER, masks(9, 6))
    for b, (tokens, solved, inner) in enumerate(((9, text, slice(1, 8)), (6, text, slice(1, 5)))):
        alone = fiedler(features=features[b : b + 1, inner], tol=TOLERANCE)
        found = solved.fiedler()[b]
        assert (found.shape, found.dtype) == ((7,), np.float32)
        assert solved.report(b).nodes == tokens - 2
        assert np.allclose(found[: tokens - 2], alone.map[0], atol=1e-4)
        assert not found[tokens - 2 :].any()
    assert image.fiedler().shape == (2, 8)
    changed = features.copy()
    changed[:, 0] = changed[1, 5:] = 99
    assert np.allclose(solve("text1", changed, METER, masks(9, 6)).fiedler()[1], text.fiedler()[1])


def test_of_a_stream_of_both_each_modality_is_a_graph_of_its_own() -> None:
    joint: Description = DESCRIPTIONS["vilt"]
    assert joint.special["image"] == Special(1, 0)
    features = np.random.default_rng(1).standard_normal((2, 6 + 8, 16), dtype=np.float32) + 0.5
    lengths = masks(6, 4, images=(8, 5))
    text, image = (solve(f"joint1/{modality}", features, joint, lengths) for modality in ("text", "image"))
    for b, (words, patches) in enumerate([(slice(1, 5), slice(7, 14)), (slice(1, 3), slice(7, 11))]):
        for solved, inner in ((text, words), (image, patches)):
            alone = fiedler(features=features[b : b + 1, inner], tol=TOLERANCE)
            assert np.allclose(solved.fiedler()[b, : solved.nodes[b]], alone.map[0], atol=1e-4)


def test_what_has_no_simple_solution_says_so_in_a_sentence() -> None:
    pieces = np.zeros((1, 7, 4), np.float32)
    pieces[0, 1:4, 0] = pieces[0, 4:, 1] = 1
    report = solve("image2", pieces, METER, masks(3, images=(7,))).report(0)
    assert report.status == "disconnected"
    assert report.note == "image2: its graph falls into 2 pieces: the map shows their sizes, not a cut within one"
    lone = solve("text0", np.ones((1, 3, 4), np.float32), METER, masks(3)).report(0)
    assert (lone.status, lone.note) == ("trivial", "text0: its graph has fewer than two nodes with edges: there is nothing to cut")


@pytest.mark.parametrize("status", list(Status))
def test_every_status_but_a_simple_solution_has_a_sentence(status) -> None:
    assert Status(status.value) is status
    assert bool(status.sentence) == (status is not Status.CONVERGED)
    assert "{" not in status.sentence.format(components=2, multiplicity=2)
