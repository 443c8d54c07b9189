"""How far an executor in float32 may be off: a running error bound through a quantised network.

`tolerance` returns, for each value of an imported graph and each event, a bound of the difference
between exact arithmetic and *any* evaluation in float32 that computes the graph's operations, in
whatever order it sums. Each operation adds its rounding, half a unit in the last place (u = 2**-24
relative), to what its operands bring along. A quantiser whose quotient lies farther from a rounding
boundary than its error keeps its code: the bound of the code is then 0, so that errors do not add
up from layer to layer. Where the bound of a code is not 0, the executor may be off by that many
codes: this is the derived distance within which disagreements must lie.

Bounds of second order are covered by a factor of 1 + 2**-10.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from synth.ir import Graph, Node
from synth.ir.ops import (
    Abs,
    Add,
    Clip,
    Conv,
    Convert,
    Dense,
    Dequantise,
    Div,
    HardSigmoid,
    LeakyRelu,
    MatMul,
    Maximum,
    MaxPool,
    Minimum,
    Movement,
    Mul,
    Neg,
    PRelu,
    Quantise,
    Reduce,
    Relu,
    Sub,
    SumPool,
)
from tests.rational import Exact, rational

__all__ = ["tolerance"]

Array = np.ndarray[Any, Any]
U = 2.0**-24
SLACK = 1 + 2.0**-10


def tolerance(
    graph: Graph, feeds: Mapping[str, Array], wanted: str | None = None
) -> tuple[Exact, Array]:
    """Return an exact value, by default the graph's only output, and the bound of its error."""
    name = wanted or graph.outputs[0]
    nodes = _needed(graph, name)
    exact = rational(graph, feeds, [*graph.inputs, *(node.output for node in nodes)])
    values = {k: v.floats for k, v in exact.items()}
    values |= {k: v[None].astype(np.float64) for k, v in graph.constants.items()}
    errors = {k: np.zeros((1,) * np.ndim(values[k])) for k in (*graph.inputs, *graph.constants)}
    for node in nodes:
        operands = [(values[x], np.broadcast_to(errors[x], values[x].shape)) for x in node.inputs]
        made = values[node.output]
        if isinstance(node.op, Movement):
            error = node.op.evaluate(*[error for _, error in operands])
        else:
            error = _RULES[type(node.op)](node.op, made, *operands) * SLACK
        errors[node.output] = np.broadcast_to(error, made.shape)
    return exact[name], errors[name]


def _needed(graph: Graph, name: str) -> list[Node]:
    needed, nodes = {name}, []
    for node in reversed(graph.nodes):
        if node.output in needed:
            needed.update(node.inputs)
            nodes.append(node)
    return nodes[::-1]


_Operand = tuple[Array, Array]
"""Values and bounds of their errors."""


def _sum(op: Any, made: Array, a: _Operand, b: _Operand) -> Array:
    return np.asarray(a[1] + b[1] + U * np.abs(made))


def _product(op: Any, made: Array, a: _Operand, b: _Operand) -> Array:
    return np.asarray(np.abs(a[0]) * b[1] + np.abs(b[0]) * a[1] + a[1] * b[1] + U * np.abs(made))


def _quotient(op: Any, made: Array, a: _Operand, b: _Operand) -> Array:
    return np.asarray(a[1] / np.abs(b[0]) + U * np.abs(made))


def _kept(op: Any, made: Array, *operands: _Operand) -> Array:
    """Choose among operands, or change a sign: nothing is rounded."""
    error = operands[0][1]
    for operand in operands[1:]:
        error = np.maximum(error, operand[1])
    return error


def _sloped(op: Any, made: Array, x: _Operand, *slope: _Operand) -> Array:
    steepest = max(abs(getattr(op, "alpha", 1.0)), 1.0)
    if slope:
        steepest = float(max(np.abs(slope[0][0]).max(), 1.0))
    return np.asarray(steepest * x[1] + U * np.abs(made))


def _line(op: Any, made: Array, x: _Operand) -> Array:
    # The parameters are rounded to float32 on both sides.
    return np.asarray(abs(op.alpha) * x[1] + 2 * U * (np.abs(op.alpha * x[0]) + abs(op.beta)))


def _weighted(op: Any, made: Array, x: _Operand, w: _Operand, *bias: _Operand) -> Array:
    """A sum of K products in any order errs by (K + 1) u of the sum of their magnitudes.

    Kernels err by their own rounding to float32.
    """
    terms = int(np.prod(w[0].shape[1:-1]))
    size = op.evaluate(np.abs(x[0]), np.abs(w[0]))
    error = op.evaluate(x[1], np.abs(w[0])) + (terms + 2) * U * size
    if bias:
        error += 2 * U * (np.abs(bias[0][0]) + size)
    return np.asarray(error)


def _matmul(op: Any, made: Array, a: _Operand, b: _Operand) -> Array:
    size = np.abs(a[0]) @ np.abs(b[0])
    error = a[1] @ np.abs(b[0]) + np.abs(a[0]) @ b[1] + a[1] @ b[1]
    return np.asarray(error + (a[0].shape[-1] + 1) * U * size)


def _window(op: Any, made: Array, x: _Operand) -> Array:
    terms = int(np.prod(op.window.kernel))
    if isinstance(op, MaxPool):
        return np.asarray(op.evaluate(x[1]))
    return np.asarray(op.evaluate(x[1]) + terms * U * op.evaluate(np.abs(x[0])))


def _reduce(op: Any, made: Array, x: _Operand) -> Array:
    assert op.function != "prod"
    terms = int(np.prod([x[0].shape[axis] for axis in op.axes]))
    if op.function == "sum":
        return np.asarray(op.evaluate(x[1]) + terms * U * op.evaluate(np.abs(x[0])))
    return np.asarray(x[1].max(axis=op.axes, keepdims=True))


def _quantise(op: Quantise, made: Array, x: _Operand, *parameters: _Operand) -> Array:
    """Say by how many codes an operand off by its error, and by the quotient's, can be off."""
    scale, zero, lo, hi = (p[0] for p in parameters)
    quotient = np.abs(x[0] / scale)
    # The quotient is rounded, then its sum with the zero point; 2**-50 for this very estimate.
    error = x[1] + scale * (U * quotient + (zero != 0) * U * (quotient + np.abs(zero)))
    error = error * SLACK + (error > 0) * 2.0**-50 * np.abs(x[0])
    above = op.evaluate(x[0] + error, scale, zero, lo, hi)
    below = op.evaluate(x[0] - error, scale, zero, lo, hi)
    return np.asarray(np.maximum(above - made, made - below))


def _dequantise(op: Any, made: Array, code: _Operand, *parameters: _Operand) -> Array:
    return np.asarray(code[1] * parameters[0][0] + 2 * U * np.abs(made))


_RULES: dict[type, Callable[..., Array]] = {
    Abs: _kept,
    Add: _sum,
    Clip: _kept,
    Conv: _weighted,
    Convert: _kept,
    Dense: _weighted,
    Dequantise: _dequantise,
    Div: _quotient,
    HardSigmoid: _line,
    LeakyRelu: _sloped,
    MatMul: _matmul,
    MaxPool: _window,
    Maximum: _kept,
    Minimum: _kept,
    Mul: _product,
    Neg: _kept,
    PRelu: _sloped,
    Quantise: _quantise,
    Reduce: _reduce,
    Relu: _kept,
    Sub: _sum,
    SumPool: _window,
}
