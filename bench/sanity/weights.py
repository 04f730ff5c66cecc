"""The weights of an exported bundle, read from its graphs: which tensors are one weight, and which weights are one layer.

A graph holds a weight under its name in the network, or, where it is small and the exporter could compute with it ahead, as a constant
without one: reshaped, transposed or widened. Such copies must be drawn anew together, or a graph's gradient would be another network's.
So a weight is told by its content: tensors of equal numbers are one weight, whatever graph they lie in and whatever they are called.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from xai.base.errors import XaiError
from xai.runtime.bundle.manifest import WEIGHTS, Bundle, onnx_file

if TYPE_CHECKING:
    import onnx

FORWARD = ("encode_image", "embed_text", "evidence_all")
"""Graphs in the order that a question passes them; together they hold every weight that any graph does."""

ROOTS = ("family", "model")
"""What stands before a weight's name in the network, in one graph and not in another."""

BUFFERS = ("attn_mask",)
"""Last parts of names of what a network keeps beside its weights: Swin's masks of shifted windows follow from its sizes."""

PARAMETERS = ("weight", "bias")
"""Last parts of names that a layer of its own stands before."""

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Place:
    """One tensor that a weight is stored in; `offset` is its place in the file of weights, None where it lies in the graph's own file."""

    graph: str
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[np.floating]
    offset: int | None
    turned: Literal["first", "last"] | None = None
    """Which axis is the weight's other one, where it lies here transposed, as a matrix of that axis and all others."""

    def lay(self, values: Floats) -> Floats:
        """A weight's numbers as this tensor has them."""
        if self.turned == "first":
            values = values.reshape(-1, self.shape[0]).T
        elif self.turned == "last":
            values = values.reshape(self.shape[-1], -1).T
        return values.reshape(self.shape).astype(self.dtype)


@dataclass(frozen=True)
class Weight:
    """One weight of the network: its name there, its hash, and the places where it is stored; the first is as the network has it."""

    name: str
    digest: bytes
    places: tuple[Place, ...]

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return int(np.prod(self.places[0].shape, dtype=np.int64))


@dataclass(frozen=True)
class Layer:
    """Weights that are drawn anew together."""

    name: str
    weights: tuple[Weight, ...]


@dataclass(frozen=True)
class Network:
    """The layers of a bundle's network, from the answer down, and the constants of its graphs that are no weights, as GRAPH/NAME."""

    layers: tuple[Layer, ...]
    constants: tuple[str, ...]

    @property
    def weights(self) -> list[Weight]:
        """Every weight, from the answer down."""
        return [weight for layer in self.layers for weight in layer.weights]


def check_bundle(bundle: Bundle) -> None:
    """Raise `XaiError` where a bundle's weights cannot be drawn anew, or the package onnx is missing."""
    if "onnx" not in bundle.manifest.formats:
        raise XaiError(f"bundle {bundle.folder} has no ONNX graphs, whose weights could be drawn anew: export it with --format onnx")
    if bundle.manifest.precision == "int8":
        raise XaiError(f"bundle {bundle.folder} has 8-bit weights, which cannot be drawn anew: export it in float32 or float16")
    if importlib.util.find_spec("onnx") is None:
        raise XaiError("drawing the weights of a graph anew needs onnx: pip install 'xai-vqa[bench]'")


def load_graphs(bundle: Bundle) -> dict[str, onnx.ModelProto]:
    """The bundle's ONNX graphs, without the weights beside them. Raises `XaiError` as `check_bundle` does."""
    check_bundle(bundle)
    import onnx

    return {name: onnx.load(bundle.file(onnx_file(name)), load_external_data=False) for name in bundle.manifest.graphs}


class Stored:
    """Reads the tensors of a bundle as they were exported."""

    def __init__(self, bundle: Bundle, graphs: dict[str, onnx.ModelProto]) -> None:
        self.graphs = graphs
        self._file = np.memmap(bundle.file(WEIGHTS), np.uint8, "r") if WEIGHTS in bundle.manifest.files else np.zeros(0, np.uint8)
        self._tensors = {(graph, t.name): t for graph, model in graphs.items() for t in model.graph.initializer}

    def read(self, place: Place) -> Floats:
        """The numbers of a tensor, in its own shape."""
        from onnx import numpy_helper

        if place.offset is None:
            return numpy_helper.to_array(self._tensors[place.graph, place.name])
        length = int(np.prod(place.shape, dtype=np.int64)) * place.dtype.itemsize
        found: Floats = self._file[place.offset : place.offset + length].view(place.dtype).reshape(place.shape)
        return found


def find_network(stored: Stored) -> Network:
    """The weights of the graphs, and the layers that they make up."""
    positions = _positions(stored.graphs)
    alike: dict[bytes, list[Place]] = {}
    constants = []
    digests: dict[tuple[int, tuple[int, ...], str], bytes] = {}  # of what several graphs share in the file of weights
    for place in _places(stored.graphs):
        if not _is_weight(place, stored):
            constants.append(f"{place.graph}/{place.name}")
            continue
        key = (-1 if place.offset is None else place.offset, place.shape, place.dtype.name)
        digest = digests.get(key) if place.offset is not None else None
        if digest is None:
            digest = digests[key] = content_digest(stored.read(place))
        alike.setdefault(digest, []).append(place)
    _join_transposed(alike, stored)
    named = [_weight(digest, places, positions) for digest, places in alike.items()]
    named.sort(key=lambda weight: _position(weight.places, positions))
    named = list(_named_by_neighbours(named))
    return Network(tuple(reversed(_told_apart(list(_layers(named))))), tuple(constants))


