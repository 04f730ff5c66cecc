"""What holds for every answer, whichever algorithm gave it."""

import numpy as np
import pytest
import scipy.sparse

from xai.spectral import Algorithm, Certificate, FiedlerResult, Status, fiedler
from xai.tests.spectral import known

SOLVERS = {
    "auto": lambda weights, **options: fiedler(weights[None], **options),
    "eigh": lambda weights, **options: fiedler(weights[None], method=Algorithm.EIGH, **options),
    "lanczos": lambda weights, **options: fiedler(weights[None], method=Algorithm.LANCZOS, **options) if len(weights) > 64 else None,
    "sparse": lambda weights, **options: fiedler(scipy.sparse.csr_matrix(weights), **options),
}
"""A new algorithm adds a row. Each takes one graph (n, n); None where the algorithm does not apply."""

EPSILON = {32: 2e-6, 64: 1e-12}
"""What a unit vector's sums may be off by, by the precision that the result names."""


@pytest.fixture(params=SOLVERS)
def solve(request):
    return SOLVERS[request.param]


def check(result: FiedlerResult, item: int, weights: known.Matrix) -> None:
    """The identities of an answer for a graph in one piece, every node with an edge."""
    n = len(weights)
    v, shape = result.vector[item, :n], result.map[item, :n]
    truth = known.truth(weights)
    slack = EPSILON[int(result.precision[item])]
    # Degrees in float32 scale the vector; the rest of the row is padding.
    assert abs(truth.degrees @ v**2 - 1) < slack
    assert abs(truth.degrees @ v) < slack * np.sqrt(truth.degrees.sum())
    assert not result.vector[item, n:].any() and not result.map[item, n:].any()
    assert v[np.argmax(abs(v))] > 0
    assert result.n_components[item] == 1

    y = np.sqrt(truth.degrees) * v
    error = y - weights @ v / np.sqrt(truth.degrees) - result.eigenvalue[item] * y
    assert abs(np.linalg.norm(error) - result.residual[item]) < 2 * slack
    multiplicity = int(result.multiplicity[item])
    assert truth.sine(v, multiplicity) <= result.angle_bound[item] + 1e-9
    if result.status[item] == Status.CONVERGED:
        np.testing.assert_allclose(shape, abs(v), rtol=1e-12)
        assert multiplicity == 1
        assert abs(result.eigenvalue[item] - truth.values[0]) <= result.residual[item] + 2 * slack
        assert np.isinf(result.gap[item]) or result.gap[item] <= truth.gap + 2 * slack
    else:
        assert result.status[item] == Status.DEGENERATE
        assert truth.values[multiplicity - 1] - truth.values[0] < 2e-5
        space = truth.vectors[:, :multiplicity]
        np.testing.assert_allclose(shape, np.sqrt((space**2).sum(1) / truth.degrees), rtol=0, atol=2 * result.angle_bound[item] + 1e-6)


@pytest.mark.parametrize("kind", known.KINDS)
def test_identities_hold_for_thousands_of_small_graphs(kind):
    rng = np.random.default_rng(known.KINDS.index(kind))
    for n in (2, 3, 4, 5, 7, 12, 20, 33):
        features = np.stack([known.features(kind, n, 8, rng) for _ in range(40)])
        result = fiedler(features=features)
        for item in range(len(features)):
            if result.status[item] in (Status.CONVERGED, Status.DEGENERATE):
                check(result, item, known.cosine(features[item]))
            else:
                assert result.status[item] == Status.DISCONNECTED


