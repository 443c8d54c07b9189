"""Softmax and LogSoftmax."""

from synth.ir.ops import Function, Reduce, Softmax, Sub
from synth.onnx.context import Call, Value
from synth.onnx.registry import handles

__all__ = ["flattened", "single"]


@handles("Softmax", "LogSoftmax")
def flattened(call: Call) -> Value:
    """Before version 13 all axes from `axis` on are one."""
    rank = call[0].rank
    axis = call.integer("axis", 1)
    first = 0 if axis == rank else call.axis(axis, rank)
    return _softmax(call, tuple(range(first, 0)))


@handles("Softmax", "LogSoftmax", since=13)
def single(call: Call) -> Value:
    """From version 13 on one axis, by default the last."""
    return _softmax(call, (call.axis(call.integer("axis", -1), call[0].rank),))


def _softmax(call: Call, axes: tuple[int, ...]) -> Value:
    x = call[0]
    if call.node.op_type == "Softmax":
        return call.add(Softmax(axes), x)
    shifted = call.add(Sub(), x, call.add(Reduce("max", axes), x), role="accumulator")
    powers = call.add(Function("exp"), shifted, role="table")
    total = call.add(Reduce("sum", axes), powers, role="accumulator")
    return call.add(Sub(), shifted, call.add(Function("log"), total, role="table"))
