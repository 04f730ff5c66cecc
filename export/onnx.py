"""ONNX writer: the exported graphs, with every weight once in one file beside them."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import onnx
import onnx_ir as ir
import torch
from onnx_ir.passes import common as passes
from onnxscript.optimizer import fold_constants_ir
from onnxscript.rewriter import rewrite
from onnxscript.rewriter.rules import common as rules
from torch import nn
from torch.export import Dim

from xai.export.derived import DerivedGraph
from xai.export.float64 import widen_erf
from xai.export.meter_evidence import EvidenceGraph
from xai.export.modules import Graph, example_inputs
from xai.runtime.bundle.manifest import WEIGHTS, GraphSpec, onnx_file

OPSET = 20
"""The newest that PyTorch's exporter writes without converting; it brought the last operator used here, Gelu."""

INLINE_BYTES = 1024
"""Smaller constants stay in the graph: ONNX Runtime reads shapes and axes while it optimises."""

MAX_LENGTH = 1 << 16
"""Of a free axis, for the exporter's arithmetic; nothing checks it when a graph runs."""

ALIGNMENT = 64
"""Bytes, of weights in their file."""

ROUNDS = 2
"""Of folding and rewriting; a third finds nothing."""

REWRITES = (
    *(rules.mul_by_1_rule, rules.add_0_rule, rules.sub_0_rule, rules.div_by_1_rule),
    *(rules.cast_constant_of_shape_rule, rules.cast_constant_of_shape_without_value_rule),
    *(rules.collapse_slice_rule, rules.collapse_slice2_rule, rules.materialize_reshape_shape_rule),
    *(rules.cast_cast_rule, rules.no_op_cast_rule, rules.no_op_expand_rule, rules.flatten_to_reshape_rule, rules.reshape_reshape_rule),
    *(rules.no_op_transpose_rule, rules.transpose_transpose_rule, rules.unsqueeze_unsqueeze_rule, rules.squeeze_reshape_1d_rule),
    *(rules.no_op_dynamic_scatter_nd_rule, rules.no_op_static_scatter_nd_rule),
)
"""onnxscript's own, but for operations that no graph here has, and for the one that joins two slices: it lists the whole graph at each
node, and takes minutes on one of thousands."""


def export_graphs(graphs: Sequence[Graph]) -> dict[str, ir.Model]:
    """Every graph as ONNX, in memory. Those that explain are pruned from one export."""
    found: dict[str, ir.Model] = {}
    explaining = {graph.name: graph.module for graph in graphs if isinstance(graph.module, EvidenceGraph | DerivedGraph)}
    outputs = {name: tensor for graph in graphs if graph.name in explaining for name, tensor in graph.spec.outputs.items()}
    whole: ir.Model | None = None
    for name, module, spec in graphs:
        if name not in explaining:
            found[name] = export_module(module, spec)
            continue
        if whole is None:
            whole = export_module(explaining[name].giving(list(outputs)), GraphSpec(spec.inputs, outputs))
        found[name] = prune(whole, spec)
    return found


def export_module(module: nn.Module, spec: GraphSpec) -> ir.Model:
    """Export one module with the free axes of `spec`."""
    free: dict[str, Dim] = {}
    for axis in (axis for tensor in spec.inputs.values() for axis in tensor.axes if isinstance(axis, str)):
        factor, _, name = axis.rpartition("*")
        length = free.setdefault(name, Dim(name, max=MAX_LENGTH))
        free[axis] = int(factor) * length if factor else length
    shapes = {name: {i: free[axis] for i, axis in enumerate(tensor.axes) if isinstance(axis, str)} for name, tensor in spec.inputs.items()}
    names = [output_name(name, spec) for name in spec.outputs]
    with quiet("torch.onnx"), torch.no_grad():
        # In two steps: `torch.onnx.export` of a module falls back to fixed sizes without a word where an axis cannot be free.
        program = torch.export.export(module, (), example_inputs(spec), dynamic_shapes=shapes, strict=False)
        exported = torch.onnx.export(program, output_names=names, opset_version=OPSET, dynamo=True, verbose=False, optimize=False)
    if exported is None:
        raise RuntimeError("torch.onnx.export returned nothing")
    model = exported.model
    optimise(model)
    passes.ClearMetadataAndDocStringPass()(model)
    widen_erf(model, OPSET)
    _name_axes(model, spec)
    return model


