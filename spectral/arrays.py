"""Which array library holds an array. The only module that may import cupy."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np

Array = Any
"""An array of the library that `namespace` names: numpy.ndarray or cupy.ndarray."""

Sparse = Any
"""A matrix of scipy.sparse or cupyx.scipy.sparse."""

_HOST_DEVICES = (1, 3)  # DLPack's kDLCPU and kDLCUDAHost
_CUDA_DEVICE = 2


def namespace(array: Array) -> ModuleType:
    """The library (`xp`) of an array or sparse matrix: cupy for cupy's and cupyx's, numpy for anything else."""
    if type(array).__module__.partition(".")[0] in ("cupy", "cupyx"):
        import cupy

        return cupy
    return np


def sparse_namespace(array: Array) -> ModuleType:
    """The sparse library that goes with an array or sparse matrix, its `linalg` included."""
    if namespace(array) is np:
        import scipy.sparse.linalg  # late: it takes longer to load than NumPy

        return scipy.sparse
    import cupyx.scipy.sparse.linalg

    return cupyx.scipy.sparse


def is_sparse(value: object) -> bool:
    """Whether `value` is a matrix of scipy.sparse or cupyx.scipy.sparse."""
    loaded = sys.modules.get("scipy.sparse")  # who holds such a matrix has loaded it
    return (loaded is not None and loaded.issparse(value)) or type(value).__module__.startswith("cupyx.scipy.sparse")


def to_numpy(array: Array) -> Array:
    """The array, or the sparse matrix, on the host."""
    return array.get() if namespace(array) is not np else array if is_sparse(array) else np.asarray(array)


def to_host(*arrays: Array) -> list[Array]:
    """Dense arrays on the host; of those that lie on a GPU all at once, so that the host waits for them once."""
    there = [array for array in arrays if namespace(array) is not np]
    if not there:
        return list(arrays)
    flat = to_numpy(namespace(there[0]).concatenate([array.reshape(-1) for array in there]))
    ends = np.cumsum([array.size for array in there])[:-1]
    found = iter(part.reshape(array.shape).astype(array.dtype, copy=False) for part, array in zip(np.split(flat, ends), there, strict=True))
    return [array if namespace(array) is np else next(found) for array in arrays]


def as_array(value: Any, name: str) -> Array:
    """`value` as an array, without a copy where it already is one or hands one over by DLPack, as torch tensors do.

    Raises ValueError, naming the argument, for what holds no numbers or lies on a device that neither library reads.
    """
    if isinstance(value, np.ndarray) or namespace(value) is not np:
        array = value
    elif hasattr(value, "__dlpack_device__"):
        device = int(value.__dlpack_device__()[0])
        if device in _HOST_DEVICES:
            array = np.from_dlpack(value)
        elif device == _CUDA_DEVICE and gpu_state() is None:
            import cupy

            array = cupy.from_dlpack(value)
        else:
            raise ValueError(f"{name} lies on a device that cannot be read: {gpu_state() or f'DLPack type {device}'}")
    else:
        array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} must hold real numbers, not {array.dtype}")
    return array


def gpu_state() -> str | None:
    """Why no GPU can be used, in one line; None where one can."""
    try:
        import cupy
    except ImportError:
        return "cupy is not installed"
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"CUDA does not start: {error}"
    return None if count else "no CUDA device"


def to_device(value: Any) -> Any:
    """An array, a sparse matrix or a list of them on the GPU; needs one (`gpu_state`)."""
    import cupy
    import cupyx.scipy.sparse

    if isinstance(value, list):
        return [to_device(each) for each in value]
    return cupyx.scipy.sparse.csr_matrix(value) if is_sparse(value) else cupy.asarray(value)


def synchronised(value: Any) -> Any:
    """`value`, when the GPU has finished all that it was given."""
    import cupy

    cupy.cuda.get_current_stream().synchronize()
    return value


def working_set(xp: ModuleType) -> int:
    """Bytes of one chunk of matrices: what the caches of a CPU hold, or what a GPU gives one batch of products."""
    return 8 << 20 if xp is np else 4 << 30


BLOCK = 1 << 19
"""Bytes that a CPU core reads several times from its own cache."""


def blocks(matrix: Array) -> Iterator[slice]:
    """The rows of a matrix in blocks: of `BLOCK` bytes on the CPU, all at once on a GPU."""
    rows = len(matrix) if namespace(matrix) is not np else max(1, BLOCK // max(1, matrix[0].nbytes))
    for low in range(0, len(matrix), rows):
        yield slice(low, low + rows)
