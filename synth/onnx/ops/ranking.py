"""What depends on the order of elements: ArgMax, ArgMin, TopK, Hardmax."""

from collections.abc import Sequence

import numpy as np

from synth.errors import ShapeError
from synth.ir.ops import Compare, Pick, Smallest, Transpose
from synth.onnx.context import Call, Value
from synth.onnx.registry import handles

__all__ = ["extreme", "hardmax", "hardmax_flattened", "top", "top_attribute", "top_operand"]


@handles("ArgMax", "ArgMin")
def extreme(call: Call) -> Value:
    """The position of the greatest or least element; of equal ones, the first or the last."""
    x = call[0]
    axis = call.axis(call.integer("axis", 0), x.rank)
    largest, last = call.node.op_type == "ArgMax", bool(call.integer("select_last_index", 0))
    found = _along_last(call, x, axis, Smallest(1, largest, last))
    if call.integer("keepdims", 1):
        return found
    return call.reshape(found, [n for i, n in enumerate(x.shape) if i - x.rank != axis])


@handles("TopK")
def top_attribute(call: Call) -> Sequence[Value]:
    """Before version 10 the number is an attribute."""
    return top(call, call.integer("k"), largest=True)


@handles("TopK", since=10)
def top_operand(call: Call) -> Sequence[Value]:
    """The number is an operand, which must be known."""
    return top(call, call.known_integer(1, "number"), largest=bool(call.integer("largest", 1)))


def top(call: Call, count: int, *, largest: bool) -> Sequence[Value]:
    """Return the greatest or least elements in order, which "unsorted" allows too, and where."""
    x = call[0]
    axis = call.axis(call.integer("axis", -1), x.rank)
    if not 0 < count <= x.shape[axis]:
        raise ShapeError(f"{call.node}: {count} elements of an axis of {x.shape[axis]}")
    swapped = _swapped(call, x, axis)
    places = call.add(Smallest(count, largest), swapped)
    values = call.add(Pick(), swapped, places)
    return [_swapped(call, value, axis) for value in (values, places)]


def _along_last(call: Call, x: Value, axis: int, op: Smallest) -> Value:
    return _swapped(call, call.add(op, _swapped(call, x, axis)), axis)


def _swapped(call: Call, x: Value, axis: int) -> Value:
    """Return x with an axis and the last one exchanged."""
    if axis == -1:
        return x
    order = list(range(x.rank))
    order[axis], order[-1] = order[-1], order[axis]
    return call.add(Transpose(tuple(order)), x)


@handles("Hardmax")
def hardmax_flattened(call: Call) -> Value:
    """Before version 13 all axes from `axis` on are one."""
    x = call[0]
    axis = call.integer("axis", 1)
    first = x.rank if axis == x.rank else call.axis(axis, x.rank) + x.rank
    rows = int(np.prod(x.shape[:first]))
    flat = call.reshape(x, (rows, int(np.prod(x.shape[first:]))))
    return call.reshape(_hardmax(call, flat, -1), x.shape)


@handles("Hardmax", since=13)
def hardmax(call: Call) -> Value:
    """1 at the first of the largest elements along an axis, else 0."""
    x = call[0]
    return _hardmax(call, x, call.axis(call.integer("axis", -1), x.rank))


def _hardmax(call: Call, x: Value, axis: int) -> Value:
    place = _along_last(call, x, axis, Smallest(1, largest=True))
    shape = [1] * x.rank
    shape[axis] = x.shape[axis]
    every = call.constant(np.arange(x.shape[axis]).reshape(shape), role="index")
    return call.convert(call.add(Compare("=="), place, every), x.dtype)
