"""Functions that ONNX Runtime lacks in float64, against SciPy's and PyTorch's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from scipy.special import erf

from xai.export.float64 import DOMAIN, widen_erf

X = np.concatenate([np.linspace(-9, 9, 20001), [0.0, -0.0, 1e-300, -1e-9, 30, -700, np.inf, -np.inf]])


def make_graph(operation: str, kind: int) -> ir.Model:
    value = [helper.make_tensor_value_info(name, kind, ["n"]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node(operation, ["x"], ["y"])], "one", value[:1], value[1:])
    return ir.serde.deserialize_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10))


@pytest.mark.parametrize(
    ("operation", "expected"), [("Erf", erf), ("Gelu", lambda x: torch.nn.functional.gelu(torch.from_numpy(x)).numpy())]
)
def test_float64_is_computed_by_a_function(operation: str, expected, tmp_path: Path) -> None:
    model = make_graph(operation, TensorProto.DOUBLE)
    widen_erf(model, 20)
    path = tmp_path / "one.onnx"
    ir.save(model, path)
    onnx.checker.check_model(path, full_check=True)
    x = X[np.isfinite(X)] if operation == "Gelu" else X
    (found,) = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"x": x})
    assert found.dtype == np.float64
    assert abs(found - expected(x)).max() <= 1e-14


@pytest.mark.parametrize("operation", ["Erf", "Gelu"])
def test_float32_is_left_as_it_is(operation: str) -> None:
    model = make_graph(operation, TensorProto.FLOAT)
    widen_erf(model, 20)
    assert [node.op_type for node in model.graph] == [operation] and DOMAIN not in model.graph.opset_imports