@pytest.mark.parametrize("kind", known.KINDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_identities_hold_for_larger_graphs(kind, dtype, solve):
    rng = np.random.default_rng(known.KINDS.index(kind))
    for n in (65, 120):
        weights = known.cosine(known.features(kind, n, 24, rng).astype(dtype).astype(np.float64)).astype(dtype)
        result = solve(weights)
        if result.status[0] not in (Status.DISCONNECTED, Status.NOT_CONVERGED):
            check(result, 0, weights.astype(np.float64))
        elif result.status[0] == Status.NOT_CONVERGED:  # an honest answer of one algorithm alone
            assert result.method[0] == Algorithm.LANCZOS
            assert result.angle_bound[0] > 1e-2 and result.certificate[0] == Certificate.NONE


@pytest.mark.parametrize("tol", [1e-2, 1e-4])
@pytest.mark.parametrize("gap", [0.3, 0.03, 3e-3])
def test_planted_gaps(gap, tol, solve):
    weights = known.planted(150, gap, np.random.default_rng(0))
    result = solve(weights, tol=tol)
    check(result, 0, weights)
    assert result.status[0] == Status.CONVERGED
    assert result.angle_bound[0] <= tol


@pytest.mark.parametrize("n", [2, 3, 5, 40, 100])
def test_path(n, solve):
    result = solve(known.path(n))
    if result is None or result.status[0] == Status.NOT_CONVERGED:  # Lanczos alone, n = 100: too narrow a gap
        return
    v = np.cos(np.pi * np.arange(n) / (n - 1))
    v /= np.sqrt(known.path(n).sum(1) @ v**2)
    assert result.status[0] == Status.CONVERGED
    np.testing.assert_allclose(result.eigenvalue[0], 1 - np.cos(np.pi / (n - 1)), atol=1e-6)
    np.testing.assert_allclose(result.map[0], abs(v), atol=2 * result.angle_bound[0] + 1e-12)


@pytest.mark.parametrize("weights", [known.ring(12), known.ring(100), known.grid(5, 7), known.grid(9, 9), known.grid(30, 20)], ids=len)
def test_the_map_of_a_multiple_eigenvalue_shows_the_symmetry_that_no_vector_has(weights):
    for solve in (SOLVERS["auto"], SOLVERS["eigh"], SOLVERS["sparse"]):
        result = solve(weights)
        check(result, 0, weights)
        assert result.status[0] == Status.DEGENERATE
        assert result.multiplicity[0] == (4 if len(weights) == 81 else 2)
        # All nodes are alike, so the map is constant: sum_i d_i h_i^2 = multiplicity.
        np.testing.assert_allclose(result.map[0], np.sqrt(result.multiplicity[0] / weights.sum()), rtol=1e-3)


@pytest.mark.parametrize("n", [3, 10, 80])
def test_complete_graphs_have_one_eigenvalue(n):
    result = fiedler(known.complete(n)[None])
    assert (result.status[0], result.multiplicity[0]) == (Status.DEGENERATE, n - 1)
    assert np.isclose(result.eigenvalue[0], n / (n - 1)) and np.isinf(result.gap[0])


@pytest.mark.parametrize("n", [4, 20, 50])
def test_barbell_is_cut_at_its_bridge(n, solve):
    result = solve(known.barbell(n))
    if result is None:
        return
    check(result, 0, known.barbell(n))
    np.testing.assert_allclose(result.vector[0, :n], -result.vector[0, : n - 1 : -1], atol=1e-3)


@pytest.mark.parametrize("sizes", [[2, 3], [30, 50], [40, 40], [3, 5, 90], [20, 30, 40, 50]])
def test_pieces_give_the_map_of_their_volumes(sizes, solve):
    weights = known.pieces(sizes, np.random.default_rng(1))
    order = np.random.default_rng(2).permutation(len(weights))
    result = solve(weights[order][:, order])
    if result is None:
        return
    degrees = weights.sum(1)
    volume = np.concatenate([np.full(size, part.sum()) for size, part in zip(sizes, np.split(degrees, np.cumsum(sizes)[:-1]), strict=True)])
    assert (result.status[0], result.n_components[0], result.multiplicity[0]) == (Status.DISCONNECTED, len(sizes), len(sizes) - 1)
    assert (result.eigenvalue[0], result.certificate[0]) == (0, Certificate.COMPONENTS)
    np.testing.assert_allclose(result.map[0], np.sqrt(1 / volume - 1 / degrees.sum())[order], rtol=1e-5)
    v = result.vector[0]
    assert np.isclose(degrees[order] @ v**2, 1) and abs(degrees[order] @ v) < 1e-9
    if len(sizes) == 2:
        np.testing.assert_allclose(abs(v), result.map[0])


def test_a_stored_zero_is_no_edge():
    weights = scipy.sparse.csr_matrix(known.pieces([70, 50], np.random.default_rng(0)) + known.path(120))
    weights.data[weights.data == weights[69, 70]] = 0
    result = fiedler(weights)
    assert weights.indices[weights.indptr[69] : weights.indptr[70]].max() == 70
    assert (result.status[0], result.n_components[0]) == (Status.DISCONNECTED, 2)


def test_sizes_one_to_five_and_nothing():
    features = np.random.default_rng(0).random((1, 5, 3))
    assert fiedler(features=features[:, :0]).map.shape == (1, 0)
    one = fiedler(features=features[:, :1])
    assert (one.status[0], one.map[0, 0]) == (Status.TRIVIAL, 1)
    two = fiedler(features=features[:, :2])
    np.testing.assert_allclose(two.map[0] ** 2 * known.cosine(features[0, :2]).sum(1), 0.5)
    for n in (3, 4, 5):
        check(fiedler(features=features[:, :n]), 0, known.cosine(features[0, :n]))
    nothing = fiedler(features=features[:0])
    assert nothing.map.shape == (0, 5) and nothing.status.shape == (0,)


def test_zero_rows_are_isolated_and_change_nothing_else():
    rng = np.random.default_rng(0)
    for n in (20, 90):
        features = known.features("decaying", n, 16, rng)
        rows = np.sort(rng.choice(n + 6, n, replace=False))
        spread = np.zeros((n + 6, 16))
        spread[rows] = features
        alone, among = fiedler(features=features[None]), fiedler(features=spread[None])
        np.testing.assert_allclose(among.map[0, rows], alone.map[0], atol=1e-12)
        assert not np.delete(among.map[0], rows).any()
        assert among.status[0] == Status.CONVERGED
    assert fiedler(features=np.zeros((1, 4, 3))).status[0] == Status.TRIVIAL
    assert not fiedler(features=np.zeros((1, 80, 3))).map.any()


def test_equal_rows_have_no_fiedler_vector():
    for n in (10, 100):
        result = fiedler(features=np.ones((1, n, 3), np.float32))
        assert (result.status[0], result.multiplicity[0]) == (Status.DEGENERATE, n - 1)


def test_bad_items_leave_the_others_alone(batch):
    spoilt = batch.copy()
    spoilt[1, 3, 2], spoilt[3, 0, 0] = np.nan, np.inf
    good, bad = fiedler(features=batch), fiedler(features=spoilt)
    assert (bad.status[[1, 3]] == Status.NONFINITE).all()
    assert np.isnan(bad.map[[1, 3]]).all() and np.isnan(bad.eigenvalue[[1, 3]]).all()
    np.testing.assert_array_equal(bad.map[[0, 2, 4]], good.map[[0, 2, 4]])
    weights = np.stack([known.cosine(f) for f in batch])
    weights[2, 4, 5] = weights[2, 5, 4] = np.nan
    weights[3, 4, 5] = weights[3, 5, 4] = np.inf
    for given in (weights, [scipy.sparse.csr_matrix(each) for each in weights]):
        status = fiedler(given).status
        assert (status[[2, 3]] == Status.NONFINITE).all() and (status[[0, 1, 4]] == good.status[[0, 1, 4]]).all()


@pytest.fixture(params=[30, 100], ids=["small", "large"])
def batch(request):
    """Features (5, n, 12) float32, of one kind each."""
    rng = np.random.default_rng(3)
    kinds = ("decaying", "clusters", "smooth", "random", "positive")
    return np.stack([known.features(kind, request.param, 12, rng) for kind in kinds]).astype(np.float32)


def test_a_batch_is_its_items_in_any_order(batch):
    whole, order = fiedler(features=batch), np.array([3, 0, 4, 2, 1])
    mixed = fiedler(features=batch[order])
    np.testing.assert_array_equal(mixed.status, whole.status[order])
    np.testing.assert_allclose(mixed.map, whole.map[order], atol=1e-6)
    for i in range(len(batch)):
        single = fiedler(features=batch[i : i + 1])
        np.testing.assert_allclose(single.map[0], whole.map[i], atol=1e-6)
        assert (single.method[0], single.products[0]) == (whole.method[i], whole.products[i])


def test_the_same_call_gives_the_same_bits(batch):
    first, second = fiedler(features=batch), fiedler(features=batch)
    for name in vars(first):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def test_padding_changes_nothing_wherever_it_lies(batch):
    n, rng = batch.shape[1], np.random.default_rng(0)
    plain = fiedler(features=batch)
    mask = np.zeros((len(batch), n + 9), bool)
    for row in mask:
        row[rng.choice(n + 9, n, replace=False)] = True
    padded = np.full((*mask.shape, batch.shape[2]), np.nan, np.float32)
    padded[mask] = batch.reshape(-1, batch.shape[2])
    result = fiedler(features=padded, mask=mask)
    np.testing.assert_array_equal(result.status, plain.status)
    np.testing.assert_allclose(result.map[mask].reshape(plain.map.shape), plain.map, atol=1e-5)
    assert not result.map[~mask].any() and not result.vector[~mask].any()
    weights = np.full((len(batch), n + 9, n + 9), np.nan)
    for item, row in enumerate(mask):
        weights[item][np.ix_(row, row)] = known.cosine(batch[item].astype(np.float64))
    np.testing.assert_allclose(fiedler(weights, mask=mask).map, result.map, atol=2e-2 * result.map.max())


def test_permuting_nodes_permutes_the_map(batch):
    order = np.random.default_rng(0).permutation(batch.shape[1])
    plain, mixed = fiedler(features=batch, tol=1e-4), fiedler(features=batch[:, order], tol=1e-4)
    np.testing.assert_array_equal(plain.status, mixed.status)
    np.testing.assert_allclose(mixed.map, plain.map[:, order], atol=2e-4)


@pytest.mark.parametrize("scale", [1e-12, 1e-3, 7, 1e6, 1e12])
def test_scaling_weights_scales_the_vector_alone(scale, solve):
    weights = known.cosine(known.features("decaying", 80, 12, np.random.default_rng(0))).astype(np.float32)
    plain, scaled = solve(weights), solve(weights * np.float32(scale))
    assert plain.status[0] == scaled.status[0] == Status.CONVERGED
    np.testing.assert_allclose(scaled.eigenvalue, plain.eigenvalue, atol=1e-6)
    np.testing.assert_allclose(scaled.map * np.sqrt(scale), plain.map, atol=1e-4 * plain.map.max())


def test_scaling_features_changes_nothing(batch):
    plain = fiedler(features=batch)
    for scale in (1e-30, 1e30):
        np.testing.assert_allclose(fiedler(features=batch * np.float32(scale)).map, plain.map, atol=1e-5)


def test_float16_features_are_solved_as_float32(batch):
    half = batch.astype(np.float16)
    np.testing.assert_array_equal(fiedler(features=half).map, fiedler(features=half.astype(np.float32)).map)


def test_features_equal_their_affinity_and_sparse_equals_dense(batch):
    features = fiedler(features=batch.astype(np.float64), tol=1e-5)
    weights = np.stack([known.cosine(f) for f in batch.astype(np.float64)])
    dense = fiedler(weights, tol=1e-5)
    sparse = fiedler([scipy.sparse.csr_matrix(w) for w in weights], tol=1e-5)
    offsets = np.arange(len(batch) + 1) * batch.shape[1]
    blocks = fiedler(scipy.sparse.block_diag(weights, format="csr"), offsets=offsets, tol=1e-5)
    for other in (dense, sparse, blocks):
        np.testing.assert_array_equal(other.status, features.status)
        np.testing.assert_allclose(other.map, features.map, atol=2e-5)


def test_graphs_of_unequal_size_are_padded():
    sizes = [1, 5, 70, 100]
    weights = [known.cosine(known.features("decaying", n, 8, np.random.default_rng(n))) for n in sizes]
    result = fiedler([scipy.sparse.csr_matrix(w) for w in weights])
    assert result.map.shape == (4, 100) and result.status[0] == Status.TRIVIAL
    for item in range(1, 4):
        check(result, item, weights[item])


def test_norm_2_is_the_same_answer_at_length_1(batch):
    degree, two = fiedler(features=batch), fiedler(features=batch, norm="2")
    np.testing.assert_allclose(np.linalg.norm(two.vector, axis=1), 1)
    np.testing.assert_allclose(np.linalg.norm(two.map, axis=1), 1)
    np.testing.assert_allclose(two.vector, degree.vector / np.linalg.norm(degree.vector, axis=1, keepdims=True))
    ring = fiedler(known.ring(20)[None], norm="2")
    np.testing.assert_allclose(ring.map, np.sqrt(2 / 20))


def test_implicit_products_are_used_only_where_no_cosine_is_negative():
    rng = np.random.default_rng(0)
    # A long mean and little else: the gap and the trace both leave room.
    cone = 0.2 * known.features("decaying", 200, 16, rng)
    cone[:, 0] += 1 + 0.3 * np.sign(np.arange(200) - 80)
    cone = cone.astype(np.float32)
    result = fiedler(features=np.stack([cone, known.features("decaying", 200, 16, rng).astype(np.float32)]))
    assert known.cosine(cone.astype(np.float64)).min() > 0
    assert result.method[0] == Algorithm.IMPLICIT and result.method[1] == Algorithm.LANCZOS
    check(result, 0, known.cosine(cone.astype(np.float64)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "give either weights or features"),
        ({"weights": np.ones((1, 2, 2)), "features": np.ones((1, 2, 2))}, "give either weights or features"),
        ({"weights": np.ones((1, 2, 3))}, "weights must be"),
        ({"features": np.ones((2, 3))}, "features must be"),
        ({"features": np.ones((1, 2, 0))}, "features must have"),
        ({"features": np.ones((1, 2, 3)), "mask": np.ones((1, 3), bool)}, "mask must be"),
        ({"features": np.ones((1, 2, 3)), "offsets": [0, 2]}, "offsets go with"),
        ({"weights": scipy.sparse.eye(4), "offsets": [0, 3]}, "offsets must rise"),
        ({"weights": scipy.sparse.csr_matrix(np.ones((4, 4))), "offsets": [0, 2, 4]}, "weights must have no entry outside"),
        ({"weights": scipy.sparse.csr_matrix(np.ones((4, 5)))}, "weights must be square"),
        ({"weights": scipy.sparse.csr_matrix(-np.ones((4, 4)))}, "weights must not be negative"),
        ({"weights": scipy.sparse.eye(4), "mask": np.ones((1, 4), bool)}, "mask goes with"),
        ({"weights": -np.ones((1, 2, 2))}, "weights must not be negative"),
        ({"weights": np.triu(np.ones((1, 3, 3)))}, "weights must be symmetric"),
        ({"features": np.ones((1, 2, 3), complex)}, "features must hold real numbers"),
        ({"features": np.ones((1, 2, 3)), "tol": 0}, "tol must lie"),
        ({"features": np.ones((1, 2, 3)), "norm": "1"}, "norm must be one of"),
        ({"weights": np.ones((1, 2, 2)), "method": Algorithm.THICK_RESTART}, "method THICK_RESTART"),
    ],
)
def test_arguments_that_do_not_fit_are_named(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}") as error:
        fiedler(**arguments)
    assert "\n" not in str(error.value)
