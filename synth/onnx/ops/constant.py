"""Constants, shapes, element types, and what does nothing when a model is evaluated."""

import math
from collections.abc import Sequence

import numpy as np

from synth.errors import FormatError
from synth.ir.ops import Convert, Select
from synth.onnx.context import Call, Value
from synth.onnx.registry import handles

__all__ = [
    "arithmetic_sequence",
    "cast",
    "cast_like",
    "constant",
    "constant_of_shape",
    "dropout",
    "eye",
    "identity",
    "nonzero",
    "shape",
    "size",
]

_CAST = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float32",
    11: "float64",
    12: "uint32",
    13: "uint64",
    16: "float32",
}
"""ONNX's codes of element types; float16 and bfloat16 are carried in float32."""
_BFLOAT16 = 16
"""Into which nothing is cast: of float32's 24 bits it keeps 8, so results would differ visibly."""


@handles("Identity")
def identity(call: Call) -> Value:
    """The operand itself."""
    return call[0]


@handles("Dropout")
def dropout(call: Call) -> Sequence[Value]:
    """The operand itself, and a mask that keeps everything."""
    x = call[0]
    if call.optional(2) is not None and call.known(2, "modes").any():
        call.refuse("it is in training mode; export the model in evaluation mode")
    if not any(call.used[1:]):
        return [x]
    call.limit(x.shape)
    return [x, call.constant(np.ones(x.shape, bool if call.version >= 10 else x.dtype))]


@handles("Constant")
def constant(call: Call) -> Value:
    """A tensor, a number or a list of numbers."""
    attributes = call.node.attributes
    if isinstance(value := attributes.get("value"), np.ndarray):
        return call.constant(value)
    if "value_float" in attributes:
        return call.constant(np.array(call.number("value_float"), np.float32))
    if "value_int" in attributes:
        return call.constant(np.array(call.integer("value_int"), np.int64))
    if "value_floats" in attributes:
        return call.constant(np.array(call.numbers("value_floats"), np.float32))
    if "value_ints" in attributes:
        return call.constant(np.array(call.integers("value_ints"), np.int64))
    held = ", ".join(attributes) or "nothing"
    return call.refuse(f"it holds {held}; only tensors and numbers are read")


@handles("ConstantOfShape", since=9)
def constant_of_shape(call: Call) -> Value:
    """One number everywhere, by default a float zero."""
    shape = call.known_ints(0, "sizes") or ()
    value = call.node.attributes.get("value", np.zeros(1, np.float32))
    if not isinstance(value, np.ndarray) or value.size != 1 or min(shape, default=0) < 0:
        raise FormatError(f"{call.node}: it fills the shape {shape} with {value!r}")
    call.limit(shape)
    return call.constant(np.full(shape, value.reshape(())))


@handles("Shape")
def shape(call: Call) -> Value:
    """Every shape is known; from version 15 on `start` and `end` cut a part out."""
    end = call.integer("end", call[0].rank)
    return call.constant(np.array(call[0].shape[call.integer("start", 0) : end], np.int64))


@handles("Size")
def size(call: Call) -> Value:
    """The number of elements."""
    return call.constant(np.array(math.prod(call[0].shape), np.int64))


@handles("Range", since=11)
def arithmetic_sequence(call: Call) -> Value:
    """From start up to, and without, a limit."""
    start, limit, delta = (call.known_scalar(i, "bound") for i in range(3))
    if delta == 0 or not all(np.isfinite(n) for n in (start, limit, delta)):
        raise FormatError(f"{call.node}: no range from {start} to {limit} in steps of {delta}")
    count = max(math.ceil((limit - start) / delta), 0)
    call.limit((count,))
    return call.constant(call.fold(lambda: (start + np.arange(count) * delta).astype(start.dtype)))


@handles("Cast", since=6)
def cast(call: Call) -> Value:
    """Floats stay floats of their own width where a graph of one event keeps them anyway."""
    code = call.integer("to")
    if code not in _CAST or code == _BFLOAT16:
        call.refuse(f"it casts to the element type {code}")
    return _cast(call, call[0], _CAST[code])


@handles("CastLike", since=15)
def cast_like(call: Call) -> Value:
    """Into the element type of the second operand."""
    if call[1].bits:
        call.refuse(f"it casts to integers of {call[1].bits} bits")
    return _cast(call, call[0], call[1].dtype)


def _cast(call: Call, x: Value, target: str) -> Value:
    if x.array is not None:
        with np.errstate(all="ignore"):
            return call.constant(x.array.astype(target), like=x)
    if target == x.dtype:
        return x
    if x.dtype == "bool" and target.startswith("float"):
        # A comparison becomes the numbers 0 and 1, which hardware has too.
        one, zero = (call.constant(np.full((1,) * x.rank, n, target)) for n in (1, 0))
        return call.add(Select(), x, one, zero)
    return call.add(Convert(target), x)


@handles("EyeLike", since=9)
def eye(call: Call) -> Value:
    """Ones on a diagonal of a matrix as large as the operand."""
    x = call[0]
    if x.rank != 2:
        raise FormatError(f"{call.node}: its operand has the shape {x.shape}, which is no matrix")
    dtype = _CAST[call.integer("dtype")] if "dtype" in call.node.attributes else x.dtype
    call.limit(x.shape)
    return call.constant(np.eye(x.shape[0], x.shape[1], call.integer("k", 0)).astype(dtype))


@handles("NonZero", since=9)
def nonzero(call: Call) -> Value:
    """Known only of constants, as its size depends on what it is given."""
    places = np.nonzero(np.atleast_1d(call.known(0, "operands")))
    return call.constant(np.stack(places).astype(np.int64))