def optimise(model: ir.Model) -> None:
    """Make a graph smaller in place, as `onnxscript.optimizer.optimize_ir` does, in time that grows with its nodes.

    PyTorch would do so, too, and store the weights that only this graph uses transposed, which other graphs then cannot share.
    """

    def foldable(node: ir.Node) -> bool | None:
        return False if any(is_weight(value) for value in node.inputs) else None  # None: as onnxscript thinks

    passes.InlinePass()(model)
    for _ in range(ROUNDS):
        fold_constants_ir(model, onnx_shape_inference=True, should_fold=foldable)
        rewrite(model, REWRITES)
    for tidy in (
        passes.RemoveUnusedNodesPass(),
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        passes.LiftSubgraphInitializersToMainGraphPass(),
        passes.DeduplicateInitializersPass(),
        passes.CommonSubexpressionEliminationPass(),
        passes.OutputFixPass(),
        passes.NameFixPass(),
    ):
        tidy(model)


def is_weight(value: ir.Value | None) -> bool:
    """Whether a value is a constant that is stored in the file of weights."""
    return value is not None and value.const_value is not None and value.const_value.nbytes >= INLINE_BYTES


def output_name(name: str, spec: GraphSpec) -> str:
    """What an ONNX file calls an output: its own name, unless an input has that. Sessions go by the order."""
    return f"{name}_out" if name in spec.inputs else name


def prune(model: ir.Model, spec: GraphSpec) -> ir.Model:
    """A copy with the inputs and outputs of `spec`, without what they do not need; weights are shared."""
    pruned = model.clone()
    graph = pruned.graph
    outputs = {value.name: value for value in graph.outputs}
    graph.outputs[:] = [outputs[output_name(name, spec)] for name in spec.outputs]
    passes.RemoveUnusedNodesPass()(pruned)
    kept = [value for value in graph.inputs if value.name in spec.inputs]
    for value in graph.inputs:
        if value not in kept:  # it may still be asked for its length, which is the batch, axis 0 of every input
            value.replace_all_uses_with(kept[0])
    graph.inputs[:] = kept
    return pruned


def write_graphs(graphs: Mapping[str, ir.Model], folder: Path) -> None:
    """Write `NAME.onnx` for each graph and all their weights, equal ones once, to `weights.bin`; check the result."""
    offsets: dict[bytes, int] = {}
    with (folder / WEIGHTS).open("wb") as file:
        for model in graphs.values():
            for value in model.graph.initializers.values():
                tensor = value.const_value
                if tensor is None or not is_weight(value):
                    continue
                content = tensor.tobytes()
                key = hashlib.sha256(content).digest()
                if key not in offsets:
                    file.write(b"\0" * (-file.tell() % ALIGNMENT))
                    offsets[key] = file.tell()
                    file.write(content)
                shape = ir.Shape(tensor.shape.numpy())
                value.const_value = ir.ExternalTensor(
                    WEIGHTS, offsets[key], len(content), tensor.dtype, shape=shape, name=value.name or "", base_dir=folder
                )
    for name, model in graphs.items():
        path = folder / onnx_file(name)
        ir.save(model, path)
        onnx.checker.check_model(path, full_check=True)


def _name_axes(model: ir.Model, spec: GraphSpec) -> None:
    """An `ExportedProgram` numbers its free axes (s17, s27); call them as `spec` does."""
    names: dict[str, str] = {}
    for value in model.graph.inputs:
        for found, wanted in zip(value.shape or (), spec.inputs[value.name or ""].axes, strict=True):
            if isinstance(wanted, str):
                names[str(found)] = wanted
    for value, tensor in zip(model.graph.outputs, spec.outputs.values(), strict=True):
        for found, wanted in zip(value.shape or (), tensor.axes, strict=True):
            if isinstance(found, ir.SymbolicDim) and isinstance(wanted, str):
                names.setdefault(str(found), wanted)
    values = [*model.graph.inputs, *(output for node in model.graph for output in node.outputs)]
    for value in values:
        if value.shape is not None:
            value.shape = ir.Shape([names.get(str(axis), axis) if isinstance(axis, ir.SymbolicDim) else axis for axis in value.shape])


@contextmanager
def quiet(name: str) -> Iterator[None]:
    """Without what a logger says below an error, such as the exporter's notes on packages that are not installed."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
