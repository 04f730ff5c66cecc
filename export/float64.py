"""What ONNX Runtime does not compute in float64, in operations that it does: the error function, and with it GELU.

erfc(z) = t exp(P(2 t - 1) - z^2) for z >= 0, with t = 2 / (2 + z) and a sum P of Chebyshev polynomials that is interpolated when a graph
is written: erf is correct to 1e-14 (Press et al., *Numerical Recipes*, 3rd edition, section 6.2.2, has the form).
"""

from __future__ import annotations

import math

import numpy as np
import onnx
import onnx_ir as ir
from numpy.polynomial import chebyshev
from numpy.typing import NDArray
from onnx import NodeProto, helper
from scipy.special import erfcx

DOMAIN = "xai"
DEGREE = 24
"""Of P; its next coefficients are smaller than a rounding."""


def widen_erf(model: ir.Model, opset: int) -> None:
    """Put functions in place of every Erf and Gelu of float64 in a graph."""
    wide = [node for node in model.graph if node.op_type in ("Erf", "Gelu") and any(_is_wide(value) for value in node.inputs)]
    for node in wide:
        node.domain, node.op_type = DOMAIN, f"{node.op_type}64"
        node.attributes.clear()
    if wide:
        model.graph.opset_imports[DOMAIN] = 1
        for name, nodes in (("Erf64", write_erf()), ("Gelu64", write_gelu())):
            opsets = [helper.make_opsetid("", opset), helper.make_opsetid(DOMAIN, 1)]
            function = ir.serde.deserialize_function(helper.make_function(DOMAIN, name, ["x"], ["y"], nodes, opsets))
            model.functions[function.identifier()] = function


def erf_coefficients() -> NDArray[np.float64]:
    """P's coefficients, the constant's first."""

    def exponent(u: NDArray[np.float64]) -> NDArray[np.float64]:
        t = (u + 1) / 2
        return np.asarray(np.log(erfcx(2 / t - 2) / t))

    return np.asarray(chebyshev.chebfit(points := chebyshev.chebpts1(DEGREE + 1), exponent(points), DEGREE))


def write_erf() -> list[NodeProto]:
    """The operations of erf, from x to y, P by Clenshaw's recurrence."""
    c = erf_coefficients()
    nodes = [_number(f"c{i}", value) for i, value in enumerate(c)] + [_number("one", 1), _number("two", 2)]
    steps = [
        ("Abs", "x", "z"),
        ("Add", "two", "z", "sum"),
        ("Div", "two", "sum", "t"),
        ("Mul", "two", "t", "twice"),
        ("Sub", "twice", "one", "u"),
        ("Mul", "two", "u", "2u"),
    ]
    low, high = f"c{DEGREE - 1}", f"c{DEGREE}"
    for i in range(DEGREE - 2, -1, -1):
        steps += [("Sub", f"c{i}", high, f"low{i}"), ("Mul", high, "2u", f"product{i}"), ("Add", low, f"product{i}", f"high{i}")]
        low, high = f"low{i}", f"high{i}"
    steps += [
        ("Mul", high, "u", "last"),
        ("Add", low, "last", "p"),
        ("Mul", "z", "z", "zz"),
        ("Sub", "p", "zz", "exponent"),
        ("Exp", "exponent", "power"),
        ("Mul", "t", "power", "erfc"),
        ("Sub", "one", "erfc", "erf"),
        ("Sign", "x", "sign"),
        ("Mul", "sign", "erf", "y"),
    ]
    return nodes + [helper.make_node(kind, inputs, [output]) for kind, *inputs, output in steps]


def write_gelu() -> list[NodeProto]:
    """The operations of x (1 + erf(x / sqrt(2))) / 2."""
    return [
        _number("half", 0.5),
        _number("one", 1),
        _number("root", math.sqrt(0.5)),
        helper.make_node("Mul", ["x", "root"], ["scaled"]),
        helper.make_node("Erf64", ["scaled"], ["erf"], domain=DOMAIN),
        helper.make_node("Add", ["one", "erf"], ["twice"]),
        helper.make_node("Mul", ["x", "half"], ["halved"]),
        helper.make_node("Mul", ["halved", "twice"], ["y"]),
    ]


def _number(name: str, value: float) -> NodeProto:
    return helper.make_node("Constant", [], [name], value=helper.make_tensor(name, onnx.TensorProto.DOUBLE, [], [value]))


def _is_wide(value: ir.Value | None) -> bool:
    return value is not None and value.dtype == ir.DataType.DOUBLE
