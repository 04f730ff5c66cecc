"""Whether a graph takes and gives what its bundle's manifest says, before it runs and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from xai.base.errors import XaiError
from xai.runtime.bundle.manifest import GraphSpec, TensorSpec
from xai.runtime.bundle.signatures import IMAGE, JOINT, TEXT, describe_tensor
from xai.spectral.arrays import Array


class Declared(NamedTuple):
    """One input or output as a graph's own file declares it: a free axis is anything but a number, types have NumPy's names."""

    name: str
    dtype: str
    axes: Sequence[object]


def check_tensors(declared: Sequence[Declared], wanted: Mapping[str, TensorSpec], side: str, where: str) -> None:
    """Raises `XaiError`, which begins with `where`, unless inputs or outputs (`side`) are those wanted, in that order.

    An output that is called as an input has `_out` behind its name.
    """
    names = [tensor.name.removesuffix("_out") for tensor in declared]
    if names != list(wanted):
        odd = sorted(set(names) ^ set(wanted)) or names
        raise XaiError(f"{where} is not the graph that its manifest describes: its {side}s differ in {odd[0]!r}; export the bundle again")
    for tensor, spec in zip(declared, wanted.values(), strict=True):
        if tensor.dtype != spec.dtype or not _fits(tensor.axes, spec.axes):
            found = describe_tensor(TensorSpec(tensor.dtype, tuple(axis if isinstance(axis, int) else str(axis) for axis in tensor.axes)))
            raise XaiError(
                f"{where} is not the graph that its manifest describes: its {side} {tensor.name} is {found}, not {describe_tensor(spec)}; "
                "export the bundle again"
            )


def _fits(axes: Sequence[object], wanted: Sequence[int | str]) -> bool:
    return len(axes) == len(wanted) and all(
        axis == other if isinstance(other, int) else not isinstance(axis, int) for axis, other in zip(axes, wanted, strict=True)
    )


def check_outputs(spec: GraphSpec, inputs: Mapping[str, Array], outputs: Mapping[str, Array], where: str) -> None:
    """Raises `XaiError`, which begins with `where`, unless outputs have the types and the shapes that follow from the inputs'."""
    lengths = {axis: size for name, value in inputs.items() for axis, size in zip(spec.inputs[name].axes, value.shape, strict=True)}
    if TEXT in lengths and IMAGE in lengths:
        lengths[JOINT] = lengths[TEXT] + lengths[IMAGE]
    for name, value in outputs.items():
        axes = spec.outputs[name].axes
        # How many tokens a picture that keeps its shape becomes is the graph's to say.
        given = value.shape if len(value.shape) == len(axes) else axes
        shape = tuple(axis if isinstance(axis, int) else lengths.get(axis, size) for axis, size in zip(axes, given, strict=True))
        if str(value.dtype) != spec.outputs[name].dtype or value.shape != shape:
            raise XaiError(
                f"{where} gives {name} as {value.dtype}{list(value.shape)}, not as {spec.outputs[name].dtype}{list(shape)}: "
                "export the bundle again"
            )
