"""No answer is called converged that is not: the certificates against the truth, on graphs made to deceive them."""

import itertools
from functools import partial

import numpy as np
import pytest
import scipy.sparse

from xai.spectral import Algorithm, Certificate, Status, fiedler, nearest_neighbours
from xai.spectral.bounds import cholesky_bound, filter_bound, filter_degree, frobenius_bound, trace_bound
from xai.spectral.krylov import BROKEN, Krylov
from xai.spectral.scaling import row_sums, scaling, start_vectors
from xai.spectral.solvers.lanczos import DenseOperator, survey
from xai.tests.spectral import known


def _deceptive(n: int, gap: float, rng: np.random.Generator) -> known.Matrix:
    """A planted graph whose Fiedler vector is orthogonal to the start that the solver draws: Krylov cannot see it."""
    start = start_vectors(np.ones((1, n), bool), 0, np.dtype(np.float64))[0]
    basis = np.column_stack([np.ones(n), start, rng.standard_normal((n, n - 2))])
    basis = np.linalg.qr(basis)[0]
    hidden = basis[:, 2].copy()
    # The start is spread over all the others, so that the space does not simply end.
    rest = np.delete(basis, [0, 2], axis=1) @ np.linalg.qr(rng.standard_normal((n - 2, n - 2)))[0]
    values = np.concatenate([[0.6, 0.6 - gap], (0.6 - gap) * rng.uniform(-0.5, 0.9, n - 3)])
    off = (np.column_stack([hidden, rest]) * values) @ np.column_stack([hidden, rest]).T
    return np.maximum(1 / n + off * min(1.0, 1 / n / -off.min()), 0)


def _run(count: int, seed: int) -> dict[str, int]:
    """Solve `count` random graphs by every way there is; compare with LAPACK in float64. How many answers of each sort."""
    rng = np.random.default_rng(seed)
    seen: dict[str, int] = {}
    for _ in range(count):
        n, tol = int(rng.choice([3, 6, 20, 40, 66, 90, 130])), float(rng.choice([1e-1, 1e-2, 1e-3, 1e-4]))
        kind, dtype = str(rng.choice([*known.KINDS, "planted", "deceptive", "neighbours"])), rng.choice([np.float32, np.float64])
        solvers = []
        if kind in known.KINDS:
            features = known.features(kind, n, int(rng.choice([2, 8, 32])), rng).astype(dtype)
            weights = known.cosine(features.astype(np.float64))
            solvers.append((partial(fiedler, features=features[None]), known.truth(weights)))
        elif kind == "neighbours":
            weights = nearest_neighbours(rng.standard_normal((n + 60, 3)), int(rng.integers(4, 12))).toarray()
        else:
            weights = (known.planted if kind == "planted" else _deceptive)(max(n, 6), 10 ** rng.uniform(-6, -0.5), rng)
        given = ((weights + weights.T) / 2).astype(dtype)
        truth = known.truth(given.astype(np.float64))
        solvers.append((partial(fiedler, given[None]), truth))
        solvers.append((partial(fiedler, scipy.sparse.csr_matrix(given), method=Algorithm.THICK_RESTART), truth))
        if len(given) > 64:
            solvers.append((partial(fiedler, given[None], method=Algorithm.LANCZOS), truth))
        for solve, truth in solvers:
            result = solve(tol=tol)
            status, multiplicity = Status(result.status[0]), int(result.multiplicity[0])
            if status in (Status.CONVERGED, Status.DEGENERATE):
                assert result.angle_bound[0] <= tol
                # 1e-9: the truth has rounding of its own.
                assert truth.sine(result.vector[0], multiplicity) <= result.angle_bound[0] + 1e-9, (kind, n, dtype, tol, solve)
                if multiplicity < len(truth.values):
                    assert result.gap[0] <= truth.values[multiplicity] - truth.values[0] + 1e-5, (kind, n, dtype, tol, solve)
            else:
                assert status != Status.DISCONNECTED or truth.values[0] < 1e-5
            name = f"{status.name} {Algorithm(result.method[0]).name} {Certificate(result.certificate[0]).name}"
            seen[name] = seen.get(name, 0) + 1
    return seen


def test_no_false_certificate_in_500_graphs():
    seen = _run(500, 0)
    # Not by proving nothing: each certificate has been given.
    for certificate in (Certificate.SPECTRUM, Certificate.ENERGY, Certificate.CHOLESKY, Certificate.PROBABILISTIC, Certificate.COMPONENTS):
        assert any(name.endswith(certificate.name) for name in seen), seen


@pytest.mark.slow
def test_no_false_certificate_in_10000_graphs():
    for seed in range(1, 21):
        _run(500, seed)


@pytest.mark.parametrize("gap", [1e-1, 1e-2, 1e-4])
def test_a_start_orthogonal_to_the_answer_deceives_nobody(gap):
    weights = _deceptive(100, gap, np.random.default_rng(0))
    for given in (weights[None], scipy.sparse.csr_matrix(weights), weights.astype(np.float32)[None]):
        result, truth = fiedler(given), known.truth((given.toarray() if scipy.sparse.issparse(given) else given[0]).astype(np.float64))
        assert result.status[0] in (Status.CONVERGED, Status.DEGENERATE)
        assert truth.sine(result.vector[0], int(result.multiplicity[0])) <= result.angle_bound[0] + 1e-9 <= 1e-2


