"""A copy of a bundle whose weights are drawn anew, layer by layer, and put back."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xai.base.errors import XaiError
from xai.bench.sanity.weights import Floats, Layer, Network, Place, Stored, Weight, find_network, load_graphs
from xai.runtime.bundle.manifest import MANIFEST, WEIGHTS, Bundle, onnx_file

if TYPE_CHECKING:
    import onnx

INITIAL = 0.02
"""Standard deviation of what takes the place of a weight whose numbers are all the same, such as a bias that is 0: what networks of this
kind begin with (Devlin et al. 2019, arXiv 1810.04805)."""


def draw(values: Floats, digest: bytes, seed: int) -> Floats:
    """Numbers in place of a weight's, in its shape and type: each normal, with the mean and the standard deviation of the weight's own,
    so that what passes through the network keeps its scale; `INITIAL` stands for a deviation of 0.

    They depend on the seed and on the weight alone: the same weight is the same in every graph and every step.
    """
    rng = np.random.default_rng([seed, int.from_bytes(digest[:8], "little")])
    mean, deviation = float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
    drawn = rng.standard_normal(values.shape, dtype=np.float32)
    drawn *= deviation or INITIAL
    drawn += mean
    return drawn.astype(values.dtype)


class RedrawnBundle:
    """A copy of a bundle in `folder`, with the weights of some layers drawn anew from the seed. Close what runs it before it is changed:
    ONNX Runtime may hold its file of weights.

    It takes the room of the bundle on disk; of the weights, one at a time is in memory. Raises `XaiError` as `load_graphs` does, and where
    the copy cannot be written.
    """

    def __init__(self, bundle: Bundle, folder: Path, seed: int) -> None:
        self.seed = seed
        self.graphs = load_graphs(bundle)
        self.stored = Stored(bundle, load_graphs(bundle))
        self.network: Network = find_network(self.stored)
        self.bundle = Bundle(folder, bundle.manifest)
        try:
            for name in (MANIFEST, *bundle.manifest.files):
                shutil.copyfile(bundle.folder / name, folder / name)
        except OSError as error:
            raise XaiError(f"cannot copy {bundle.folder} to {folder}: {error.strerror}: name a roomier folder with TMPDIR") from error
        self.drawn: dict[str, Layer] = {}
        """The layers whose weights are drawn anew now, by name."""

    def redraw(self, layers: Iterable[Layer]) -> None:
        """Draw the weights of these layers anew, too."""
        self._change([layer for layer in layers if layer.name not in self.drawn], True)

    def redraw_all(self, seed: int) -> None:
        """Draw every weight anew, from another seed."""
        self.seed = seed
        self.drawn = {}
        self.redraw(self.network.layers)

    def restore(self) -> None:
        """Put every weight back."""
        self._change(list(self.drawn.values()), False)

    def redrawn(self, weight: Weight) -> Floats:
        """What a weight is, or would be, drawn to."""
        return draw(self.stored.read(weight.places[0]), weight.digest, self.seed)

    def _change(self, layers: list[Layer], anew: bool) -> None:
        tensors = {(graph, t.name): t for graph, model in self.graphs.items() for t in model.graph.initializer}
        changed = set()
        try:
            for weight in (weight for layer in layers for weight in layer.weights):
                values = self.redrawn(weight) if anew else self.stored.read(weight.places[0])
                for place in {(p.offset, p.turned) if p.offset is not None else (p.graph, p.name): p for p in weight.places}.values():
                    self._write(place, place.lay(values), tensors[place.graph, place.name])
                    if place.offset is None:
                        changed.add(place.graph)
            for graph in changed:
                self.bundle.file(onnx_file(graph)).write_bytes(self.graphs[graph].SerializeToString())
        except OSError as error:
            raise XaiError(f"cannot write to {self.bundle.folder}: {error.strerror}: name a roomier folder with TMPDIR") from error
        for layer in layers:
            if anew:
                self.drawn[layer.name] = layer
            else:
                del self.drawn[layer.name]

    def _write(self, place: Place, values: Floats, tensor: onnx.TensorProto) -> None:
        if place.offset is None:
            from onnx import numpy_helper

            tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), place.name))
            return
        with self.bundle.file(WEIGHTS).open("r+b") as file:
            file.seek(place.offset)
            file.write(np.ascontiguousarray(values).data)
