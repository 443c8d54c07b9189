"""Comparisons and choice; logic on constants."""

from typing import Literal

import numpy as np

from synth.ir.ops import Compare, Select
from synth.onnx.context import Call, Value
from synth.onnx.registry import handles

__all__ = ["compare", "logic", "negation", "where"]

_RELATIONS: dict[str, Literal["<", "<=", ">", ">=", "=="]] = {
    "Less": "<",
    "LessOrEqual": "<=",
    "Greater": ">",
    "GreaterOrEqual": ">=",
    "Equal": "==",
}
_LOGIC = {"And": np.logical_and, "Or": np.logical_or, "Xor": np.logical_xor}


@handles("Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal", since=7)
def compare(call: Call) -> Value:
    """True where the relation holds."""
    relation = Compare(_RELATIONS[call.node.op_type])
    return call.add(relation, *call.same_rank(call[0], call[1]))


@handles("Where", since=9)
def where(call: Call) -> Value:
    """``condition ? a : b``."""
    return call.add(Select(), *call.same_rank(call[0], call[1], call[2]))


@handles("Not")
def negation(call: Call) -> Value:
    """Of a constant, or of a comparison."""
    x = call[0]
    if x.array is not None:
        return call.constant(np.logical_not(x.array), like=x)
    return call.add(Compare("=="), x, call.constant(np.zeros((1,) * x.rank, bool)))


@handles("And", "Or", "Xor", since=7)
def logic(call: Call) -> Value:
    """Of constants only."""
    a, b = call.known(0, "operands"), call.known(1, "operands")
    return call.constant(call.fold(_LOGIC[call.node.op_type], a, b), like=call[0])
