import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse

import xai.spectral
from xai.spectral import Status, fiedler
from xai.spectral.arrays import as_array, gpu_state
from xai.tests.spectral import known

ROOM = Path(xai.spectral.__file__).parent


def test_torch_tensors_are_solved_as_the_arrays_they_share():
    torch = pytest.importorskip("torch")
    for n in (20, 90):
        features = known.features("decaying", n, 16, np.random.default_rng(0)).astype(np.float32)[None]
        mask = np.arange(n) < n - 3
        ours = fiedler(features=features, mask=mask[None])
        theirs = fiedler(features=torch.from_numpy(features), mask=torch.from_numpy(mask[None]))
        np.testing.assert_array_equal(theirs.map, ours.map)
        np.testing.assert_array_equal(torch.from_dlpack(theirs.map).numpy(), ours.map)


def test_handing_over_copies_nothing():
    torch = pytest.importorskip("torch")
    tensor = torch.zeros(3)
    as_array(tensor, "features")[1] = 5
    assert tensor[1] == 5


@pytest.mark.skipif(gpu_state() is not None, reason=f"no GPU: {gpu_state()}")
@pytest.mark.parametrize("n", [20, 90, 300])
def test_cupy_equals_numpy(n):
    import cupy
    import cupyx.scipy.sparse

    rng = np.random.default_rng(0)
    features = np.stack([known.features(kind, n, 16, rng) for kind in known.KINDS]).astype(np.float32)
    weights = np.stack([known.cosine(f) for f in features])
    sparse = [scipy.sparse.csr_matrix(w) for w in weights]
    pairs = [
        (fiedler(features=features), fiedler(features=cupy.asarray(features))),
        (fiedler(weights), fiedler(cupy.asarray(weights))),
        (fiedler(sparse), fiedler([cupyx.scipy.sparse.csr_matrix(w) for w in sparse])),
    ]
    for host, device in pairs:
        assert isinstance(device.map, cupy.ndarray) and isinstance(device.status, np.ndarray)
        np.testing.assert_array_equal(device.status, host.status)
        simple = host.status == Status.CONVERGED
        np.testing.assert_allclose(device.map.get()[simple], host.map[simple], atol=2e-2 * host.map.max())


def test_without_a_gpu_there_is_a_reason_and_no_exception():
    assert gpu_state() is None or "\n" not in gpu_state()


def test_only_arrays_py_imports_cupy_and_no_file_imports_torch_or_another_room():
    for file in ROOM.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                name = node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
                assert name.split(".")[0] != "torch" and (not name.startswith("xai.") or name.startswith("xai.spectral"))
                assert file.name == "arrays.py" or not name.startswith("cupy")


def test_importing_the_room_imports_neither_torch_nor_cupy():
    code = "import sys, xai.spectral; sys.exit(any(name in sys.modules for name in ('torch', 'cupy')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
