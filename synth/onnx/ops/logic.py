"""Comparisons, choice, logic, and bits of integers."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from synth.errors import FormatError
from synth.ir.ops import Bitwise, Compare, Select, Sub
from synth.onnx.context import Call, Value
from synth.onnx.registry import handles

__all__ = [
    "bits",
    "compare",
    "compare_with_axis",
    "complement",
    "infinite",
    "logic",
    "negation",
    "not_a_number",
    "shift",
    "where",
]

_RELATIONS: dict[str, Literal["<", "<=", ">", ">=", "=="]] = {
    "Less": "<",
    "LessOrEqual": "<=",
    "Greater": ">",
    "GreaterOrEqual": ">=",
    "Equal": "==",
}
_LOGIC: dict[str, Literal["and", "or", "xor"]] = {"And": "and", "Or": "or", "Xor": "xor"}


@handles("Less", "Greater", "Equal")
def compare_with_axis(call: Call) -> Value:
    """Before version 7 nothing is read that broadcasts by `axis`."""
    if call.integer("broadcast", 0):
        call.refuse("it broadcasts by an axis; export with operator set 7 or later")
    return _compare(call)


@handles("Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal", since=7)
def compare(call: Call) -> Value:
    """True where the relation holds."""
    return _compare(call)


def _compare(call: Call) -> Value:
    relation = Compare(_RELATIONS[call.node.op_type])
    return call.add(relation, *call.same_rank(call[0], call[1]))


@handles("Where", since=9)
def where(call: Call) -> Value:
    """``condition ? a : b``."""
    return call.add(Select(), *call.same_rank(call[0], call[1], call[2]))


@handles("Not")
def negation(call: Call) -> Value:
    """True where the operand is false."""
    return _not(call, call[0])


def _not(call: Call, x: Value) -> Value:
    return call.add(Compare("=="), x, call.constant(np.zeros((1,) * x.rank, bool)))


@handles("And", "Or", "Xor", since=7)
def logic(call: Call) -> Value:
    """Of two bools."""
    return call.add(Bitwise(_LOGIC[call.node.op_type]), *call.same_rank(call[0], call[1]))


@handles("BitwiseAnd", "BitwiseOr", "BitwiseXor", since=18)
def bits(call: Call) -> Value:
    """Of two integers, bit by bit."""
    function = _LOGIC[call.node.op_type.removeprefix("Bitwise")]
    return call.add(Bitwise(function), *call.same_rank(call[0], call[1]))


@handles("BitwiseNot", since=18)
def complement(call: Call) -> Value:
    """Every bit of an integer turned around."""
    x = call[0]
    if x.dtype[0] not in "iu":
        raise FormatError(f"{call.node}: its operand is {x.dtype}, not of integers")
    ones = np.invert(np.zeros((1,) * x.rank, x.dtype))
    return call.add(Bitwise("xor"), x, call.constant(ones))


@handles("BitShift", since=11)
def shift(call: Call) -> Value:
    """Unsigned integers, by as many bits as the second operand says."""
    direction = call.text("direction", "")
    if direction not in ("LEFT", "RIGHT"):
        raise FormatError(f"{call.node}: its direction is {direction!r}, not LEFT or RIGHT")
    function: Literal["left", "right"] = "left" if direction == "LEFT" else "right"
    return call.add(Bitwise(function), *call.same_rank(call[0], call[1]))


@handles("IsNaN", since=9)
def not_a_number(call: Call) -> Value:
    """NaN alone differs from itself."""
    return _not(call, call.add(Compare("=="), call[0], call[0]))


@handles("IsInf", since=10)
def infinite(call: Call) -> Value:
    """Whatever equals itself while its difference from itself does not."""
    x = call[0]
    difference = call.add(Sub(), x, x)
    finite = call.add(Compare("=="), difference, difference)
    found = [call.add(Bitwise("and"), call.add(Compare("=="), x, x), _not(call, finite))]
    zero = call.scalar(0.0, x)
    if not call.integer("detect_negative", 1):
        found.append(call.add(Compare(">"), x, zero))
    if not call.integer("detect_positive", 1):
        found.append(call.add(Compare("<"), x, zero))
    return _all(call, found)


def _all(call: Call, conditions: Sequence[Value]) -> Value:
    result = conditions[0]
    for condition in conditions[1:]:
        result = call.add(Bitwise("and"), result, condition)
    return result
