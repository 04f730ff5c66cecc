"""Graphs whose spectrum is known, or chosen, and the truth about any of them: what the solver's tests measure against."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
import scipy.sparse
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


def path(n: int) -> Matrix:
    """lambda_k = 1 - cos(pi k / (n - 1)), v_k(i) = cos(pi k i / (n - 1)) (Chung, Spectral Graph Theory, 1.2)."""
    return np.eye(n, k=1) + np.eye(n, k=-1)


def ring(n: int) -> Matrix:
    """lambda_k = 1 - cos(2 pi k / n), each twice."""
    return path(n) + np.eye(n, k=n - 1) + np.eye(n, k=1 - n)


def complete(n: int) -> Matrix:
    """lambda = n / (n - 1), n - 1 times."""
    return np.ones((n, n)) - np.eye(n)


def grid(rows: int, columns: int) -> Matrix:
    """The product of two rings: lambda_2 = (1 - cos(2 pi / max)) / 2, four times where the sides are equal, else twice."""
    return np.kron(ring(rows), np.eye(columns)) + np.kron(np.eye(rows), ring(columns))


def barbell(n: int) -> Matrix:
    """Two complete graphs of n nodes joined by one edge: the Fiedler vector is odd under their exchange."""
    graph = np.kron(np.eye(2), complete(n))
    graph[n - 1, n] = graph[n, n - 1] = 1
    return graph


def pieces(sizes: list[int], rng: np.random.Generator) -> Matrix:
    """Dense random pieces, no edge between them."""
    return scipy.linalg.block_diag(*(_symmetric(rng.random((size, size)) + 0.1) for size in sizes))


def planted(n: int, gap: float, rng: np.random.Generator, second: float = 0.6) -> Matrix:
    """W = I/n-regular with chosen eigenvalues of D^-1/2 W D^-1/2: 1, `second`, `second` - gap, and small ones below.

    D = I: the constant vector is an eigenvector, and the others are scaled down until no entry of W is negative, which
    scales `second` and `gap` with them.
    """
    basis = rng.standard_normal((n, n))
    basis[:, 0] = 1
    basis = np.linalg.qr(basis)[0]
    values = np.concatenate([[second, second - gap], (second - gap) * rng.uniform(-0.9, 0.9, n - 3)])
    rest = (basis[:, 1:] * values) @ basis[:, 1:].T
    return np.maximum(1 / n + rest * min(1.0, 1 / n / -rest.min()), 0)


def _symmetric(matrix: Matrix) -> Matrix:
    return (matrix + matrix.T) / 2


def cosine(features: Matrix) -> Matrix:
    """relu of cosines in float64."""
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    unit = features / np.where(norms == 0, 1, norms)
    return np.maximum(unit @ unit.T, 0)


def features(kind: str, n: int, d: int, rng: np.random.Generator) -> Matrix:
    """Features of a kind: what spectra of images look like, and what they hopefully do not."""
    noise = rng.standard_normal((n, d))
    match kind:
        case "decaying":
            return noise / np.arange(1, d + 1) ** rng.uniform(0.3, 1.5)
        case "random":
            return noise
        case "shifted":
            return noise + rng.uniform(0.5, 3)
        case "clusters":
            centres = rng.standard_normal((int(rng.integers(2, 7)), d))
            return centres[rng.integers(0, len(centres), n)] + rng.uniform(0.05, 1) * noise
        case "positive":
            return np.maximum(noise + rng.uniform(-0.5, 1), 0) + 0.01 * np.eye(1, d)  # no row is zero
        case "smooth":
            t = np.linspace(0, 1, n)[:, None]
            return np.cos(np.pi * t * np.arange(d)) / (1 + np.arange(d)) + 0.05 * noise
        case "duplicates":
            return noise[rng.integers(0, max(2, n // 3), n)]
        case "near-equal":
            return 1 + 10 ** rng.uniform(-5, -1) * noise
        case "twins":  # two equal clusters that mirror each other: nearly multiple eigenvalues
            half = rng.standard_normal((n // 2, d))
            return np.concatenate([half, half + 10 ** rng.uniform(-6, -1) * rng.standard_normal((n // 2, d)), noise[: n % 2]])
    raise ValueError(kind)


KINDS = ("decaying", "random", "shifted", "clusters", "positive", "smooth", "duplicates", "near-equal", "twins")


@dataclass(frozen=True)
class Truth:
    """By LAPACK in float64: degrees, eigenvalues of the Laplacian but the trivial one, ascending, and y = D^1/2 v, one a column."""

    degrees: Matrix
    values: Matrix
    vectors: Matrix

    @property
    def gap(self) -> float:
        return float(self.values[1] - self.values[0]) if len(self.values) > 1 else np.inf

    def sine(self, vector: Matrix, multiplicity: int = 1) -> float:
        """Sine of the angle between a vector v and the span of the first eigenvectors."""
        y = np.sqrt(self.degrees) * vector
        y = y / np.linalg.norm(y)
        space = self.vectors[:, :multiplicity]
        return float(np.linalg.norm(y - space @ (space.T @ y)))


def truth(weights: Matrix) -> Truth:
    """The truth about one graph in one piece, every node with an edge."""
    degrees = weights.sum(1)
    root = np.sqrt(degrees)
    trivial = root / np.linalg.norm(root)
    scaled = weights / root[:, None] / root
    values, vectors = np.linalg.eigh(scaled - 4 * np.outer(trivial, trivial))
    return Truth(degrees, 1 - values[:0:-1], vectors[:, :0:-1])
