"""Sums, products, quotients and extremes, with broadcasting."""

from collections.abc import Callable

import numpy as np

from synth.errors import ShapeError
from synth.exact import Array
from synth.ir.op import Op
from synth.ir.ops import Abs, Add, Div, Function, Maximum, Minimum, Mul, Neg, Sub
from synth.onnx.context import Call, Value
from synth.onnx.registry import handles

__all__ = ["absolute", "binary", "binary_with_axis", "neg", "power", "variadic"]

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
    if kind == "Div" and a.array is not None and b.array is not None and a.array.dtype.kind in "iu":
        return _integer_quotient(call, a, b)
    return call.add(_BINARY[kind](), *call.same_rank(a, b))


def _integer_quotient(call: Call, a: Value, b: Value) -> Value:
    """Quotients of sizes are truncated towards zero."""
    assert a.array is not None
    assert b.array is not None
    if not b.array.all():
        raise ShapeError(f"{call.node}: an integer is divided by zero")
    return call.constant(call.fold(_truncated, a.array, b.array), like=a)


def _truncated(a: Array, b: Array) -> Array:
    quotient: Array = np.abs(a) // np.abs(b) * np.sign(a) * np.sign(b)
    return quotient.astype(a.dtype)


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


@handles("Pow")
def power(call: Call) -> Value:
    """Constant exponents of which a product or a table makes the power."""
    x, exponent = call[0], call[1]
    if x.array is not None and exponent.array is not None:
        result = call.fold(lambda a, b: np.power(a, b).astype(a.dtype), x.array, exponent.array)
        return call.constant(result, like=x)
    number = call.known_float(1, "exponents")
    if number == 1:
        return x
    if number in (0.5, -1.0):
        return call.add(Function("sqrt" if number == 0.5 else "reciprocal"), x)
    if number not in (2, 3):
        call.refuse(f"its exponent is {number}; only -1, 0.5, 1, 2 and 3 are read")
    square = call.add(Mul(), x, x)
    return square if number == 2 else call.add(Mul(), square, x)
