"""A stand-in for CuPy over NumPy that is as strict: it has only what the installed CuPy has, mixes with nothing of the host, converts
nothing unasked, and counts launches of kernels and waits of the host for the device.

What it cannot show: that CuPy's own kernels give what NumPy's do, and how long they take.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

HAS = json.loads((Path(__file__).parent / "data" / "cupy.json").read_text())
"""What CuPy has and takes (`tests/cupy_names.py`)."""

KINDS = "biufc"
"""Types of arrays that a device holds: no objects, strings or times."""
WAIT = frozenset({"nonzero", "flatnonzero", "argwhere", "unique", "extract"})
"""Functions whose result has a size that only the device knows."""
VIEWS = frozenset(
    {"empty", "empty_like", "reshape", "ravel", "transpose", "swapaxes", "squeeze", "expand_dims", "broadcast_to", "moveaxis", "diagonal"}
)
"""Functions that launch nothing, of arrays that lie as they should."""


@dataclass
class Counts:
    """Kernels launched, waits of the host, copies from the host; `who` says which names of functions waited."""

    launches: int = 0
    waits: int = 0
    copies: int = 0
    who: list[str] = field(default_factory=list)


COUNTS = Counts()


class ndarray:
    """An array on the device; `_host` is where this double keeps it."""

    __array_priority__ = 100
    __array_ufunc__ = None

    def __init__(self, host: np.ndarray) -> None:
        if host.dtype.kind not in KINDS:
            raise TypeError(f"cupy has no arrays of {host.dtype}")
        self._host = host

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct a NumPy array explicitly.")

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0

    def __getattr__(self, name: str) -> Any:
        if name not in HAS["methods"]:
            raise AttributeError(f"cupy.ndarray has no {name!r}")
        value = getattr(self._host, name)
        if not callable(value):
            return ndarray(value) if isinstance(value, np.ndarray) else value

        def method(*args: Any, **kwargs: Any) -> Any:
            if name in HAS["functions"] and HAS["functions"][name] is not None:
                _check_names(name, kwargs)
            _check_kind(name, kwargs)
            if not (name == "astype" and kwargs.get("copy") is False and np.dtype(args[0]) == self._host.dtype):
                _count(name)
            return on_device(value(*map(_host_of, args), **{key: _host_of(one) for key, one in kwargs.items()}))

        return method

    def get(self) -> np.ndarray:
        """To the host: waits."""
        _wait("get")
        return self._host.copy()

    def item(self, *args: Any) -> Any:
        _wait("item")
        return self._host.item(*args)

    def tolist(self) -> Any:
        _wait("tolist")
        return self._host.tolist()

    def __bool__(self) -> bool:
        _wait("bool")
        return bool(self._host)

    def __int__(self) -> int:
        _wait("int")
        return int(self._host)

    def __float__(self) -> float:
        _wait("float")
        return float(self._host)

    def __index__(self) -> int:
        _wait("index")
        return self._host.__index__()

    def __len__(self) -> int:
        return len(self._host)

    def __iter__(self) -> Iterator[ndarray]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, key: Any) -> Any:
        host_key = _key(key)
        found = self._host[host_key]
        if found.base is None or not np.shares_memory(found, self._host):  # gathered, not a view
            COUNTS.launches += 1
        return on_device(found)

    def __setitem__(self, key: Any, value: Any) -> None:
        COUNTS.launches += 1
        self._host[_key(key)] = _host_of(value)

    def __repr__(self) -> str:
        return f"cupy {self._host!r}"


def _operator(name: str) -> Callable[..., Any]:
    def operate(self: ndarray, *others: Any) -> Any:
        COUNTS.launches += 1
        return on_device(getattr(self._host, name)(*map(_host_of, others)))

    return operate


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor"):
    for _kind in ("", "r", "i"):
        setattr(ndarray, f"__{_kind}{_name}__", _operator(f"__{_kind}{_name}__"))
for _name in ("lt", "le", "gt", "ge", "eq", "ne", "neg", "pos", "abs", "invert"):
    setattr(ndarray, f"__{_name}__", _operator(f"__{_name}__"))
ndarray.__module__ = "cupy"


def on_device(value: Any) -> Any:
    """What a function of NumPy gave, as CuPy would give it: scalars are arrays without axes."""
    match value:
        case np.ndarray() | np.generic():
            return ndarray(np.asarray(value))
        case tuple() if hasattr(value, "_fields"):
            return type(value)(*map(on_device, value))
        case tuple() | list():
            return type(value)(map(on_device, value))
    return value


def _host_of(value: Any) -> Any:
    match value:
        case ndarray():
            return value._host
        case np.ndarray():
            raise TypeError("Unsupported type <class 'numpy.ndarray'>: cupy mixes with no array of the host")
        case str() | None | bool() | int() | float() | complex() | np.generic() | np.dtype() | type():
            return value
        case list() | tuple():
            return type(value)(map(_host_of, value))
    return value


def _key(key: Any) -> Any:
    """What indexes. Of the host an array is copied first, as CuPy does; a mask asks the device how many it has."""
    match key:
        case tuple():
            return tuple(map(_key, key))
        case list() | np.ndarray():
            COUNTS.copies += 1
            key = ndarray(np.array(key, None if len(key) else np.int64))
    if isinstance(key, ndarray) and key.dtype == bool:
        _wait("mask")
    return _host_of(key)


def _wait(name: str) -> None:
    COUNTS.waits += 1
    COUNTS.who.append(name)


def _count(name: str) -> None:
    if name in WAIT:
        _wait(name)
    if name not in VIEWS:
        COUNTS.launches += 1


def _check_names(name: str, kwargs: dict[str, Any]) -> None:
    takes = HAS["functions"][name]
    if "kwargs" not in takes and (unknown := set(kwargs) - set(takes)):
        raise TypeError(f"cupy.{name} takes no {min(unknown)!r}, only {', '.join(takes)}")


def _check_kind(name: str, kwargs: dict[str, Any]) -> None:
    if kwargs.get("kind") not in (None, "stable"):
        raise ValueError(f"cupy.{name} has no kind {kwargs['kind']!r}")


def _function(name: str) -> Callable[..., Any]:
    place: Any = np
    for part in name.split("."):
        place = getattr(place, part)

    def call(*args: Any, **kwargs: Any) -> Any:
        if HAS["functions"].get(name) is not None:
            _check_names(name, kwargs)
        _check_kind(name, kwargs)
        _count(name)
        return on_device(place(*map(_host_of, args), **{key: _host_of(one) for key, one in kwargs.items()}))

    return call


def _from_host(value: Any, dtype: Any = None, **_: Any) -> ndarray:
    """`asarray` and `array`: the ways by which something of the host comes to the device."""
    if isinstance(value, ndarray):
        return value if dtype is None or value.dtype == dtype else value.astype(dtype)
    if isinstance(value, list | tuple) and any(isinstance(one, ndarray) for one in value):
        return on_device(np.stack([one._host for one in value]))
    COUNTS.copies += 1
    return ndarray(np.array(value, dtype))


class _Module(ModuleType):
    """`cupy`, or a part of it: a name that CuPy lacks is missing here, too."""

    def __init__(self, name: str, prefix: str = "") -> None:
        super().__init__(name)
        self._prefix = prefix

    def __getattr__(self, name: str) -> Any:
        full = self._prefix + name
        if full in HAS["functions"] or full in HAS["ufuncs"]:
            return _function(full)
        if not self._prefix and isinstance(value := getattr(np, name, None), type | float) and name in np.__all__:
            return value  # types and constants are NumPy's own
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")


def install(monkeypatch: pytest.MonkeyPatch) -> Counts:
    """Make this the `cupy` that is imported; the counts, from 0."""
    module, linalg, cuda = _Module("cupy"), _Module("cupy.linalg", "linalg."), ModuleType("cupy.cuda")
    module.ndarray, module.linalg, module.asarray, module.array, module.cuda = ndarray, linalg, _from_host, _from_host, cuda  # type: ignore[attr-defined]
    cuda.get_current_stream = lambda: Stream()  # type: ignore[attr-defined]
    for name, one in (("cupy", module), ("cupy.linalg", linalg), ("cupy.cuda", cuda)):
        monkeypatch.setitem(sys.modules, name, one)
    sparse, scipy_, cupyx = ModuleType("cupyx.scipy.sparse"), ModuleType("cupyx.scipy"), ModuleType("cupyx")
    sparse.csr_matrix = None  # type: ignore[attr-defined]  # no explanation asks for one
    scipy_.sparse, cupyx.scipy = sparse, scipy_  # type: ignore[attr-defined]
    for name, one in (("cupyx", cupyx), ("cupyx.scipy", scipy_), ("cupyx.scipy.sparse", sparse)):
        monkeypatch.setitem(sys.modules, name, one)
    COUNTS.__init__()  # type: ignore[misc]
    return COUNTS


class Stream:
    """The current one."""

    def synchronize(self) -> None:
        _wait("synchronize")
