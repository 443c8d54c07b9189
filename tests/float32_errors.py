"""How far an executor in float32 may be off: a running error bound through an imported graph.

A bound holds, for each value and each event, for the difference between exact arithmetic and *any*
evaluation in float32 that computes the graph's operations, in whatever order it sums. Each
operation adds its rounding, half a unit in the last place (u = 2**-24 relative), to what its
operands bring along.

`tolerance` is for quantised networks, beside exact values. A quantiser whose quotient lies farther
from a rounding boundary than its error keeps its code: the bound of the code is then 0, so that
errors do not add up from layer to layer. Where the bound of a code is not 0, the executor may be
off by that many codes: this is the derived distance within which disagreements must lie.

`steps` is for networks of floats, where bounds would grow from layer to layer: each value that an
executor shows is held to what follows from *its own* values in front of it, computed in float64.

Bounds of second order, and float64's own rounding, are covered by a factor of 1 + 2**-10.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from synth.ir import Graph, Node
from synth.ir.ops import (
    Abs,
    Add,
    Clip,
    Compare,
    Conv,
    Convert,
    Dense,
    Dequantise,
    Div,
    Function,
    HardSigmoid,
    LeakyRelu,
    MatMul,
    Maximum,
    MaxPool,
    Minimum,
    Movement,
    Mul,
    Neg,
    Pick,
    PRelu,
    Quantise,
    Reduce,
    Relu,
    Scatter,
    Select,
    Smallest,
    Softmax,
    Sub,
    SumPool,
)
from tests.rational import Exact, rational

__all__ = ["steps", "tolerance"]

Array = np.ndarray[Any, Any]
U = 2.0**-24
SLACK = 1 + 2.0**-10
FUNCTION = 10
"""Units of u by which exponentials and the like are off; NumPy's by up to 8, a tabled one less."""
TINY = 2.0**-126
"""What is smaller may be flushed to 0."""


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
        errors[node.output] = _error(node, values, errors, values[node.output])
    return exact[name], errors[name]


def steps(
    graph: Graph, shown: Mapping[str, Array], most: float
) -> Iterator[tuple[str, Array, Array]]:
    """Yield what follows from the values that an executor shows, and the bound of its error.

    Parameters
    ----------
    graph
        Imported.
    shown
        By name, [events, *shape]: all inputs, and whatever else the executor tells.
    most
        What an error is taken for at most, relative to the largest magnitude of its value or 1:
        over the steps of a recurrent layer, bounds would grow without end.

    Yields
    ------
    The name of a value that is shown; the exact value, from those shown in front of it; the bound.
    """
    values = {k: _wide(v) for k, v in shown.items() if k in graph.inputs}
    values |= {k: _wide(v[None]) for k, v in graph.constants.items()}
    errors = {k: np.zeros((1,) * values[k].ndim) for k in values}
    for node in graph.nodes:
        made = _wide(node.op.evaluate(*[values[x] for x in node.inputs]))
        cap = most * max(np.abs(made).max(initial=0), 1)
        error = np.minimum(_error(node, values, errors, made), cap)
        if node.output in shown:
            yield node.output, made, error
            made, error = _wide(shown[node.output]), np.zeros_like(error)
        values[node.output], errors[node.output] = made, error


def _wide(array: Array) -> Array:
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def _error(
    node: Node, values: Mapping[str, Array], errors: Mapping[str, Array], made: Array
) -> Array:
    operands = [(values[x], np.broadcast_to(errors[x], values[x].shape)) for x in node.inputs]
    if isinstance(node.op, Movement):
        error = node.op.evaluate(*[error for _, error in operands])
    else:
        error = _RULES[type(node.op)](node.op, made, *operands) * SLACK
    return np.broadcast_to(error, made.shape)


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


def _function(op: Function, made: Array, x: _Operand) -> Array:
    """Of monotonous functions; executors' own approximations are within some units.

    onnxruntime computes a sigmoid as 1/2 + ..., hence no better than 1/2 is rounded.
    """
    above, below = op.evaluate(x[0] + x[1]), op.evaluate(x[0] - x[1])
    moved = np.maximum(np.abs(above - made), np.abs(below - made))
    halves = 2 * U if op.name in {"sigmoid", "tanh"} else 0.0
    return np.asarray(moved + FUNCTION * U * np.abs(made) + halves)


def _softmax(op: Softmax, made: Array, x: _Operand) -> Array:
    """Each exponent errs by its operand's error and its rounding; the sum, as all of them do."""
    below = x[0].max(axis=op.axes, keepdims=True) - x[0]
    terms = int(np.prod([x[0].shape[axis] for axis in op.axes]))
    exponents = 2 * x[1].max(axis=op.axes, keepdims=True) + U * below
    mean = (made * exponents).sum(axis=op.axes, keepdims=True)
    return np.asarray(made * (exponents + mean + (terms + 2 * FUNCTION + 2) * U) + TINY)


def _compare(op: Any, made: Array, a: _Operand, b: _Operand) -> Array:
    """Return whether the answer is open."""
    error = a[1] + b[1]
    return np.asarray((error > 0) & (np.abs(a[0].astype(float) - b[0]) <= error), np.float64)


def _select(op: Any, made: Array, which: _Operand, a: _Operand, b: _Operand) -> Array:
    either = np.maximum(a[1], b[1]) + np.abs(a[0].astype(float) - b[0])
    return np.where(which[1] > 0, either, np.where(which[0], a[1], b[1]))


def _smallest(op: Smallest, made: Array, x: _Operand) -> Array:
    """Return how far off a position may be: anywhere, unless errors leave the order as it is."""
    ordered = np.sort(x[0], axis=-1)
    ordered = ordered[..., ::-1] if op.largest else ordered
    gaps = np.abs(np.diff(ordered[..., : op.count + 1])).min(axis=-1, initial=np.inf, keepdims=True)
    error = x[1].max(axis=-1, keepdims=True)
    return np.where((error > 0) & (gaps <= 2 * error), float(x[0].shape[-1]), 0.0)


def _pick(op: Any, made: Array, x: _Operand, positions: _Operand) -> Array:
    spread = x[0].max(axis=-1, keepdims=True) - x[0].min(axis=-1, keepdims=True)
    anywhere = spread + x[1].max(axis=-1, keepdims=True)
    error, _ = np.broadcast_arrays(x[1], x[0])
    return np.asarray(np.where(positions[1] > 0, anywhere, op.evaluate(error, positions[0])))


def _scatter(op: Scatter, made: Array, x: _Operand, places: _Operand, new: _Operand) -> Array:
    assert op.function == "replace"
    assert not places[1].any()
    error, _ = np.broadcast_arrays(x[1], x[0])
    return np.asarray(op.evaluate(error, places[0], new[1]))


_RULES: dict[type, Callable[..., Array]] = {
    Abs: _kept,
    Add: _sum,
    Clip: _kept,
    Compare: _compare,
    Conv: _weighted,
    Convert: _kept,
    Dense: _weighted,
    Dequantise: _dequantise,
    Div: _quotient,
    Function: _function,
    HardSigmoid: _line,
    LeakyRelu: _sloped,
    MatMul: _matmul,
    MaxPool: _window,
    Maximum: _kept,
    Minimum: _kept,
    Mul: _product,
    Neg: _kept,
    PRelu: _sloped,
    Pick: _pick,
    Quantise: _quantise,
    Reduce: _reduce,
    Relu: _kept,
    Scatter: _scatter,
    Select: _select,
    Smallest: _smallest,
    Softmax: _softmax,
    Sub: _sum,
    SumPool: _window,
}
