"""Arithmetic on each element, with broadcasting."""

import math
from collections.abc import Callable

import numpy as np

from synth.errors import ShapeError
from synth.ir.op import Op
from synth.ir.ops import (
    Abs,
    Add,
    Convert,
    Div,
    Function,
    Maximum,
    Minimum,
    Mod,
    Mul,
    Neg,
    Pow,
    Sub,
)
from synth.onnx.context import Call, Value
from synth.onnx.registry import handles

__all__ = ["absolute", "binary", "binary_with_axis", "modulo", "neg", "power", "variadic"]

_BINARY: dict[str, Callable[[], Op]] = {"Add": Add, "Sub": Sub, "Mul": Mul, "Div": Div}
_VARIADIC: dict[str, Callable[[], Op]] = {"Max": Maximum, "Min": Minimum, "Sum": Add, "Mean": Add}


@handles("Add", "Sub", "Mul", "Div")
def binary_with_axis(call: Call) -> Value:
    """Before version 7 the second operand's axes are matched with those from `axis` on."""
    a, b = call[0], call[1]
    if call.integer("broadcast", 0):
        axis = call.axis(call.integer("axis", a.rank - b.rank), a.rank) if b.rank else 0
        behind = -axis - b.rank
        if behind < 0 and b.rank:
            raise ShapeError(f"{call.node}: shape {b.shape} does not fit {a.shape} at axis {axis}")
        b = call.reshape(b, (*b.shape, *(1 for _ in range(behind))))
    return _binary(call, a, b)


@handles("Add", "Sub", "Mul", "Div", since=7)
def binary(call: Call) -> Value:
    """NumPy's broadcasting."""
    return _binary(call, call[0], call[1])


def _binary(call: Call, a: Value, b: Value) -> Value:
    kind = call.node.op_type
    constant = kind == "Div" and b.array is not None and b.array.dtype.kind in "iu"
    if constant and b.array is not None and not b.array.all():
        raise ShapeError(f"{call.node}: an integer is divided by zero")
    return call.add(_BINARY[kind](), *call.same_rank(a, b))


@handles("Max", "Min", "Sum", "Mean")
def variadic(call: Call) -> Value:
    """Any number of operands, from left to right."""
    operands = call.all()
    result = operands[0]
    for operand in operands[1:]:
        result = call.add(_VARIADIC[call.node.op_type](), *call.same_rank(result, operand))
    if call.node.op_type == "Mean" and len(operands) > 1:
        result = call.add(Mul(), result, call.scalar(1.0 / len(operands), result))
    return result


@handles("Neg")
def neg(call: Call) -> Value:
    """``-x``."""
    return call.add(Neg(), call[0])


@handles("Abs")
def absolute(call: Call) -> Value:
    """``|x|``."""
    return call.add(Abs(), call[0])


@handles("Mod", since=10)
def modulo(call: Call) -> Value:
    """The remainder, with the divisor's sign or, as in C, the dividend's."""
    fmod = bool(call.integer("fmod", 0))
    if not fmod and call[0].dtype.startswith("float"):
        call.refuse("it takes the remainder of floats without fmod=1")
    return call.add(Mod(fmod), *call.same_rank(call[0], call[1]))


@handles("Pow")
def power(call: Call) -> Value:
    """Constant exponents of which a product or a table makes the power, or any others."""
    x, exponent = call[0], call[1]
    number = _number(exponent)
    if x.array is None and x.dtype.startswith("float") and number is not None:
        if number == 1:
            return x
        if number in (0.5, -1.0):
            return call.add(Function("sqrt" if number == 0.5 else "reciprocal"), x)
        if number in (2, 3):
            square = call.add(Mul(), x, x)
            return square if number == 2 else call.add(Mul(), square, x)
    return _general(call, x, exponent)


def _number(exponent: Value) -> float | None:
    """Return the exponent if it is the same for all elements."""
    if exponent.array is None or exponent.array.size != 1:
        return None
    number = float(exponent.array.reshape(()))
    return number if math.isfinite(number) else None


def _general(call: Call, x: Value, exponent: Value) -> Value:
    """The result has the element type of the base; both are computed in the wider of two types."""
    wide = np.result_type(x.dtype, exponent.dtype).name
    a, b = (
        value if value.dtype == wide else call.add(Convert(wide), value) for value in (x, exponent)
    )
    y = call.add(Pow(), *call.same_rank(a, b))
    return y if wide == x.dtype else call.add(Convert(x.dtype), y)
