"""Sums, means and extremes over constant axes."""

from typing import Literal

import numpy as np

from synth.ir.ops import Mul, Reduce
from synth.onnx.context import Call, Value
from synth.onnx.registry import handles

__all__ = ["reduce_attribute", "reduce_operand"]

_FUNCTIONS: dict[str, Literal["sum", "max", "min"]] = {
    "ReduceSum": "sum",
    "ReduceMean": "sum",
    "ReduceMax": "max",
    "ReduceMin": "min",
}


@handles("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin")
def reduce_attribute(call: Call) -> Value:
    """The axes are an attribute."""
    return _reduce(call, call.integers("axes"))


@handles("ReduceSum", since=13)
@handles("ReduceMean", "ReduceMax", "ReduceMin", since=18)
def reduce_operand(call: Call) -> Value:
    """The axes are an operand."""
    axes = call.known_ints(1, "axes")
    if not axes and call.integer("noop_with_empty_axes", 0):
        return call[0]
    return _reduce(call, axes)


def _reduce(call: Call, given: tuple[int, ...] | None) -> Value:
    x = call[0]
    axes = call.axes(given or range(x.rank), x.rank)
    y = x
    if axes:
        y = call.add(Reduce(_FUNCTIONS[call.node.op_type], axes), x)
    if call.node.op_type == "ReduceMean":
        count = int(np.prod([x.shape[axis] for axis in axes]))
        y = call.add(Mul(), y, call.scalar(1.0 / max(count, 1), y))
    if call.integer("keepdims", 1):
        return y
    kept = [n for i, n in enumerate(x.shape) if i - x.rank not in axes]
    return call.reshape(y, kept)