def content_digest(values: Floats) -> bytes:
    """Tells a tensor's numbers, whatever its shape, and in float32 where that holds them."""
    narrow = values.astype(np.float32)
    exact = values.dtype.itemsize <= narrow.dtype.itemsize or np.array_equal(narrow, values)
    return hashlib.sha256(np.ascontiguousarray(narrow if exact else values).data).digest()


def _places(graphs: dict[str, onnx.ModelProto]) -> Iterator[Place]:
    """Every constant of floating-point numbers."""
    from onnx import helper

    for graph, model in graphs.items():
        for tensor in model.graph.initializer:
            dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type))
            if dtype.kind == "f":
                outside = {entry.key: entry.value for entry in tensor.external_data}
                offset = int(outside["offset"]) if "offset" in outside else None
                yield Place(graph, tensor.name, tuple(tensor.dims), dtype, offset)


def _is_weight(place: Place, stored: Stored) -> bool:
    """Whether a constant was learned: it has the name of a weight, or no name and more than one number, which are not all the same."""
    if "." in place.name:
        return place.name.rpartition(".")[2] not in BUFFERS
    return bool(np.prod(place.shape) > 1 and np.ptp(stored.read(place)) > 0)


def _positions(graphs: dict[str, onnx.ModelProto]) -> dict[tuple[str, str], tuple[int, int]]:
    """Of each graph's constants, by graph and name, when they are first used on the way of a question."""
    found: dict[tuple[str, str], tuple[int, int]] = {}
    order = [*FORWARD, *(name for name in graphs if name not in FORWARD)]
    for rank, graph in enumerate(order):
        for number, node in enumerate(graphs[graph].graph.node):
            for name in node.input:
                found.setdefault((graph, name), (rank, number))
    return found


def _position(places: Iterable[Place], positions: dict[tuple[str, str], tuple[int, int]]) -> tuple[int, int]:
    return min(positions.get((place.graph, place.name), (len(FORWARD), 0)) for place in places)


def _join_transposed(alike: dict[bytes, list[Place]], stored: Stored) -> None:
    """Put what has no name in any graph, and is a named weight transposed, to that weight."""
    for digest in [digest for digest, places in alike.items() if not any("." in place.name for place in places)]:
        values = stored.read(alike[digest][0])
        matrices: dict[Literal["first", "last"], Floats] = {
            "first": values.reshape(len(values), -1),
            "last": values.reshape(-1, values.shape[-1]),
        }
        for axis, matrix in matrices.items():
            found = content_digest(matrix.T)
            if found != digest and found in alike:
                alike[found] += [replace(place, turned=axis) for place in alike.pop(digest)]
                break


def _weight(digest: bytes, places: Sequence[Place], positions: dict[tuple[str, str], tuple[int, int]]) -> Weight:
    """The weight of these places, named as its first use is, and as the first graph that knows a name."""
    inner = [place for place in places if "." in place.name]
    first = min(inner or places, key=lambda place: _position([place], positions))
    rest = [place for place in places if place is not first]
    return Weight(network_name(first.name), digest, (first, *rest))


def network_name(name: str) -> str:
    """A weight's name in the network, from its name in a graph."""
    parts = name.split(".")
    while len(parts) > 1 and parts[0] in ROOTS:
        parts.pop(0)
    return ".".join(parts)


def _named_by_neighbours(weights: Sequence[Weight]) -> Iterator[Weight]:
    """Give what has a name in no graph one beside the weight that was used last before it, or else first after it."""
    known = [weight.name for weight in weights if "." in weight.name]
    last = known[0] if known else ""
    for weight in weights:
        if "." in weight.name:
            last = weight.name
            yield weight
        else:
            place = weight.places[0]
            yield Weight(f"{layer_name(last)}.({place.graph}/{place.name})", weight.digest, weight.places)


def layer_name(name: str) -> str:
    """The layer of a weight: its name up to its last number, `resblocks.3` of `resblocks.3.attn.in_proj_weight`; without one, the module
    that its module is a part of, or where there is none, its module."""
    parts = name.split(".(")[0].split(".")
    if len(parts) == 1 or ".(" in name:
        return ".".join(parts)
    module = parts[:-1]
    above = module[:-1] if parts[-1] in PARAMETERS and len(module) > 1 else module
    numbers = [i for i, part in enumerate(above) if part.isdecimal()]
    return ".".join(above[: numbers[-1] + 1] if numbers else above)


def _layers(weights: Sequence[Weight]) -> Iterator[Layer]:
    """Weights of one layer, in the order of its first use: of a layer with a number all, of others those that follow each other."""
    numbered: dict[str, list[Weight]] = {}
    for weight in weights:
        name = layer_name(weight.name)
        if any(part.isdecimal() for part in name.split(".")):
            numbered.setdefault(name, []).append(weight)
    for name, some in groupby(weights, key=lambda weight: layer_name(weight.name)):
        own = tuple(some)
        if name not in numbered:
            modules = {weight.name.rpartition(".")[0] for weight in own}
            yield Layer(modules.pop() if len(modules) == 1 else name, own)
        elif numbered[name]:
            yield Layer(name, tuple(numbered[name]))
            numbered[name] = []


def _told_apart(layers: Sequence[Layer]) -> list[Layer]:
    """The layers, those after the first of a name numbered."""
    names = [layer.name for layer in layers]
    found = []
    for i, layer in enumerate(layers):
        before = names[:i].count(layer.name)
        found.append(Layer(f"{layer.name} ({before + 1})", layer.weights) if before else layer)
    return found
