"""Gelu and its relatives: the operand times a function of itself."""

import math

from synth.ir.ops import Add, Function, Mul
from synth.onnx.context import Call, Value
from synth.onnx.registry import handles

__all__ = ["gelu", "gelu_of"]


@handles("Gelu", since=20)
def gelu(call: Call) -> Value:
    """``x / 2 (1 + erf(x / sqrt(2)))``, or its approximation by a hyperbolic tangent."""
    mode = call.text("approximate", "none")
    if mode not in ("none", "tanh"):
        call.refuse(f"its approximation is {mode!r}; none and tanh are read")
    return gelu_of(call, call[0], approximate=mode == "tanh")


def gelu_of(call: Call, x: Value, *, approximate: bool) -> Value:
    """Return ``x / 2 (1 + f(x))``, f being an error function or what approximates it."""
    inner = _cubic(call, x) if approximate else _times(call, x, math.sqrt(0.5))
    function = Function("tanh" if approximate else "erf")
    share = call.add(function, inner, role="table")
    share = call.add(Add(), share, call.scalar(1.0, x), role="share")
    return call.add(Mul(), _times(call, x, 0.5), share)


def _cubic(call: Call, x: Value) -> Value:
    """Return ``sqrt(2 / pi) (x + 0.044715 x x x)``."""
    square = call.add(Mul(), x, x, role="square")
    line = call.add(Add(), _times(call, square, 0.044715), call.scalar(1.0, x), role="line")
    return _times(call, call.add(Mul(), x, line, role="inner"), math.sqrt(2 / math.pi))


def _times(call: Call, x: Value, factor: float) -> Value:
    return call.add(Mul(), x, call.scalar(factor, x), role="scaled")