def _krylov(weights: known.Matrix, dtype: type, steps: int) -> tuple[Krylov, DenseOperator, known.Matrix]:
    batch = weights.astype(dtype)[None]
    scale = scaling(row_sums(batch))
    operator = DenseOperator(batch, scale.inverse_root.astype(dtype))
    trivial = scale.trivial.astype(dtype)[:, None]
    return Krylov(operator, trivial, start_vectors(scale.degrees > 0, 0, np.dtype(dtype)), steps), operator, trivial


@pytest.mark.parametrize("kind", known.KINDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_energy_bounds_hold_at_every_step(kind, dtype):
    weights = known.cosine(known.features(kind, 90, 16, np.random.default_rng(7)).astype(dtype).astype(np.float64))
    root = np.sqrt(weights.sum(1))
    scaled = weights / root[:, None] / root
    krylov, _, _ = _krylov(weights, dtype, 40)
    total = survey(weights.astype(dtype)[None])[1]
    np.testing.assert_allclose(total, (scaled**2).sum(), rtol=1e-5)
    semidefinite = np.linalg.eigvalsh(scaled)[0] >= -1e-12
    for size in (2, 3, 5, 8, 13, 21, 40):
        krylov.extend(size)
        ritz = krylov.ritz()
        x = krylov.vectors(ritz.coordinates[:, :, :1])[0, 0].astype(np.float64)
        known_two = np.linalg.qr(np.column_stack([root, x]))[0]
        beside = np.eye(90) - known_two @ known_two.T
        highest = np.linalg.eigvalsh(beside @ scaled @ beside)[-3:].max()
        assert frobenius_bound(total, ritz, 1e-5)[0] >= highest - 2e-6
        if semidefinite:
            assert trace_bound(np.array([np.trace(scaled)]), ritz, 1e-5)[0] >= highest - 2e-6


def test_lanczos_projects_the_operator_onto_an_orthonormal_basis_and_survives_its_end():
    rng = np.random.default_rng(0)
    weights = known.cosine(known.features("decaying", 60, 8, rng))
    krylov, operator, _ = _krylov(weights, np.float64, 12)
    for size in (12, 12, 12):
        krylov.extend(size)
        ritz = krylov.ritz()
        vectors = krylov.vectors(ritz.coordinates)[0]  # (size, n)
        np.testing.assert_allclose(vectors @ vectors.T, np.eye(size), atol=1e-12)
        products = np.array([operator.apply(vector[None])[0] for vector in vectors])
        # A X = X Theta but for one direction, which is orthogonal to X and couples as stated.
        remainder = products - ritz.values[0][:, None] * vectors
        np.testing.assert_allclose(np.linalg.norm(remainder, axis=1), ritz.coupling[0], atol=1e-12)
        np.testing.assert_allclose(vectors @ remainder.T, 0, atol=1e-12)
        krylov.restart(ritz, 4)

    ended, _, _ = _krylov(known.complete(30), np.float64, 6)
    ended.extend(6)
    values = ended.ritz().values[0]
    np.testing.assert_allclose(values, [-1 / 29] + 5 * [BROKEN])


@pytest.mark.parametrize("degree", [10, 40, 160])
def test_the_filter_bounds_the_largest_eigenvalue_from_above(degree):
    rng = np.random.default_rng(0)
    for gap in (0.3, 0.01):
        weights = known.planted(80, gap, rng)
        operator = _krylov(weights, np.float64, 2)[1]
        values = known.truth(weights)
        trivial, first = np.full((1, 1, 80), 80**-0.5), values.vectors[:, 0][None, None]
        probe = rng.standard_normal((1, 80))
        without_first = np.concatenate([trivial, first], axis=1)
        for edge, floor in itertools.product((-0.3, 0.1, 1 - values.values[1], 1 - values.values[0]), (-1.0, -0.4)):  # guesses
            prove = partial(filter_bound, operator.apply, probe=probe, floor=np.array([floor]), edge=np.array([edge]), degree=degree)
            with np.errstate(over="ignore"):  # of what lies below the floor; the bound is infinite then
                assert prove(locked=trivial)[0] >= 1 - values.values[0]
                assert prove(locked=without_first)[0] >= 1 - values.values[1]
        floor, edge, target = np.array([1 - values.values[-1]]), np.array([1 - values.values[1]]), np.array([1 - values.values[:2].mean()])
        enough = int(filter_degree(floor, edge, target, 80)[0])
        assert filter_bound(operator.apply, without_first, probe, floor, edge, enough)[0] <= target + 1e-9


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cholesky_proves_a_bound_exactly_where_it_is_one(dtype):
    weights = known.planted(70, 0.05, np.random.default_rng(0))  # D = I
    truth = known.truth(weights)
    first, second = 1 - truth.values[:2]
    trivial, vector = np.full(70, 70**-0.5, dtype), truth.vectors[:, 0].astype(dtype)
    prove = partial(cholesky_bound, trivial=trivial, vector=vector, value=first)
    above, below = second + 0.1 * truth.gap, second - 0.1 * truth.gap
    assert above <= prove(weights.astype(dtype), bound=above) < above + 1e-4
    assert prove(weights.astype(dtype), bound=below) == np.inf
    other = partial(cholesky_bound, trivial=trivial, vector=truth.vectors[:, 1].astype(dtype), value=second)
    assert other(weights.astype(dtype), bound=above) == np.inf


@pytest.mark.parametrize(("kind", "n", "most"), [("decaying", 300, 14), ("smooth", 300, 26), ("clusters", 200, 60)])
def test_products_stay_few(kind, n, most):
    rng = np.random.default_rng(0)
    result = fiedler(features=np.stack([known.features(kind, n, 64, rng) for _ in range(4)]).astype(np.float32))
    assert (result.status == Status.CONVERGED).all()
    assert np.median(result.products) <= most
