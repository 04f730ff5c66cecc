"""The branches that a GPU takes, run by NumPy under another name: no GPU is needed to see that they agree with the CPU's.

What this cannot show: that CuPy has every function used, that nothing waits for the device, and how fast it is.
"""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse

from xai.spectral import Algorithm, Status, fiedler
from xai.tests.spectral import known


def _cholesky(matrix):
    """CuPy's does not raise."""
    try:
        return np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        return np.full_like(matrix, np.nan)


class _Device:
    """NumPy, but not the module `numpy`."""

    linalg = SimpleNamespace(eigh=np.linalg.eigh, qr=np.linalg.qr, cholesky=_cholesky)

    def __getattr__(self, name):
        return getattr(np, name)


@pytest.fixture
def solve_on_device(monkeypatch):
    def solve(*arguments, **options):
        device = _Device()
        with monkeypatch.context() as patch:
            for name, module in list(sys.modules.items()):
                if name.startswith("xai.spectral.") and name != "xai.spectral.arrays" and hasattr(module, "namespace"):
                    patch.setattr(module, "namespace", lambda _: device)
            return fiedler(*arguments, **options)

    return solve


@pytest.mark.parametrize("tol", [1e-2, 3e-5])
@pytest.mark.parametrize("n", [30, 120])
def test_both_branches_agree(n, tol, solve_on_device):
    rng = np.random.default_rng(0)
    features = np.stack([known.features(kind, n, 24, rng) for kind in known.KINDS]).astype(np.float32)
    features[3, 5] = np.nan
    features[4, 7] = 0
    weights = np.stack([known.cosine(f.astype(np.float64)) for f in features]).astype(np.float32)
    sparse = [scipy.sparse.csr_matrix(w[: n - i, : n - i]) for i, w in enumerate(weights)]  # of unequal sizes
    for arguments, options in (
        ((), {"features": features}),
        ((weights,), {}),
        ((sparse,), {}),
        ((sparse,), {"method": Algorithm.THICK_RESTART}),
    ):
        host, device = fiedler(*arguments, **options, tol=tol), solve_on_device(*arguments, **options, tol=tol)
        both = np.isin(host.status, (Status.CONVERGED, Status.DISCONNECTED)) & (device.status != Status.NOT_CONVERGED)
        assert both.sum() >= 5
        np.testing.assert_array_equal(device.status[both], host.status[both])
        np.testing.assert_allclose(device.map[both], host.map[both], atol=2 * tol * host.map[both].max() + 1e-6)
        assert device.status[3] == Status.NONFINITE
