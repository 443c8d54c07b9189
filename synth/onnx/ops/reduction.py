"""Reductions over constant axes, and running sums."""

from collections.abc import Callable, Sequence

import numpy as np

from synth.errors import ShapeError
from synth.ir.ops import Abs, Add, CumSum, Div, Function, Mul, Pad, Reduce, Slice, Sub
from synth.onnx.context import Call, Value
from synth.onnx.registry import handles

__all__ = ["cumulative", "reduce_attribute", "reduce_operand"]

_Axes = tuple[int, ...]


@handles("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceSumSquare")
@handles("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp")
def reduce_attribute(call: Call) -> Value:
    """The axes are an attribute."""
    return _reduce(call, call.integers("axes"))


@handles("ReduceSum", since=13)
@handles("ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceSumSquare", since=18)
@handles("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", since=18)
def reduce_operand(call: Call) -> Value:
    """The axes are an operand."""
    axes = call.known_ints(1, "axes")
    if not axes and call.integer("noop_with_empty_axes", 0):
        return call[0] if call.node.op_type in _PLAIN else _RULES[call.node.op_type](call, ())
    return _reduce(call, axes)


def _reduce(call: Call, given: Sequence[int] | None) -> Value:
    x = call[0]
    axes = call.axes(given or range(x.rank), x.rank)
    y = _RULES[call.node.op_type](call, axes)
    if call.integer("keepdims", 1):
        return y
    kept = [n for i, n in enumerate(x.shape) if i - x.rank not in axes]
    return call.reshape(y, kept)


def _folded(call: Call, x: Value, function: str, axes: _Axes) -> Value:
    if not axes:
        return x
    if x.dtype == "bool":
        return call.convert(_folded(call, call.convert(x, "uint8"), function, axes), "bool")
    return call.add(Reduce(function, axes), x)  # type: ignore[arg-type]


def _mean(call: Call, axes: _Axes) -> Value:
    total = _folded(call, call[0], "sum", axes)
    count = int(np.prod([call[0].shape[axis] for axis in axes]))
    if not total.dtype.startswith("float"):
        return call.add(Div(), total, call.scalar(count, total))
    return call.add(Mul(), total, call.scalar(1.0 / max(count, 1), total))


def _sum_of_squares(call: Call, axes: _Axes) -> Value:
    return _folded(call, call.add(Mul(), call[0], call[0]), "sum", axes)


def _log_of_sum(call: Call, axes: _Axes) -> Value:
    total = _folded(call, call[0], "sum", axes)
    if total.array is not None and not total.array.all():
        call.refuse("it takes the logarithm of a sum that is 0")
    return call.add(Function("log"), total)


def _log_of_sum_of_exponentials(call: Call, axes: _Axes) -> Value:
    """The largest operand is taken out beforehand: no exponential overflows."""
    x = call[0]
    most = _folded(call, x, "max", axes)
    total = _folded(call, call.add(Function("exp"), call.add(Sub(), x, most)), "sum", axes)
    return call.add(Add(), call.add(Function("log"), total), most)


_PLAIN: dict[str, str] = {
    "ReduceSum": "sum",
    "ReduceMax": "max",
    "ReduceMin": "min",
    "ReduceProd": "prod",
}
_RULES: dict[str, Callable[[Call, _Axes], Value]] = {
    **{
        name: lambda call, axes: _folded(call, call[0], _PLAIN[call.node.op_type], axes)
        for name in _PLAIN
    },
    "ReduceMean": _mean,
    "ReduceSumSquare": _sum_of_squares,
    "ReduceL1": lambda call, axes: _folded(call, call.add(Abs(), call[0]), "sum", axes),
    "ReduceL2": lambda call, axes: call.add(Function("sqrt"), _sum_of_squares(call, axes)),
    "ReduceLogSum": _log_of_sum,
    "ReduceLogSumExp": _log_of_sum_of_exponentials,
}


@handles("CumSum", since=11)
def cumulative(call: Call) -> Value:
    """Sums of all elements up to each, itself included or not, from either end."""
    x = call[0]
    axis = call.axis(call.known_integer(1, "axis"), x.rank)
    size = x.shape[axis]
    if not size:
        raise ShapeError(f"{call.node}: it adds up along an axis of size 0")
    backwards = Slice((axis,), (size - 1,), (-1,), (size,))
    if call.integer("reverse", 0):
        x = call.add(backwards, x)
    y = call.add(CumSum(axis), x)
    if call.integer("exclusive", 0):
        pads = tuple((1, 0) if i == axis else (0, 0) for i in range(-x.rank, 0))
        y = call.add(Slice((axis,), (0,), (1,), (size,)), call.add(Pad(pads), y))
    return call.add(backwards, y) if call.integer("reverse", 0) else y
