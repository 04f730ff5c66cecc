"""Dynamic int8: the products of the vision encoder and of the forward pass; gradients stay float32.

Quantised gradients lose the maps (docs/methods.md, Parity: cosine 0.98): one scale serves a whole activation, and the class token's
row dominates it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx_ir as ir
from onnxruntime.quantization import QuantType, quantize_dynamic

from xai.export.onnx import quiet, write_graphs
from xai.runtime.bundle.manifest import onnx_file

LEFT = ("embed_text",)
"""Graphs without products."""


def quantise(graphs: Mapping[str, ir.Model], scratch: Path) -> dict[str, ir.Model]:
    """The graphs with 8-bit products. Files that ONNX Runtime's quantiser needs are written to a folder in `scratch`; the result
    reads its weights from there, so it must be written before that is removed."""
    forward = {name: forward_products(model) for name, model in graphs.items() if name not in LEFT}
    for name, nodes in forward.items():
        transpose_weights(graphs[name], nodes)
    before, after = scratch / "float32", scratch / "int8"
    before.mkdir()
    after.mkdir()
    write_graphs(graphs, before)
    found = dict(graphs)
    for name, nodes in forward.items():
        with quiet(""):
            quantize_dynamic(
                before / onnx_file(name),
                after / onnx_file(name),
                op_types_to_quantize=["MatMul"],
                nodes_to_quantize=sorted(nodes),
                per_channel=True,
                weight_type=QuantType.QInt8,
                use_external_data_format=True,
                extra_options={"MatMulConstBOnly": True},
            )
        found[name] = ir.load(after / onnx_file(name))
    return found


def forward_products(model: ir.Model) -> set[str]:
    """Names of the products that the logits need, or where a graph has none, its first output."""
    outputs = {value.name: value for value in model.graph.outputs}
    found: set[ir.Node] = set()
    needed = [outputs.get("logits", model.graph.outputs[0]).producer()]
    while needed:
        node = needed.pop()
        if node is not None and node not in found:
            found.add(node)
            needed += [value.producer() for value in node.inputs if value is not None]
    return {node.name for node in found if node.op_type == "MatMul" and node.name is not None}


def transpose_weights(model: ir.Model, nodes: set[str]) -> None:
    """Give these products their weights as they read them: the quantiser does not look through a transposition."""
    graph = model.graph
    for node in graph:
        source = node.inputs[1].producer() if node.name in nodes and node.inputs[1] is not None else None
        weight = source.inputs[0] if source is not None and source.op_type == "Transpose" else None
        if weight is None or weight.const_value is None:
            continue
        name = f"{weight.name}.transposed"
        if name not in graph.initializers:
            tensor = ir.tensor(np.ascontiguousarray(weight.const_value.numpy().T), name=name)
            shape = ir.Shape(tensor.shape.numpy())
            graph.register_initializer(ir.Value(name=name, const_value=tensor, shape=shape, type=ir.TensorType(tensor.dtype)))
        node.replace_input_with(1, graph.initializers[name])
