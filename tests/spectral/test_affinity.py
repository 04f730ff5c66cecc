import numpy as np
import pytest

from xai.spectral import colour, cosine_relu, fiedler, nearest_neighbours, threshold
from xai.spectral.solvers.implicit import has_no_negative_cosine
from xai.tests.spectral import known


@pytest.fixture
def features():
    return known.features("clusters", 60, 5, np.random.default_rng(0))


def test_cosine_relu_is_the_published_affinity(features):
    features[7] = 0
    weights = cosine_relu(features)
    np.testing.assert_allclose(weights, known.cosine(features), atol=1e-15)
    assert not weights[7].any() and weights.max() == 1
    assert cosine_relu(features.astype(np.float32)).dtype == np.float32
    np.testing.assert_allclose(cosine_relu(np.stack([features, 2 * features])), [weights, weights], atol=1e-15)


def test_neighbours_are_the_largest_cosines(features):
    weights, dense = nearest_neighbours(features, 4), known.cosine(features)
    np.fill_diagonal(dense, -1)
    nearest = np.argsort(-dense, axis=1)[:, :4]
    mine = np.zeros_like(dense, bool)
    np.put_along_axis(mine, nearest, True, axis=1)
    expected = np.where(mine | mine.T, np.maximum(dense, 0), 0)
    np.testing.assert_allclose(weights.toarray(), expected, atol=1e-15)
    assert (weights != weights.T).nnz == 0 and not weights.diagonal().any()


def test_threshold_keeps_what_reaches_it(features):
    dense = known.cosine(features)
    np.testing.assert_allclose(threshold(features, 0.7).toarray(), np.where(dense >= 0.7, dense, 0), atol=1e-15)


def test_colour_joins_like_pixels_that_are_near():
    pixels = np.zeros((6, 8, 3), np.float32)
    pixels[:, 4:] = 1
    weights = colour(pixels, (5,), (0.5,))
    assert (weights != weights.T).nnz == 0
    assert weights.sum() == 2 * 5 * 48  # every join counts from both ends
    left = np.tile(np.arange(8) < 4, 6)
    assert weights[left][:, ~left].nnz == 0
    assert fiedler(colour(np.random.default_rng(0).random((12, 12, 3)))).n_components[0] >= 1


def test_what_cannot_be_an_affinity_is_refused(features):
    for k in (0, 60):
        with pytest.raises(ValueError, match="k must lie"):
            nearest_neighbours(features, k)
    with pytest.raises(ValueError, match="at must be positive"):
        threshold(features, 0)
    with pytest.raises(ValueError, match="pixels must be"):
        colour(np.ones((4, 4)))


def test_the_cone_test_never_overlooks_a_negative_cosine():
    rng = np.random.default_rng(0)
    passed = 0
    for _ in range(300):
        rows = known.features(str(rng.choice(["shifted", "positive", "near-equal", "clusters"])), 30, 6, rng)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        rows[rng.integers(30)] *= rng.integers(2)  # sometimes a zero row
        if has_no_negative_cosine(rows[None])[0]:
            passed += 1
            assert (rows @ rows.T).min() >= 0
    assert passed > 50
